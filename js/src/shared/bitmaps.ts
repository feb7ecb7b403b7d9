// BitmapCache: pictures decoded on demand; when there are too many, the least recently used are closed.
import type { FrameEntry } from "./model";

/** Pixels of all decoded pictures together: 64 MB, which is 64 pictures of 512 × 512. */
export const MOST_PIXELS = 64 * 512 * 512;
/** Thumbnails are decoded to this many pixels a side: twice 64 CSS pixels, for screens with two pixels per CSS pixel. */
export const THUMB_SIDE = 128;
/** Pixels of all decoded thumbnails: 32 MB, which is 512 of them. */
export const MOST_THUMB_PIXELS = 512 * THUMB_SIDE * THUMB_SIDE;
const MOST_DECODERS = 8; // at a time

export class BitmapCache {
  readonly #ready = new Map<FrameEntry, ImageBitmap>(); // the least recently used one comes first
  readonly #pending = new Map<FrameEntry, Promise<ImageBitmap | undefined>>();
  readonly #queue: (() => void)[] = [];
  #decoders = 0;
  #pixels = 0;

  constructor(
    private readonly mostPixels = MOST_PIXELS,
    private readonly mostDecoders = MOST_DECODERS,
  ) {}

  /**
   * The decoded picture; undefined if it cannot be decoded, or was dropped meanwhile. Use it before the next `await`:
   * it is closed when others need the room. `width`: what it is reduced to, in pixels.
   */
  async load(entry: FrameEntry, width?: number): Promise<ImageBitmap | undefined> {
    const bitmap = this.#ready.get(entry);
    if (bitmap) {
      this.#ready.delete(entry);
      this.#ready.set(entry, bitmap);
      return bitmap;
    }
    const pending = this.#pending.get(entry) ?? Promise.resolve().then(() => this.#decode(entry, width));
    this.#pending.set(entry, pending);
    return pending;
  }

  drop(entry: FrameEntry): void {
    this.#pending.delete(entry);
    const bitmap = this.#ready.get(entry);
    if (!bitmap) return;
    this.#ready.delete(entry);
    this.#pixels -= bitmap.width * bitmap.height; // before it is closed: a closed one has no size
    bitmap.close();
  }

  clear(): void {
    this.#pending.clear();
    for (const entry of [...this.#ready.keys()]) this.drop(entry);
  }

  async #decode(entry: FrameEntry, width?: number): Promise<ImageBitmap | undefined> {
    if (this.#decoders >= this.mostDecoders) await new Promise<void>((begin) => this.#queue.push(begin));
    else this.#decoders++;
    const bitmap = this.#pending.has(entry) ? await decode(entry, width) : undefined;
    const next = this.#queue.shift();
    if (next) next(); // hands its decoder on
    else this.#decoders--;
    if (!this.#pending.delete(entry)) {
      bitmap?.close(); // dropped meanwhile
      return undefined;
    }
    if (bitmap) {
      this.#ready.set(entry, bitmap);
      this.#pixels += bitmap.width * bitmap.height;
      for (const oldest of [...this.#ready.keys()]) {
        if (this.#pixels <= this.mostPixels || oldest === entry) break;
        this.drop(oldest);
      }
    }
    return bitmap;
  }
}

async function decode({ data, mime }: FrameEntry, width?: number): Promise<ImageBitmap | undefined> {
  const bytes = new Uint8Array(data.buffer as ArrayBuffer, data.byteOffset, data.byteLength); // part of a message
  try {
    const blob = new Blob([bytes], { type: mime });
    return await (width ? createImageBitmap(blob, { resizeWidth: width, resizeQuality: "high" }) : createImageBitmap(blob));
  } catch (error) {
    console.warn("difflens: a picture cannot be decoded", error);
    return undefined;
  }
}
