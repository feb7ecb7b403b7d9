// Steps: the second axis: a vertical slider over the kept denoising steps, with the finished picture on top.
import { axisRange, h, put, write } from "./dom";
import { thin, type Mark } from "./thumb";

export interface Tick {
  step: number | null;
  mark: Mark;
  title: string;
}

const LABEL_HEIGHT = 17; // CSS pixels that a number needs

export class Steps {
  readonly el = h("div", { class: "dlw-steps", hidden: true });
  readonly range = axisRange("Denoising step", "dlw-range dlw-range-up", (index) => this.#go(index));
  readonly #scale = h("div", { class: "dlw-scale", "aria-hidden": "true" });
  #ticks: Tick[] = [];
  #rows: HTMLElement[] = [];
  readonly #observer = new ResizeObserver(() => this.#thin());

  constructor(private readonly choose: (step: number | null) => void) {
    const label = h("div", { class: "dlw-label", "aria-hidden": "true" }, "step");
    put(this.el, label, h("div", {}, this.range, this.#scale));
    this.#observer.observe(this.#scale);
  }

  /** `why` is the reason that the slider cannot be moved; empty where it can. */
  update(ticks: Tick[], step: number | null, valueText: string, why: string): void {
    this.el.hidden = !ticks.length;
    if (ticks.length !== this.#ticks.length) this.#build(ticks.length);
    this.#ticks = ticks;
    const current = ticks.findIndex((tick) => tick.step === step);
    ticks.forEach(({ step, mark, title }, index) => {
      const row = this.#rows[index]!;
      row.className = `dlw-tick dlw-is-${mark}${index === current ? " dlw-current" : ""}`;
      row.title = why || title;
      write(row.lastElementChild!, step === null ? "final" : String(step + 1));
    });
    if (this.range.value !== String(current)) this.range.value = String(current);
    this.range.setAttribute("aria-valuetext", valueText);
    this.range.disabled = !!why;
    this.range.title = why;
  }

  /** Go `by` ticks up. */
  move(by: number): void {
    this.#go(Number(this.range.value) + by);
  }

  dispose(): void {
    this.#observer.disconnect();
  }

  #go(index: number): void {
    const tick = this.#ticks[index];
    if (tick && !this.range.disabled) this.choose(tick.step);
  }

  #build(count: number): void {
    this.#rows = Array.from({ length: count }, (_, index) =>
      h("div", { click: () => this.#go(index) }, h("i", { class: "dlw-mark" }), h("span", { class: "dlw-number" })),
    );
    put(this.#scale, ...this.#rows.toReversed());
    this.el.style.setProperty("--dlw-count", String(count));
    this.range.max = String(count - 1);
    this.#thin();
  }

  #thin(): void {
    const labels = this.#rows.toReversed().map((row) => row.lastElementChild!);
    thin(labels, LABEL_HEIGHT, this.#scale.clientHeight);
  }
}
