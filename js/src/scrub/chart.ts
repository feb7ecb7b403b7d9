// Chart: the loss over the columns of the matrix, on their axis, with a line where the current epoch is.
import { digits } from "../attention/maps";
import { h, put, write } from "../shared/dom";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 100; // of the drawing, which is stretched over its place

/** Where an epoch stands among the columns, in columns: the middle of the first is 0.5. */
export function placeOf(columns: number[], epoch: number): number {
  const after = columns.findIndex((each) => each > epoch);
  const from = after < 0 ? columns.length - 2 : after - 1;
  const [a, b] = [columns[from], columns[from + 1]];
  const place = a === undefined || b === undefined ? Math.max(0, from) : from + (epoch - a) / (b - a);
  return Math.min(columns.length, Math.max(0, place + 0.5));
}

/** The points of the curve in a drawing of `HEIGHT`, 100 wide for each column; the curve keeps 6 % above and below. */
export function curveOf(points: [epoch: number, loss: number][], columns: number[]): [x: number, y: number][] {
  const losses = points.map(([, loss]) => loss);
  const [least, most] = [Math.min(...losses), Math.max(...losses)];
  return points.map(([epoch, loss]) => [
    100 * placeOf(columns, epoch),
    HEIGHT * (0.94 - 0.88 * ((loss - least) / (most - least || 1))),
  ]);
}

export class LossChart {
  readonly row: HTMLElement;
  private readonly head = h("div", { class: "dlw-row-head", role: "rowheader" });
  private readonly most = h("span");
  private readonly least = h("span");
  private readonly svg = document.createElementNS(SVG, "svg");
  private readonly line = document.createElementNS(SVG, "polyline");
  private readonly cursor = h("i", { class: "dlw-cursor" });
  private readonly plot = h("div", { class: "dlw-plot", role: "gridcell" });
  private version = "";

  constructor() {
    put(this.head, this.most, h("span", {}, "loss"), this.least);
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.append(this.line);
    put(this.plot, this.svg, this.cursor);
    this.row = h("div", { class: "dlw-row dlw-losses", role: "row" }, this.head, this.plot);
  }

  update(points: [epoch: number, loss: number][], steps: number, columns: number[], epoch: number): void {
    this.row.hidden = !points.length;
    this.cursor.style.left = `${(100 * placeOf(columns, epoch)) / columns.length}%`;
    const version = JSON.stringify([points, columns]);
    if (version === this.version || !points.length) return;
    this.version = version;
    const losses = points.map(([, loss]) => loss);
    const [least, most] = [Math.min(...losses), Math.max(...losses)];
    this.svg.setAttribute("viewBox", `0 0 ${100 * columns.length} ${HEIGHT}`);
    this.line.setAttribute("points", curveOf(points, columns).join(" "));
    write(this.most, digits(most));
    write(this.least, digits(least));
    const mean = steps > 1 ? `, each point the mean of ${steps} steps` : "";
    this.plot.title = `Loss from ${digits(least)} to ${digits(most)}${mean}`;
    this.plot.setAttribute("aria-label", this.plot.title);
  }
}
