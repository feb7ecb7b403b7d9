// Thumb: one position of an axis: its small picture, its mark and its number.
import { h, write } from "./dom";
import { paint } from "./picture";
import type { Picture } from "./store";

export type Mark = "done" | "preview" | "running" | "hollow" | "failed";

/** What a thumb shows. */
export interface Thumbnail {
  /** The layer or epoch; -1 where it is not known. */
  value: number;
  mark: Mark;
  title: string;
  picture: Picture | undefined;
}

const EMPTY_THUMBNAILS = 13;

/** The thumbnails of an axis of which nothing is known yet. */
export function holes(): Thumbnail[] {
  const hole: Thumbnail = { value: -1, mark: "hollow", title: "not computed", picture: undefined };
  return Array.from({ length: EMPTY_THUMBNAILS }, () => hole);
}

const PIXELS = 128; // twice 64 CSS pixels, for screens with two pixels per CSS pixel

export class Thumb {
  readonly el = h("div");
  readonly label = h("span", { class: "dlw-number" });
  readonly #canvas = h("canvas", { class: "dlw-thumb" });
  #picture: Picture | undefined;

  constructor() {
    this.el.append(h("div", { class: "dlw-box" }, this.#canvas), h("i", { class: "dlw-mark" }), this.label);
  }

  show({ value, mark, title, picture }: Thumbnail, current: boolean): void {
    this.el.className = `dlw-cell dlw-is-${mark}${current ? " dlw-current" : ""}`;
    this.el.title = title;
    write(this.label, value < 0 ? "" : String(value));
    if (picture === this.#picture) return;
    this.#picture = picture;
    if (picture) void this.#paint(picture);
    else this.#canvas.hidden = true;
  }

  /** The canvas keeps its own pixels: the decoded picture is not needed any more. */
  async #paint(picture: Picture): Promise<void> {
    const bitmap = await picture.load();
    if (picture !== this.#picture) return;
    if (bitmap) paint(this.#canvas, bitmap, PIXELS);
    this.#canvas.hidden = !bitmap;
  }
}

/** Where labels of `size` have too little `room`, show only every second, third …; the current one always shows. */
export function thin(labels: Element[], size: number, room: number): void {
  const stride = strideOf(labels.length, size, room);
  labels.forEach((label, index) => label.classList.toggle("dlw-thinned", index % stride !== 0));
}

/** 1 where `count` labels of `size` fit into `room`, 2 where every second one does …; lengths in CSS pixels. */
export function strideOf(count: number, size: number, room: number): number {
  return Math.ceil((size * count) / (room || Infinity));
}
