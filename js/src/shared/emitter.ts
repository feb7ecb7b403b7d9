// Emitter: calls its listeners when it has changed.
import type { Off } from "./model";

export class Emitter {
  readonly #listeners = new Set<() => void>();

  listen(listener: () => void): Off {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  protected notify(): void {
    for (const listener of this.#listeners) listener();
  }
}
