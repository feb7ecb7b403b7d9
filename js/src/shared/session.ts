// Session: what all views of one model share: frames, kernel, player, and who has the keyboard.
import { listen, type CommonTraits, type Model, type Off } from "./model";
import { Kernel, type Format } from "./kernel";
import { Player } from "./player";
import { FrameStore } from "./store";
import { download } from "./save";

const SAVE_INTERVAL = 100; // ms between two words to the kernel while a slider moves
const QUIET = 800; // ms without a key or a held pointer until the output may be exchanged
const QUIET_AT_MOST = 10_000;

export class Session<T extends CommonTraits> {
  readonly store = new FrameStore();
  readonly kernel: Kernel;
  readonly player: Player;
  /** The view that has the keyboard; it stays known when the notebook draws its output anew. */
  focusOwner: HTMLElement | null = null;
  /** What may be unfolded is not: the grid behind the strip of one row; the columns of start, end and padding. */
  folded = false;

  private lastTouch = 0;
  private held = false;
  private saveTimer = 0;
  private stillTimer = 0;
  private readonly off: Off;

  constructor(
    readonly model: Model<T>,
    private readonly next: (session: Session<T>) => boolean,
    private readonly fileName: () => string,
  ) {
    const common = model as unknown as Model;
    this.kernel = new Kernel(common, this.store, {
      onFile: (format: Format, mime: string, bytes: DataView) =>
        download(new Blob([bytes as DataView<ArrayBuffer>], { type: mime }), `${this.fileName()}.${format}`),
      onDone: () => this.allowStillWhenQuiet(Date.now() + QUIET_AT_MOST),
    });
    this.player = new Player(() => this.next(this));
    this.off = listen(model, ["change:_run"], () => this.player.pause());
  }

  /** Set a trait at once for all views and linked widgets, and for the kernel as fast as it can take it. */
  set<K extends keyof T & string>(name: K, value: T[K]): void {
    if (this.model.get(name) === value) return;
    this.model.set(name, value);
    if (this.saveTimer) return;
    this.model.save_changes();
    this.saveTimer = window.setTimeout(() => {
      this.saveTimer = 0;
      this.model.save_changes();
    }, SAVE_INTERVAL);
  }

  /** The user is doing something: now is no time to draw the output anew. */
  touch(held = false): void {
    this.lastTouch = Date.now();
    this.held = held;
  }

  dispose(): void {
    this.off();
    clearTimeout(this.saveTimer);
    clearTimeout(this.stillTimer);
    this.player.pause();
    this.kernel.dispose();
    this.store.dispose();
  }

  private allowStillWhenQuiet(atLast: number): void {
    const now = Date.now();
    if ((this.held || now - this.lastTouch < QUIET) && now < atLast) {
      this.stillTimer = window.setTimeout(() => this.allowStillWhenQuiet(atLast), QUIET / 2);
    } else {
      this.kernel.allowStill();
    }
  }
}
