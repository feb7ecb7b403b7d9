// FrameStore: the newest picture of each key; one per model, shared by all its views. Pictures are kept as they came,
// in bytes, and decoded when a view shows them.
import { BitmapCache, MOST_THUMB_PIXELS, THUMB_SIDE } from "./bitmaps";
import { Emitter } from "./emitter";
import type { FrameEntry } from "./model";

/** A picture that is there. The same object stands for it until another one replaces it. */
export interface Picture {
  readonly step: number;
  readonly final: boolean;
  /** Decode it. Draw the bitmap before the next `await`: it is closed when others need the room. */
  load(): Promise<ImageBitmap | undefined>;
  /** The same at most `THUMB_SIDE` pixels a side: hundreds of these stay decoded. */
  thumb(): Promise<ImageBitmap | undefined>;
}

class Frame implements Picture {
  readonly step: number;
  readonly final: boolean;
  /** Someone has shown it. */
  seen = false;

  constructor(
    readonly entry: FrameEntry,
    private readonly decode: (frame: Frame, small: boolean) => Promise<ImageBitmap | undefined>,
  ) {
    this.step = entry.step;
    this.final = entry.final;
  }

  load(): Promise<ImageBitmap | undefined> {
    this.seen = true;
    return this.decode(this, false);
  }

  thumb(): Promise<ImageBitmap | undefined> {
    this.seen = true;
    return this.decode(this, true);
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
  readonly #thumbs = new BitmapCache(MOST_THUMB_PIXELS, 2); // a queue of its own: the large picture comes first
  #first: Promise<void> | undefined; // tells the size
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
    const frame = new Frame(entry, (each, small) => this.#load(key, each, small));
    if (this.#frames.get(key)?.seen) {
      const former = this.#arriving.get(key);
      if (former) this.#drop(former);
      this.#arriving.set(key, frame);
      const bitmap = await frame.load();
      if (this.#arriving.get(key) !== frame) return;
      this.#arriving.delete(key);
      if (!bitmap) return; // broken: the one before stays
    }
    const replaced = this.#frames.get(key);
    if (replaced) this.#drop(replaced);
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

  async #load(key: string, frame: Frame, small: boolean): Promise<ImageBitmap | undefined> {
    const current = () => this.#frames.get(key) === frame || this.#arriving.get(key) === frame;
    if (!current()) return undefined; // of an earlier run, or replaced
    if (small && !this.size) {
      await (this.#first ??= this.#bitmaps.load(frame.entry).then((bitmap) => this.#measure(bitmap)));
      if (!current()) return undefined;
    }
    const { width = 0, height = 0 } = this.size ?? {};
    const most = Math.max(width, height);
    const bitmap = await (small && most > THUMB_SIDE
      ? this.#thumbs.load(frame.entry, Math.max(1, Math.round((THUMB_SIDE * width) / most)))
      : this.#bitmaps.load(frame.entry));
    this.#measure(bitmap);
    if (!bitmap && this.#frames.get(key) === frame) {
      this.#frames.delete(key); // broken: let another try
      this.notify();
    }
    return bitmap;
  }

  #measure(bitmap: ImageBitmap | undefined): void {
    if (!bitmap || this.size) return;
    this.size = { width: bitmap.width, height: bitmap.height };
    this.notify();
  }

  #drop({ entry }: Frame): void {
    this.#bitmaps.drop(entry);
    this.#thumbs.drop(entry);
  }

  #clear(): void {
    this.#bitmaps.clear();
    this.#thumbs.clear();
    this.#frames.clear();
    this.#arriving.clear();
    this.others.clear();
    this.size = this.#first = undefined;
    this.notify();
  }
}
