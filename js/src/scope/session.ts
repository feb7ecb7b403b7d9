// ScopeSession: what all views of one Microscope share: the widgets within it, what was asked of the kernel and has not
// been answered, and where the keyboard focus was.
import attention from "../token_attention_grid";
import slider from "../layer_slider";
import { fileName } from "../shared/save";
import { listen, type Model, type Off } from "../shared/model";
import { Session } from "../shared/session";
import { PartModel } from "./part";
import type { Form, PartName, ScopeTraits } from "./traits";

const PATIENCE = 1500; // ms without an answer, after which the user is told that the kernel is busy
const PIECE = 1 << 20; // bytes of a file that are sent at once: servers drop connections that send more than some MB

type Definition = ReturnType<typeof slider>;
const DEFINITIONS: Record<PartName, () => Definition> = {
  lens: slider,
  attention: attention as unknown as () => Definition,
  second: slider,
  patch: slider,
};

export class ScopeSession extends Session<ScopeTraits> {
  /** What the kernel was asked to do and has not answered yet. */
  asked: "" | "run" | "entry" | "open" = "";
  /** The answer is late. */
  late = false;
  /** What is wrong with the boxes. */
  refused = "";
  /** What to do next. */
  hint = "";
  /** The box that has the focus, to find it again when the notebook replaces the output. */
  focused = "";

  readonly #parts: Record<PartName, Definition>;
  readonly #models = {} as Record<PartName, PartModel>;
  readonly #ends: (() => void)[] = [];
  readonly #listeners = new Set<() => void>();
  readonly #offs: Off[];
  #timer = 0;

  constructor(model: Model<ScopeTraits>) {
    super(model, () => false, () => fileName("lens", model.get("prompt")));
    this.#parts = {} as Record<PartName, Definition>;
    for (const [name, define] of Object.entries(DEFINITIONS) as [PartName, () => Definition][]) {
      const part = (this.#models[name] = new PartModel(model, name));
      const end = (this.#parts[name] = define()).initialize({ model: part as any });
      this.#ends.push(end, () => part.dispose());
    }
    this.#offs = [
      listen(model, ["msg:custom"], ({ type }: { type: string }) => type === "answer" && this.#answered()),
      listen(model, ["comm_live_update"], () => this.#answered()),
    ];
  }

  /**
   * Show one of the widgets in an element, `whole` without pictures of single words; returns a function that takes it
   * away.
   */
  render(name: PartName, el: HTMLElement, folded?: boolean, whole = false): Off {
    this.#models[name].whole = whole;
    return this.#parts[name].render({ el, folded }) as Off;
  }

  onChange(listener: () => void): Off {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  run(form: Form): void {
    this.refused = "";
    if (!form.prompt.trim()) return this.refuse("Type a prompt first: what is to be painted?");
    const view = this.model.get("view");
    if ((view === "compare" || view === "patch") && !form.second_prompt.trim()) {
      return this.refuse("Type a second prompt first: one that is related to the first.");
    }
    this.#ask("run", { form: { ...form, view } });
  }

  refuse(why: string): void {
    this.refused = why;
    this.#tell();
  }

  goTo(number: number): void {
    this.#ask("entry", { number });
  }

  async open(file: File): Promise<void> {
    const bytes = await file.arrayBuffer();
    const count = Math.max(1, Math.ceil(bytes.byteLength / PIECE));
    for (let index = 0; index < count; index++) {
      const piece = new DataView(bytes.slice(index * PIECE, (index + 1) * PIECE));
      this.#ask("open", { name: file.name, index, count }, piece);
    }
  }

  override dispose(): void {
    for (const end of [...this.#ends, ...this.#offs]) end();
    clearTimeout(this.#timer);
    super.dispose();
  }

  #ask(type: "run" | "entry" | "open", content: object, ...buffers: DataView[]): void {
    this.refused = this.hint = "";
    this.asked = type;
    this.late = false;
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => {
      this.late = true;
      this.#tell();
    }, PATIENCE);
    try {
      this.model.send({ type, ...content }, undefined, buffers);
    } catch {
      this.#answered();
      this.refused = "There is no connection to the kernel.";
    }
    this.#tell();
  }

  #answered(): void {
    clearTimeout(this.#timer);
    this.asked = "";
    this.late = false;
    this.#tell();
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
  }
}
