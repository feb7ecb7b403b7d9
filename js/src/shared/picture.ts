// PictureCanvas: one picture, as large as there is room, or the words for why there is none.
import { h, put, write } from "./dom";
import type { Picture } from "./store";

/** Below this many pixels a side a picture is enlarged pixel by pixel, above it smoothly. */
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
  private readonly canvas = h("canvas", { class: "dlw-picture", role: "img" });
  private readonly words = h("div", { class: "dlw-hole" });
  private readonly badge = h("div", { class: "dlw-badge", "aria-hidden": "true" });
  private shown: ImageBitmap | null = null;

  constructor() {
    put(this.frame, this.canvas, this.words, this.badge);
    put(this.el, this.frame);
  }

  /** `words` are shown where there is no picture, `badge` on top of one that is not finished. */
  update(picture: Picture | undefined, ratio: number, label: string, words: Node | string, badge: string): void {
    this.frame.style.setProperty("--dlw-ratio", String(ratio));
    this.canvas.hidden = !picture;
    this.words.hidden = !!picture;
    this.badge.hidden = !badge;
    write(this.badge, badge);
    this.canvas.setAttribute("aria-label", label);
    if (picture && picture.bitmap !== this.shown) paint(this.canvas, picture.bitmap);
    this.shown = picture?.bitmap ?? null;
    if (!picture) put(this.words, words);
  }
}
