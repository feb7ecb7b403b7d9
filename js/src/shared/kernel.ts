// What the browser and the kernel say to each other: frames and their acknowledgement, liveness, stop, files.
import { Emitter } from "./emitter";
import { listen, type FrameEntry, type Model, type Off } from "./model";
import type { FrameStore } from "./store";

/** "asking" until the kernel has answered or was silent for too long. */
export type Liveness = "asking" | "alive" | "absent";
export type Format = "gif" | "html";

const SILENCE = 4000; // ms; while a job runs the kernel says something every 2 s
const ASK_AGAIN = [0, 4000, 12000, 30000];

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
  /** Files being written by the kernel. */
  readonly writing = new Set<Format>();
  /** Why the last file was not written. */
  fileError = "";
  stopping = false;

  private readonly offs: Off[];
  private timers: number[] = [];
  private silence = 0;

  constructor(
    private readonly model: Model,
    private readonly store: FrameStore,
    private readonly events: { onFile(format: Format, mime: string, bytes: DataView): void; onDone(): void },
  ) {
    super();
    this.offs = [
      listen(model, ["msg:custom"], (message: Message, buffers: DataView[]) => this.hear(message, buffers)),
      // only the kernel sets these
      listen(model, ["change:status", "change:progress", "change:_frames"], () => this.heard()),
      listen(model, ["change:_frames", "change:_run"], () => this.takeAll()),
      // a kernel was restarted, or came back
      listen(model, ["comm_live_update"], () => this.ask()),
    ];
    this.takeAll();
    this.ask();
  }

  stop(): void {
    this.stopping = true;
    this.say({ type: "stop" });
    this.notify();
  }

  write(format: Format): void {
    this.writing.add(format);
    this.fileError = "";
    this.say({ type: "export", format });
    this.notify();
  }

  /** The output may be exchanged for one with the finished picture in it. */
  allowStill(): void {
    this.say({ type: "still" });
  }

  dispose(): void {
    for (const off of this.offs) off();
    for (const timer of [...this.timers, this.silence]) clearTimeout(timer);
  }

  private say(content: object): void {
    try {
      this.model.send(content);
    } catch {
      this.settle("absent"); // the connection of a kernel that was restarted
    }
  }

  private ask(): void {
    for (const timer of this.timers) clearTimeout(timer);
    this.liveness = "asking";
    this.timers = ASK_AGAIN.map((wait) =>
      window.setTimeout(() => this.liveness !== "alive" && this.say({ type: "hello" }), wait),
    );
    this.expect();
  }

  /** Silence means absence only while an answer is due. */
  private expect(): void {
    clearTimeout(this.silence);
    const due = this.liveness === "asking" || this.model.get("status") === "running";
    if (due) this.silence = window.setTimeout(() => this.settle("absent"), SILENCE);
  }

  private heard(): void {
    if (this.model.get("status") !== "running") this.stopping = false;
    this.settle("alive");
    this.expect();
  }

  private settle(liveness: Liveness): void {
    if (this.liveness === liveness) return;
    this.liveness = liveness;
    this.notify();
  }

  private hear(message: Message, buffers: DataView[]): void {
    this.heard();
    if (message.type === "frame") void this.takeFrame(message, buffers[0]);
    else if (message.type === "file") this.takeFile(message, buffers[0]);
    else if (message.type === "done") this.events.onDone();
  }

  private async takeFrame(message: FrameMessage, data: DataView | undefined): Promise<void> {
    if (data) {
      const { key, mime, step, final, run } = message;
      const entry: FrameEntry = { mime, step, final, run, data };
      // in place and not by `set`: it shall be in the saved state and not go back to the kernel
      if (final && (run ?? 0) >= this.model.get("_run")) this.model.get("_frames")[key] = entry;
      await this.store.offer(key, entry);
    }
    if (message.n > this.model.get("_acknowledged")) {
      this.model.set("_acknowledged", message.n);
      this.model.save_changes();
    }
  }

  private takeFile(message: FileMessage, data: DataView | undefined): void {
    this.writing.delete(message.format);
    this.fileError = message.error ? `${message.format.toUpperCase()} was not saved. ${message.error}` : "";
    if (!message.error && data) this.events.onFile(message.format, message.mime, data);
    this.notify();
  }

  private takeAll(): void {
    this.store.begin(this.model.get("_run"));
    for (const [key, entry] of Object.entries(this.model.get("_frames") ?? {})) void this.store.offer(key, entry);
  }
}
