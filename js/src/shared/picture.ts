// PictureCanvas: one large picture, or words that say why there is none.
import { h, put, write } from "./dom";
import type { Picture } from "./store";

/** A picture with fewer pixels a side is enlarged pixel by pixel, a larger one smoothly. */
export const CRISP_BELOW = 96;

/** Draw a picture into a canvas of its own size, or at most `limit` pixels a side. */
export function paint(canvas: HTMLCanvasElement, bitmap: ImageBitmap, limit = Infinity): void {
  const scale = Math.min(1, limit / Math.max(bitmap.width, bitmap.height));
  const width = Math.max(1, Math.round(bitmap.width * scale));
  const height = Math.max(1, Math.round(bitmap.height * scale));
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const pen = canvas.getContext("2d")!;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, 0, 0, width, height);
  canvas.classList.toggle("dlw-crisp", Math.max(bitmap.width, bitmap.height) < CRISP_BELOW);
}

export class PictureCanvas {
  readonly el = h("div", { class: "dlw-stage" });
  readonly frame = h("div", { class: "dlw-frame" });
  readonly #canvas = h("canvas", { class: "dlw-picture", role: "img", hidden: true });
  readonly #words = h("div", { class: "dlw-hole" });
  readonly #badge = h("div", { class: "dlw-badge", "aria-hidden": "true" });
  #picture: Picture | undefined;

  constructor() {
    put(this.frame, this.#canvas, this.#words, this.#badge);
    put(this.el, this.frame);
  }

  /** `words` are shown where there is no picture; `badge` is shown on a picture that is not finished. */
  update(picture: Picture | undefined, ratio: number, label: string, words: Node | string, badge: string): void {
    this.frame.style.setProperty("--dlw-ratio", String(ratio));
    this.#words.hidden = !!picture;
    this.#badge.hidden = !badge;
    write(this.#badge, badge);
    this.#canvas.setAttribute("aria-label", label);
    if (!picture) put(this.#words, words);
    if (picture === this.#picture) return;
    this.#picture = picture;
    if (picture) void this.#paint(picture);
    else this.#end(true);
  }

  /** The former picture stays until the new one is decoded, which is a few milliseconds: nothing flickers. */
  async #paint(picture: Picture): Promise<void> {
    this.frame.setAttribute("aria-busy", "true");
    const bitmap = await picture.load();
    if (picture !== this.#picture) return;
    if (bitmap) paint(this.#canvas, bitmap);
    this.#end(!bitmap);
  }

  #end(hidden: boolean): void {
    this.#canvas.hidden = hidden;
    this.frame.removeAttribute("aria-busy");
  }
}
