// Session: what all views of one model share: frames, kernel, player, and which view has the keyboard focus.
import { listen, type CommonTraits, type Model, type Off } from "./model";
import { Kernel, type Format } from "./kernel";
import { Player } from "./player";
import { FrameStore } from "./store";
import { download } from "./save";

const SAVE_INTERVAL = 100; // ms between two messages to the kernel while a slider moves
const QUIET = 800; // ms without a key or a pressed pointer, after which the output may be replaced
const QUIET_AT_MOST = 10_000; // ms after which it is replaced in any case

export class Session<T extends CommonTraits> {
  readonly store = new FrameStore();
  readonly kernel: Kernel;
  readonly player: Player;
  /** The view that has the keyboard focus; kept when the notebook replaces its output. */
  focusOwner: HTMLElement | null = null;
  /** The part that can be folded is folded: the grid into one row; the columns of start, end and padding. */
  folded = false;

  #lastTouch = 0;
  #held = false;
  #saveTimer = 0;
  #stillTimer = 0;
  readonly #off: Off;

  constructor(
    readonly model: Model<T>,
    private readonly next: (session: Session<T>) => boolean,
    private readonly fileName: () => string,
  ) {
    const common = model as unknown as Model;
    this.kernel = new Kernel(common, this.store, {
      onFile: (format: Format, mime: string, bytes: DataView) =>
        download(new Blob([bytes as DataView<ArrayBuffer>], { type: mime }), `${this.fileName()}.${format}`),
      onDone: () => this.#allowStillWhenQuiet(Date.now() + QUIET_AT_MOST),
    });
    this.player = new Player(() => this.next(this));
    this.#off = listen(model, ["change:_run"], () => this.player.pause());
  }

  /** Set a trait: at once for all views and linked widgets, for the kernel at most every `SAVE_INTERVAL`. */
  set<K extends keyof T & string>(name: K, value: T[K]): void {
    if (this.model.get(name) === value) return;
    this.model.set(name, value);
    if (this.#saveTimer) return;
    this.model.save_changes();
    this.#saveTimer = window.setTimeout(() => {
      this.#saveTimer = 0;
      this.model.save_changes();
    }, SAVE_INTERVAL);
  }

  /** Note that the user is active: the output must not be replaced now. `held`: a pointer is pressed. */
  touch(held = false): void {
    this.#lastTouch = Date.now();
    this.#held = held;
  }

  dispose(): void {
    this.#off();
    clearTimeout(this.#saveTimer);
    clearTimeout(this.#stillTimer);
    this.player.pause();
    this.kernel.dispose();
    this.store.dispose();
  }

  #allowStillWhenQuiet(atLast: number): void {
    const now = Date.now();
    if ((this.#held || now - this.#lastTouch < QUIET) && now < atLast) {
      this.#stillTimer = window.setTimeout(() => this.#allowStillWhenQuiet(atLast), QUIET / 2);
    } else {
      this.kernel.allowStill();
    }
  }
}
