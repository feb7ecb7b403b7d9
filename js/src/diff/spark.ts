// Spark: the curve of a metric over the layers; a press or a drag on it picks a layer, as on the film below it.
import { h, put, SUPPRESS, write } from "../shared/dom";
import type { Metric } from "./traits";

const SVG = "http://www.w3.org/2000/svg";
const ROOM = 12; // % above and below the curve

type Attributes = Record<string, string | number>;

export class Spark {
  /** The metric, its axis, and its values at the layer on screen. */
  readonly head = h("div", { class: "dlw-spark-head" });
  readonly el = h("div", { class: "dlw-spark" });
  private readonly select: HTMLSelectElement;
  private readonly axis = h("span", { class: "dlw-spark-axis" });
  private readonly values = h("span", { class: "dlw-spark-values", role: "status" });
  private readonly svg = drawn("svg", { "aria-hidden": "true" });
  private metrics: Metric[] | null = null;
  private layers: number[] = [];

  constructor(
    does: { metric(name: string): void; layer(layer: number): void },
    private readonly keyboard: () => HTMLElement,
  ) {
    const change = () => does.metric(this.select.value);
    const about = { "aria-label": "Metric", title: "What is drawn over the layers", [SUPPRESS]: "true" };
    this.select = h("select", { class: "dlw-select", ...about, change });
    put(this.head, this.select, this.values, this.axis);
    this.el.append(this.svg);
    const scrub = (event: PointerEvent) => {
      if (!this.el.hasPointerCapture(event.pointerId)) return;
      const { left, width } = this.el.getBoundingClientRect();
      const index = Math.floor(((event.clientX - left) / width) * this.layers.length);
      const layer = this.layers[Math.min(this.layers.length - 1, Math.max(0, index))];
      if (layer !== undefined) does.layer(layer);
    };
    this.el.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      event.preventDefault();
      this.keyboard().focus();
      this.el.setPointerCapture(event.pointerId);
      scrub(event);
    });
    this.el.addEventListener("pointermove", scrub);
  }

  update(metrics: Metric[], chosen: string, layers: number[], layer: number): void {
    const curve = layers.length > 1;
    this.head.hidden = !metrics.length;
    this.el.hidden = !metrics.length || !curve;
    this.layers = layers;
    if (metrics !== this.metrics) {
      this.metrics = metrics;
      put(this.select, ...metrics.map(({ name, label }) => h("option", { value: name }, label)));
    }
    const metric = metrics.find(({ name }) => name === chosen) ?? metrics[0];
    if (!metric) return;
    this.select.value = metric.name;
    const at = layers.indexOf(layer);
    const lines = linesOf(metric, layers.length);
    const known = lines.flatMap(({ values }) => values.filter((value) => value !== null));
    const [low, high] = [Math.min(...known), Math.max(...known)];
    const axis = curve ? `axis ${number(low)} to ${number(high)} · ` : "";
    write(this.axis, known.length ? axis + metric.unit : "no values");
    put(this.values, ...lines.flatMap((line) => valueAt(line, at)));
    this.draw(lines, at, low, high);
  }

  private draw(lines: Line[], at: number, low: number, high: number): void {
    const count = this.layers.length;
    const across = (index: number) => `${(100 * (index + 0.5)) / count}%`;
    const height = (value: number) => heightOf(value, low, high);
    const parts = [drawn("line", { class: "dlw-cursor", x1: across(at), x2: across(at), y1: "0%", y2: "100%" })];
    for (const { look, values } of lines) {
      values.forEach((value, index) => {
        if (value === null) return;
        const here = { x1: across(index), y1: `${height(value)}%` };
        const next = values[index + 1];
        if (next !== null && next !== undefined) {
          parts.push(drawn("line", { class: look, ...here, x2: across(index + 1), y2: `${height(next)}%` }));
        }
        parts.push(drawn("circle", { class: look, cx: here.x1, cy: here.y1, r: index === at ? 4 : 1.5 }));
      });
    }
    put(this.svg, ...parts);
  }
}

interface Line {
  label: string;
  look: string;
  values: (number | null)[];
}

/** The lines of a metric, raw first: if it has none of its own, its value compared with itself. */
export function linesOf({ itself, series }: Metric, count: number): Line[] {
  const look = (label: string) => `dlw-line-${label.toLowerCase()}`;
  const values = Array<number>(count).fill(itself ?? 0);
  const raw = itself === null ? [] : [{ label: "raw with itself", look: look("raw"), values }];
  return [...raw, ...series.map(({ label, values }) => ({ label, look: look(label), values }))];
}

function valueAt({ label, look, values }: Line, at: number): Node[] {
  const value = values[at];
  const words = value === null || value === undefined ? "–" : number(value);
  return [h("span", { class: `dlw-key ${look}` }, `${label} `, h("b", {}, words))];
}

/** Where a value is drawn, in % from the top; a curve that is flat is in the middle. */
export function heightOf(value: number, low: number, high: number): number {
  return 100 - ROOM - (100 - 2 * ROOM) * (high > low ? (value - low) / (high - low) : 0.5);
}

/** Four digits: cosines differ in the last of them; what is hardly more than rounding is 0. */
export function number(value: number): string {
  return Math.abs(value) < 1e-6 ? "0" : String(Number(value.toPrecision(4))).replace("-", "−");
}

function drawn(tag: string, attributes: Attributes): SVGElement {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, String(value));
  return element;
}
