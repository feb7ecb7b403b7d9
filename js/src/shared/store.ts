// FrameStore: the newest picture of each key; one per model, shared by all its views. Pictures are kept as they came,
// in bytes, and decoded when a view shows them.
import { BitmapCache } from "./bitmaps";
import { Emitter } from "./emitter";
import type { FrameEntry } from "./model";

/** A picture that is there. The same object stands for it until another one replaces it. */
export interface Picture {
  readonly step: number;
  readonly final: boolean;
  /** Decode it. Draw the bitmap before the next `await`: it is closed when others need the room. */
  load(): Promise<ImageBitmap | undefined>;
}

class Frame implements Picture {
  readonly step: number;
  readonly final: boolean;
  /** Someone has shown it. */
  seen = false;

  constructor(
    readonly entry: FrameEntry,
    private readonly decode: (frame: Frame) => Promise<ImageBitmap | undefined>,
  ) {
    this.step = entry.step;
    this.final = entry.final;
  }

  load(): Promise<ImageBitmap | undefined> {
    this.seen = true;
    return this.decode(this);
  }
}

export class FrameStore extends Emitter {
  /** Width and height of the pictures of this run, which are all of one size; undefined until one is decoded. */
  size: { width: number; height: number } | undefined;
  /** What came that is no picture. */
  readonly others = new Map<string, FrameEntry>();

  #run = 0;
  readonly #frames = new Map<string, Frame>();
  readonly #arriving = new Map<string, Frame>(); // decoded before they replace a picture that is on screen
  readonly #bitmaps = new BitmapCache();
  #closed = false;

  get(key: string): Picture | undefined {
    return this.#frames.get(key);
  }

  /** Take a picture in; resolves when a view may show it, or when it was passed over for a better one. */
  async offer(key: string, entry: FrameEntry): Promise<void> {
    if (this.#closed || !this.begin(entry.run)) return;
    if (!entry.mime.startsWith("image/")) {
      this.others.set(key, entry);
      return this.notify();
    }
    const newest = this.#arriving.get(key) ?? this.#frames.get(key);
    const same = newest?.entry.data.byteLength === entry.data.byteLength;
    if (newest?.final && (!entry.final || same)) return;
    const frame = new Frame(entry, (each) => this.#load(key, each));
    if (this.#frames.get(key)?.seen) {
      const former = this.#arriving.get(key);
      if (former) this.#bitmaps.drop(former.entry);
      this.#arriving.set(key, frame);
      const bitmap = await frame.load();
      if (this.#arriving.get(key) !== frame) return;
      this.#arriving.delete(key);
      if (!bitmap) return; // broken: the one before stays
    }
    const replaced = this.#frames.get(key);
    if (replaced) this.#bitmaps.drop(replaced.entry);
    this.#frames.set(key, frame);
    this.notify();
  }

  /** Later runs replace earlier ones; false for a frame that comes late. */
  begin(run: number | undefined): boolean {
    if (run === undefined || run === this.#run) return true;
    if (run < this.#run) return false;
    this.#run = run;
    this.#clear();
    return true;
  }

  dispose(): void {
    this.#closed = true;
    this.#clear();
  }

  async #load(key: string, frame: Frame): Promise<ImageBitmap | undefined> {
    const current = () => this.#frames.get(key) === frame || this.#arriving.get(key) === frame;
    if (!current()) return undefined; // of an earlier run, or replaced
    const bitmap = await this.#bitmaps.load(frame.entry);
    if (bitmap && !this.size) {
      this.size = { width: bitmap.width, height: bitmap.height };
      this.notify();
    } else if (!bitmap && this.#frames.get(key) === frame) {
      this.#frames.delete(key); // broken: let another try
      this.notify();
    }
    return bitmap;
  }

  #clear(): void {
    this.#bitmaps.clear();
    this.#frames.clear();
    this.#arriving.clear();
    this.others.clear();
    this.size = undefined;
    this.notify();
  }
}
