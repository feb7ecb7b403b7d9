// FormBoxes: the prompt box, Run and Stop, and the boxes for the settings; each is a synced trait.
import { button, focusNear, h, put, SUPPRESS, write } from "../shared/dom";
import { listen, type Off } from "../shared/model";
import type { ScopeSession } from "./session";
import type { Form } from "./traits";

type Name = keyof Form;
const NUMBERS: Name[] = ["seed", "num_inference_steps", "guidance_scale"];
const NAMES: Name[] = ["prompt", "negative_prompt", ...NUMBERS, "layers", "second_prompt", "patch_words"];
const RUN = "run"; // Run and Stop, as the place of the focus
const MOST_SEED = 2 ** 31; // of the dice

export class FormBoxes {
  readonly el: HTMLElement;
  /** The row of the second prompt, for the tabs "compare" and "patch". */
  readonly second: HTMLElement;
  readonly #words: HTMLElement;
  readonly #boxes = {} as Record<Name, HTMLInputElement>;
  readonly #run: HTMLButtonElement;
  readonly #stop: HTMLButtonElement;
  readonly #dice: HTMLButtonElement;
  readonly #off: Off;

  constructor(private readonly session: ScopeSession) {
    const { model } = session;
    const { num_inference_steps, guidance_scale, num_layers, model: name } = model.get("_defaults");
    const small = (trait: Name, label: string, look: string, hint: string, title: string, more = {}) =>
      h(
        "label",
        { class: `dlw-field ${look}`, title },
        h("span", { class: "dlw-label" }, label),
        this.#box(trait, { placeholder: hint, ...more }),
      );
    const number = { type: "number", min: 0, step: 1 };
    this.#run = button("Run", "", () => this.#submit());
    this.#run.classList.add("dlw-run");
    this.#stop = button("Stop", "Stop the run; what is painted stays", () => session.kernel.stop());
    this.#stop.classList.add("dlw-run");
    for (const each of [this.#run, this.#stop]) {
      each.addEventListener("focus", () => this.#came(RUN));
      each.addEventListener("blur", () => this.#left());
    }
    this.#dice = button("⚂", "Another seed, by chance", () => this.#roll());
    this.#dice.setAttribute("aria-label", "Another seed");
    const examples = h("select", {
      class: "dlw-select dlw-examples",
      "aria-label": "Examples",
      title: "A prompt, and a related one to compare it with",
      [SUPPRESS]: "true",
      change: ({ target }) => this.#example(target),
    });
    put(
      examples,
      h("option", { value: "" }, "Examples"),
      ...model.get("_examples").map(([question], index) => h("option", { value: index }, question)),
    );
    const hint = model.get("_examples")[0]?.[1] ?? "";
    this.second = h(
      "div",
      { class: "dlw-prompt-row", hidden: true },
      this.#box("second_prompt", { "aria-label": "Second prompt", placeholder: model.get("_examples")[0]?.[2] ?? "" }),
      button("⇄", "Exchange the two prompts", () => this.#exchange()),
    );
    this.second.lastElementChild!.setAttribute("aria-label", "Exchange the two prompts");
    const title =
      "Which words of the prompt get the states of which words of the second one: nothing for those that differ, " +
      "red = blue, circle = square, or all (then the whole second prompt is painted)";
    this.#words = small("patch_words", "words", "dlw-wide", "those that differ, or red = blue", title);
    this.second.append(this.#words);
    this.el = h(
      "div", // no form: notebooks and the frames of their outputs keep forms from being submitted
      { class: "dlw-form", role: "group", "aria-label": "What is painted" },
      h(
        "div",
        { class: "dlw-prompt-row" },
        this.#box("prompt", { "aria-label": "Prompt", placeholder: `What is painted: ${hint}` }),
        this.#run,
        this.#stop,
      ),
      this.second,
      h(
        "div",
        { class: "dlw-fields" },
        small("negative_prompt", "negative", "dlw-wide", "none", "Negative prompt: what guidance moves away from"),
        h("span", { class: "dlw-group" }, small("seed", "seed", "", "", "Where the noise comes from", number), this.#dice),
        small("num_inference_steps", "steps", "", String(num_inference_steps), "Denoising steps", { ...number, min: 1 }),
        small("guidance_scale", "guidance", "", String(guidance_scale), "How strongly the prompt is followed", {
          ...number,
          step: "any",
        }),
        small("layers", "layers", "", "all", `0 to ${num_layers - 1} of ${name}: 0:13:3, 5 or 0,4,12`),
        examples,
      ),
    );
    const offs = NAMES.map((trait) => listen(model, [`change:${trait}`], () => this.#fill(trait)));
    this.#off = () => offs.forEach((off) => off());
    for (const trait of NAMES) this.#fill(trait);
  }

  /** `running`: a run is being painted; `able`: there is a kernel, and it was not asked for something already. */
  update(running: boolean, able: boolean): void {
    const { kernel, model, asked } = this.session;
    const [from, to] = running ? [this.#run, this.#stop] : [this.#stop, this.#run];
    const leaves = focusNear(this.el) === from;
    from.hidden = true;
    to.hidden = false;
    if (leaves) to.focus({ preventScroll: true }); // a hidden one would lose it
    this.#run.disabled = !able && asked !== "run"; // a disabled one would lose the focus
    write(this.#run, asked === "run" ? "Asked…" : "Run");
    this.#run.title = able ? "Paint it (Enter)" : "";
    this.#stop.disabled = kernel.stopping;
    write(this.#stop, kernel.stopping ? "Stopping…" : "Stop");
    const view = model.get("view");
    this.second.hidden = view !== "compare" && view !== "patch";
    this.#words.hidden = view !== "patch";
  }

  /** Give the focus back to the box that had it in the output that this one replaces. */
  focus(name: string): void {
    if (name === RUN) return (this.#run.hidden ? this.#stop : this.#run).focus({ preventScroll: true });
    const box = this.#boxes[name as Name];
    box?.focus({ preventScroll: true });
    if (box?.type === "text") box.setSelectionRange(box.value.length, box.value.length);
  }

  dispose(): void {
    this.#off();
  }

  #box(trait: Name, attributes: Record<string, string | number>): HTMLInputElement {
    return (this.#boxes[trait] = h("input", {
      type: "text",
      class: "dlw-input",
      autocomplete: "off",
      spellcheck: "false",
      ...attributes,
      [SUPPRESS]: "true",
      input: () => this.#set(trait),
      keydown: (event) => event.key === "Enter" && !event.isComposing && (event.preventDefault(), this.#submit()),
      focus: () => this.#came(trait),
      blur: () => this.#left(),
    }));
  }

  #came(name: string): void {
    this.session.focused = name;
    this.session.focusOwner = this.el;
  }

  /** An element that is taken off the page loses the focus as well, though the user did not leave it. */
  #left(): void {
    const { session, el } = this;
    queueMicrotask(() => {
      const left = el.isConnected && !el.contains(focusNear(el));
      if (left && session.focusOwner === el) session.focused = "";
    });
  }

  #set(trait: Name): void {
    this.session.refused = this.session.hint = "";
    this.session.set(trait, this.#value(trait) as never);
  }

  #value(trait: Name): string | number | null {
    const { value, valueAsNumber } = this.#boxes[trait];
    if (!NUMBERS.includes(trait)) return value;
    if (Number.isFinite(valueAsNumber)) return valueAsNumber;
    return trait === "seed" ? 0 : null;
  }

  #fill(trait: Name): void {
    const [value, box] = [this.session.model.get(trait) as string | number | null, this.#boxes[trait]];
    if (value !== this.#value(trait) || (!box.value && trait === "seed" && focusNear(box) !== box)) {
      box.value = value === null ? "" : String(value);
    }
  }

  #submit(): void {
    if (this.#run.hidden || this.#run.disabled || this.session.asked) return;
    const form = Object.fromEntries(NAMES.map((trait) => [trait, this.#value(trait)])) as unknown as Form;
    this.session.run(form);
    if (this.session.refused) this.#boxes[form.prompt.trim() ? "second_prompt" : "prompt"].focus();
  }

  #roll(): void {
    this.session.set("seed", Math.floor(Math.random() * MOST_SEED));
  }

  #example(target: HTMLSelectElement): void {
    const example = this.session.model.get("_examples")[Number(target.value)];
    target.value = "";
    if (!example) return;
    this.session.set("prompt", example[1]);
    this.session.set("second_prompt", example[2]);
    this.session.hint = "An example, with a second prompt to compare it with. Press Run to paint it.";
    this.#boxes.prompt.focus();
  }

  #exchange(): void {
    const { model } = this.session;
    const [first, second] = [model.get("prompt"), model.get("second_prompt")];
    this.session.set("prompt", second);
    this.session.set("second_prompt", first);
  }
}
