// Thumb: one position of an axis: its small picture, its mark and its number.
import { THUMB_SIDE } from "./bitmaps";
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

export class Thumb {
  readonly el = h("div");
  readonly label = h("span", { class: "dlw-number" });
  readonly #canvas = h("canvas", { class: "dlw-thumb" });
  #picture: Picture | undefined;
  #shown: Thumbnail | undefined;
  #current = false;

  constructor() {
    this.el.append(h("div", { class: "dlw-box" }, this.#canvas), h("i", { class: "dlw-mark" }), this.label);
  }

  /** Show what is not shown yet: a widget has a hundred of these, of which a key changes two. */
  show(thumbnail: Thumbnail, current: boolean): void {
    if (current === this.#current && this.#shown && equal(thumbnail, this.#shown)) return;
    [this.#shown, this.#current] = [thumbnail, current];
    this.draw(thumbnail, current);
  }

  protected draw({ value, mark, title, picture }: Thumbnail, current: boolean): void {
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
    const bitmap = await picture.thumb();
    if (picture !== this.#picture) return;
    if (bitmap) paint(this.#canvas, bitmap, THUMB_SIDE);
    this.#canvas.hidden = !bitmap;
  }
}

/** Whether two objects of one kind have the same values. */
function equal<T extends object>(a: T, b: T): boolean {
  return (Object.keys(a) as (keyof T)[]).every((name) => a[name] === b[name]);
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
