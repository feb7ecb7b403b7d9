// Film: the axis. A slider, the strip of all pictures beneath it, and a mark and a number for each place.
import { axisRange, h, put } from "./dom";
import { thin, Thumb, type Thumbnail } from "./thumb";

const LABEL_WIDTH = 22; // CSS pixels that a number needs

export class Film {
  readonly el = h("div", { class: "dlw-film" });
  readonly range: HTMLInputElement;
  readonly #inner = h("div", { class: "dlw-film-inner" });
  readonly #strip = h("div", { class: "dlw-strip", "aria-hidden": "true" });
  #thumbs: Thumb[] = [];
  #values: number[] = [];
  #current = 0;
  readonly #observer = new ResizeObserver(() => {
    this.#thinLabels();
    this.#reveal();
  });

  /** `name` is what the axis is called, `choose` is called with the value that the user goes to. */
  constructor(
    name: string,
    private readonly choose: (value: number) => void,
  ) {
    this.range = axisRange(name, "dlw-range", (index) => this.#go(index));
    this.#strip.addEventListener("pointerdown", (event) => this.#grasp(event));
    this.#strip.addEventListener("pointermove", (event) => this.#scrub(event));
    put(this.#inner, this.range, this.#strip);
    put(this.el, this.#inner);
    this.#observer.observe(this.#inner);
  }

  update(thumbnails: Thumbnail[], value: number, valueText: string, ratio: number): void {
    if (thumbnails.length !== this.#thumbs.length) this.#build(thumbnails.length);
    this.#values = thumbnails.map(({ value }) => value);
    this.#inner.style.setProperty("--dlw-ratio", String(ratio));
    const current = this.#values.indexOf(value);
    thumbnails.forEach((place, index) => this.#thumbs[index]!.show(place, index === current));
    if (this.range.value !== String(current)) this.range.value = String(current);
    this.range.setAttribute("aria-valuetext", valueText);
    this.range.disabled = thumbnails.every(({ value }) => value < 0);
    if (current !== this.#current) {
      this.#current = current;
      this.#reveal();
    }
  }

  /** Go `by` pictures to the right. */
  move(by: number): void {
    this.#go(Number(this.range.value) + by);
  }

  dispose(): void {
    this.#observer.disconnect();
  }

  #go(index: number): void {
    const value = this.#values[index];
    if (value !== undefined && value >= 0) this.choose(value);
  }

  #build(count: number): void {
    this.#thumbs = Array.from({ length: count }, () => new Thumb());
    put(this.#strip, ...this.#thumbs.map(({ el }) => el));
    this.range.max = String(count - 1);
    this.#inner.style.setProperty("--dlw-count", String(count));
    this.#current = -1;
    this.#thinLabels();
  }

  /** Press and drag over the pictures, as over a strip of film. */
  #grasp(event: PointerEvent): void {
    if (event.button !== 0) return;
    event.preventDefault();
    this.range.focus();
    this.#strip.setPointerCapture(event.pointerId);
    this.#scrub(event);
  }

  #scrub(event: PointerEvent): void {
    if (!this.#strip.hasPointerCapture(event.pointerId)) return;
    const { left, width } = this.#strip.getBoundingClientRect();
    const index = Math.floor(((event.clientX - left) / width) * this.#thumbs.length);
    this.#go(Math.min(this.#thumbs.length - 1, Math.max(0, index)));
  }

  #thinLabels(): void {
    const labels = this.#thumbs.map(({ label }) => label);
    thin(labels, LABEL_WIDTH, this.#strip.clientWidth);
  }

  /** Scroll to the current picture where the film is wider than the cell. */
  #reveal(): void {
    const { scrollWidth, clientWidth } = this.el;
    if (scrollWidth <= clientWidth || this.#current < 0) return;
    this.el.scrollLeft = ((this.#current + 0.5) / this.#thumbs.length) * scrollWidth - clientWidth / 2;
  }
}
