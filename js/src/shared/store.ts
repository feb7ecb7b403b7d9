// FrameStore: the newest picture of each key, decoded; one per model, shared by all its views.
import { Emitter } from "./emitter";
import type { FrameEntry } from "./model";

export interface Picture {
  bitmap: ImageBitmap;
  step: number;
  final: boolean;
}

interface Known {
  ticket: number;
  final: boolean;
  bytes: number;
}

export class FrameStore extends Emitter {
  private run = 0;
  private tickets = 0;
  private readonly pictures = new Map<string, Picture>();
  private readonly known = new Map<string, Known>();
  private closed = false;
  /** What came that is no picture. */
  readonly others = new Map<string, FrameEntry>();

  get(key: string): Picture | undefined {
    return this.pictures.get(key);
  }

  /** Any picture of the run: they all have one shape. */
  get any(): Picture | undefined {
    return this.pictures.values().next().value;
  }

  /** Take a picture in; resolves when it is there, or was passed over for a better one. */
  async offer(key: string, entry: FrameEntry): Promise<void> {
    if (this.closed || !this.begin(entry.run)) return;
    if (!entry.mime.startsWith("image/")) {
      this.others.set(key, entry);
      return this.notify();
    }
    const known = this.known.get(key);
    const bytes = entry.data.byteLength;
    if (known?.final && (!entry.final || known.bytes === bytes)) return;
    const ticket = ++this.tickets;
    this.known.set(key, { ticket, final: entry.final, bytes });
    const bitmap = await decode(entry);
    if (this.closed || this.known.get(key)?.ticket !== ticket) {
      bitmap?.close();
    } else if (bitmap) {
      this.pictures.get(key)?.bitmap.close();
      this.pictures.set(key, { bitmap, step: entry.step, final: entry.final });
      this.notify();
    } else {
      this.known.delete(key); // broken: let another try
    }
  }

  /** Later runs replace earlier ones; false for a frame that comes late. */
  begin(run: number | undefined): boolean {
    if (run === undefined || run === this.run) return true;
    if (run < this.run) return false;
    this.run = run;
    this.clear();
    return true;
  }

  dispose(): void {
    this.closed = true;
    this.clear();
  }

  private clear(): void {
    for (const { bitmap } of this.pictures.values()) bitmap.close();
    this.pictures.clear();
    this.known.clear();
    this.others.clear();
    this.notify();
  }
}

async function decode(entry: FrameEntry): Promise<ImageBitmap | null> {
  const { buffer, byteOffset, byteLength } = entry.data; // a view into a larger message
  const bytes = new Uint8Array(buffer as ArrayBuffer, byteOffset, byteLength);
  try {
    return await createImageBitmap(new Blob([bytes], { type: entry.mime }));
  } catch (error) {
    console.warn("difflens: a picture cannot be decoded", error);
    return null;
  }
}
