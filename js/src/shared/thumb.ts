// Thumb: a place of an axis: its small picture, its mark and its number.
import { h, write } from "./dom";
import { paint } from "./picture";
import type { Picture } from "./store";

export type Mark = "done" | "preview" | "running" | "hollow" | "failed";

export interface Place {
  value: number;
  mark: Mark;
  title: string;
  picture: Picture | undefined;
}

const EMPTY_PLACES = 13;

/** The places of an axis of which nothing is known yet. */
export function holes(): Place[] {
  const hole: Place = { value: -1, mark: "hollow", title: "not computed", picture: undefined };
  return Array.from({ length: EMPTY_PLACES }, () => hole);
}

const PIXELS = 128; // twice 64 CSS pixels, for fine screens

export class Thumb {
  readonly el = h("div");
  readonly label = h("span", { class: "dlw-number" });
  private readonly canvas = h("canvas", { class: "dlw-thumb" });
  private bitmap: ImageBitmap | undefined;

  constructor() {
    this.el.append(h("div", { class: "dlw-box" }, this.canvas), h("i", { class: "dlw-mark" }), this.label);
  }

  show({ value, mark, title, picture }: Place, current: boolean): void {
    this.el.className = `dlw-cell dlw-is-${mark}${current ? " dlw-current" : ""}`;
    this.el.title = title;
    write(this.label, value < 0 ? "" : String(value));
    const bitmap = picture?.bitmap;
    this.canvas.hidden = !bitmap;
    if (bitmap && bitmap !== this.bitmap) paint(this.canvas, bitmap, PIXELS);
    this.bitmap = bitmap;
  }
}

/** Where labels of some size have too little room, only every second, third … is shown; the current one always is. */
export function thin(labels: Element[], size: number, room: number): void {
  const stride = Math.ceil((size * labels.length) / (room || Infinity));
  labels.forEach((label, index) => label.classList.toggle("dlw-thinned", index % stride !== 0));
}
