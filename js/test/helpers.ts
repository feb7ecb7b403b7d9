// A model without a kernel, and pictures whose bitmaps are counted.
import type { FrameEntry, Model, Token } from "../src/shared/model";

type Values = Record<string, unknown>;

/** A model over plain values that notes what was set and sent. */
export function modelOf(values: Values) {
  const listeners = new Map<string, Set<(...what: unknown[]) => void>>();
  const model = {
    values: { ...values },
    saved: 0,
    sent: [] as unknown[],
    get: (name: string) => model.values[name],
    set(name: string, value: unknown) {
      model.values[name] = value;
      model.tell(`change:${name}`);
    },
    save_changes: () => void model.saved++,
    send: (content: unknown) => void model.sent.push(content),
    on(event: string, listener: (...what: unknown[]) => void) {
      if (!listeners.has(event)) listeners.set(event, new Set());
      listeners.get(event)!.add(listener);
    },
    off: (event: string, listener: (...what: unknown[]) => void) => void listeners.get(event)?.delete(listener),
    tell: (event: string, ...what: unknown[]) => listeners.get(event)?.forEach((listener) => listener(...what)),
    listeners: () => [...listeners.values()].reduce((sum, each) => sum + each.size, 0),
  };
  return model as typeof model & Model<any>;
}

/** Stands in for the browser's decoder; a picture of `n` bytes that begin with a 0 cannot be decoded. */
export class Decoder {
  size = 512;
  decoded = 0;
  open = 0;
  mostOpen = 0;
  running = 0;
  mostRunning = 0;
  /** Where set, pictures are decoded when `finish` is called. */
  held: (() => void)[] | null = null;

  install(): void {
    (globalThis as any).createImageBitmap = (blob: Blob, options?: ImageBitmapOptions) => this.decode(blob, options);
  }

  finish(): void {
    for (const each of this.held!.splice(0)) each();
  }

  private async decode(blob: Blob, options?: ImageBitmapOptions): Promise<object> {
    this.mostRunning = Math.max(this.mostRunning, ++this.running);
    if (this.held) await new Promise<void>((done) => this.held!.push(done));
    const bytes = new Uint8Array(await blob.arrayBuffer());
    this.running--;
    if (bytes[0] === 0) throw new Error("not a picture");
    this.decoded++;
    this.mostOpen = Math.max(this.mostOpen, ++this.open);
    const bitmap = {
      width: options?.resizeWidth ?? this.size,
      height: options?.resizeWidth ?? this.size,
      bytes,
      closed: false,
      close: () => {
        if (!bitmap.closed) this.open--;
        bitmap.closed = true;
      },
    };
    return bitmap;
  }
}

export function frame(bytes: number[], about: Partial<FrameEntry> = {}): FrameEntry {
  const data = new DataView(Uint8Array.from(bytes).buffer);
  return { mime: "image/webp", step: 20, final: true, data, ...about };
}

/** What a bitmap of the decoder above was made of. */
export const bytesOf = (bitmap: unknown) => [...(bitmap as { bytes: Uint8Array }).bytes];

/** Let all that is not waiting for a timer happen. */
export async function settle(): Promise<void> {
  for (let turns = 0; turns < 20; turns++) await new Promise((after) => setTimeout(after, 0));
}

/** Tokens of words; one that begins with "+" continues the word before it. */
export function tokensOf(...words: string[]): Token[] {
  const texts = words.map((word): Omit<Token, "index"> => {
    return { text: word.replace("+", ""), kind: "word", is_continuation: word.startsWith("+") };
  });
  const special = (kind: Token["kind"], text: string) => ({ text, kind, is_continuation: false });
  const [eos, pad] = [special("eos", "<|endoftext|>"), special("pad", "<|endoftext|>")];
  const all = [special("bos", "<|startoftext|>"), ...texts, eos, pad];
  return all.map((token, index) => ({ index, ...token }));
}
