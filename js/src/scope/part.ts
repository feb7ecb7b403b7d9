// PartModel: the model of a widget within the Microscope. Its traits are a dict in the Microscope's own model, and its
// messages travel in the Microscope's messages; layer, step and token are those of the Microscope itself.
import { listen, type Model, type Off } from "../shared/model";
import type { TokenMask } from "../shared/spots";
import type { PartName } from "./traits";

const LINKED = ["layer", "step", "token"];
type Listener = (...args: any[]) => void;

interface PartMessage {
  type: string;
  part?: PartName;
  state?: Record<string, unknown>;
  paths?: (string | number)[][];
  content?: unknown;
}

export class PartModel {
  readonly #listeners = new Map<string, Set<Listener>>();
  #changed: Record<string, unknown> = {};
  readonly #off: Off;
  /** Show the run as one without pictures of single words; those of a patch stay. */
  whole = false;
  #kept: [all: TokenMask[], some: TokenMask[]] = [[], []];

  constructor(
    private readonly owner: Model<any>,
    private readonly name: PartName,
  ) {
    const offs = [
      listen(owner, ["msg:custom"], (message: PartMessage, buffers: DataView[]) => this.#hear(message, buffers)),
      // all of it came anew, for example after the connection was lost
      listen(owner, ["change:_parts"], () => Object.keys(this.#state).forEach((key) => this.#emit(`change:${key}`))),
    ];
    this.#off = () => offs.forEach((off) => off());
  }

  get #state(): Record<string, unknown> {
    return this.owner.get("_parts")[this.name];
  }

  get(key: string): any {
    if (this.whole && key === "token_masks") return this.#masks();
    return LINKED.includes(key) ? this.owner.get(key) : this.#state[key];
  }

  set(key: string, value: unknown): void {
    if (LINKED.includes(key)) return this.owner.set(key, value);
    if (this.#state[key] === value) return;
    this.#state[key] = this.#changed[key] = value;
    this.#emit(`change:${key}`);
  }

  save_changes(): void {
    this.owner.save_changes();
    const state = this.#changed;
    this.#changed = {};
    if (Object.keys(state).length) this.owner.send({ type: "part", part: this.name, state });
  }

  send(content: unknown): void {
    this.owner.send({ type: "part", part: this.name, content });
  }

  on(event: string, listener: Listener): void {
    if (this.#isOfOwner(event)) return this.owner.on(event, listener);
    if (!this.#listeners.has(event)) this.#listeners.set(event, new Set());
    this.#listeners.get(event)!.add(listener);
  }

  off(event: string, listener: Listener): void {
    if (this.#isOfOwner(event)) this.owner.off(event, listener);
    else this.#listeners.get(event)?.delete(listener);
  }

  dispose(): void {
    this.#off();
    this.#listeners.clear();
  }

  /** The same array until there are others: who listens compares. */
  #masks(): TokenMask[] {
    const all = (this.#state.token_masks ?? []) as TokenMask[];
    if (this.#kept[0] !== all) this.#kept = [all, all.filter(({ label }) => label !== undefined)];
    return this.#kept[1];
  }

  #isOfOwner(event: string): boolean {
    return event === "comm_live_update" || LINKED.includes(event.replace("change:", ""));
  }

  #emit(event: string, ...args: unknown[]): void {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) listener(...args);
  }

  #hear(message: PartMessage, buffers: DataView[]): void {
    if (message.type !== "part" || message.part !== this.name) return;
    if ("content" in message) return this.#emit("msg:custom", message.content, buffers);
    const state = putBuffers(message.state ?? {}, message.paths ?? [], buffers);
    // in place: the saved notebook has to contain it
    Object.assign(this.#state, state);
    for (const key of Object.keys(state)) this.#emit(`change:${key}`);
  }
}

/** Put buffers where they belong in a state, as ipywidgets does. */
export function putBuffers(state: any, paths: (string | number)[][], buffers: readonly DataView[]): any {
  paths.forEach((path, index) => {
    const parent = path.slice(0, -1).reduce((at, key) => at[key], state);
    parent[path.at(-1)!] = buffers[index];
  });
  return state;
}
