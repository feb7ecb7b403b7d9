// Kernel: the messages between browser and kernel: frames and acknowledgements, heartbeat, stop, files.
import { Emitter } from "./emitter";
import { listen, type FrameEntry, type Model, type Off } from "./model";
import type { FrameStore } from "./store";

/** "asking" until the kernel answers or has been silent for `SILENCE`. */
export type Liveness = "asking" | "alive" | "absent";
export type Format = "gif" | "html" | "lens";

const SILENCE = 4000; // ms; a kernel with a running job sends something every 2 s
const GRACE = 2000; // ms more, in which a page that was itself too busy hears what has come meanwhile
const ASK_AGAIN = [0, 4000, 12000, 30000]; // ms after which "hello" is sent again to a kernel that has not answered

interface FrameMessage extends Omit<FrameEntry, "data"> {
  type: "frame";
  n: number;
  key: string;
}
interface FileMessage {
  type: "file";
  format: Format;
  mime: string;
  error?: string;
}
type Message = FrameMessage | FileMessage | { type: "alive" } | { type: "done" };

export class Kernel extends Emitter {
  liveness: Liveness = "asking";
  /** The files that the kernel is writing. */
  readonly writing = new Set<Format>();
  /** Why the last file was not written; empty if it was. */
  fileError = "";
  stopping = false;

  readonly #offs: Off[];
  #timers: number[] = [];
  #silence = 0;

  constructor(
    private readonly model: Model,
    private readonly store: FrameStore,
    private readonly events: { onFile(format: Format, mime: string, bytes: DataView): void; onDone(): void },
  ) {
    super();
    this.#offs = [
      listen(model, ["msg:custom"], (message: Message, buffers: DataView[]) => this.#hear(message, buffers)),
      // the kernel alone sets these, so it is alive
      listen(model, ["change:status", "change:progress", "change:_frames"], () => this.#heard()),
      listen(model, ["change:_frames", "change:_run"], () => this.#takeAll()),
      // the kernel was restarted, or the connection is back
      listen(model, ["comm_live_update"], () => this.#ask()),
    ];
    this.#takeAll();
    this.#ask();
  }

  stop(): void {
    this.stopping = true;
    this.#say({ type: "stop" });
    this.notify();
  }

  write(format: Format): void {
    this.writing.add(format);
    this.fileError = "";
    this.#say({ type: "export", format });
    this.notify();
  }

  /** Tell the kernel that it may now replace the output by one with the finished picture in it. */
  allowStill(): void {
    this.#say({ type: "still" });
  }

  dispose(): void {
    for (const off of this.#offs) off();
    for (const timer of [...this.#timers, this.#silence]) clearTimeout(timer);
  }

  #say(content: object): void {
    try {
      this.model.send(content);
    } catch {
      this.#settle("absent"); // the connection to a kernel that was restarted
    }
  }

  #ask(): void {
    for (const timer of this.#timers) clearTimeout(timer);
    this.liveness = "asking";
    this.#timers = ASK_AGAIN.map((wait) =>
      window.setTimeout(() => this.liveness !== "alive" && this.#say({ type: "hello", run: this.model.get("_run") }), wait),
    );
    this.#expect();
  }

  /** Start to wait, if a message of the kernel is due: only then does silence mean that it is gone. */
  #expect(): void {
    clearTimeout(this.#silence);
    const due = this.liveness === "asking" || this.model.get("status") === "running";
    if (!due) return;
    this.#silence = window.setTimeout(() => {
      this.#silence = window.setTimeout(() => this.#settle("absent"), GRACE);
    }, SILENCE);
  }

  #heard(): void {
    if (this.model.get("status") !== "running") this.stopping = false;
    this.#settle("alive");
    this.#expect();
  }

  #settle(liveness: Liveness): void {
    if (this.liveness === liveness) return;
    this.liveness = liveness;
    this.notify();
  }

  #hear(message: Message, buffers: DataView[]): void {
    this.#heard();
    if (message.type === "frame") void this.#takeFrame(message, buffers[0]);
    else if (message.type === "file") this.#takeFile(message, buffers[0]);
    else if (message.type === "done") this.events.onDone();
  }

  async #takeFrame(message: FrameMessage, data: DataView | undefined): Promise<void> {
    if (data) {
      const { key, mime, step, final, run } = message;
      const entry: FrameEntry = { mime, step, final, run, data };
      // in place and not by `set`: the saved notebook has to contain it, and the kernel does not need it
      if (final && (run ?? 0) >= this.model.get("_run")) this.model.get("_frames")[key] = entry;
      await this.store.offer(key, entry);
    }
    if (message.n > this.model.get("_acknowledged")) {
      this.model.set("_acknowledged", message.n);
      this.model.save_changes();
    }
  }

  #takeFile(message: FileMessage, data: DataView | undefined): void {
    this.writing.delete(message.format);
    this.fileError = message.error ? `${message.format.toUpperCase()} was not saved. ${message.error}` : "";
    if (!message.error && data) this.events.onFile(message.format, message.mime, data);
    this.notify();
  }

  #takeAll(): void {
    this.store.begin(this.model.get("_run"));
    for (const [key, entry] of Object.entries(this.model.get("_frames") ?? {})) void this.store.offer(key, entry);
  }
}
