// Heat: draws a map in colors; `runs/render/heat_colors.py` has the same two color ramps.
import { h } from "../shared/dom";
import type { Plane } from "./maps";

// equal steps of OKLab, lightness 0.20 to 0.91, one warm and one cool
const WARM = "2a090b 4b1714 6f271a 903d21 b15425 ca7522 df9827 ecbe4e f5e378";
const COOL = "141030 232356 2f3980 3a53a2 4470c4 4393d8 4eb5e8 73d4f1 a0f1fb";
const SMALLEST = 512;
const TABLES = [WARM, COOL].map(table);

/** A map, and the value that its brightest color stands for. */
export interface Heat {
  plane: Plane;
  most: number;
  ramp: number;
}

/** Draw maps of one size, one value a pixel. The colors of two maps are mixed as light is (screen blending). */
export function paintHeat(canvas: HTMLCanvasElement, heats: Heat[]): void {
  const { width, height } = heats[0]!.plane;
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const image = new ImageData(width, height);
  heats.forEach(({ plane: { values, scale }, most, ramp }, index) => {
    values.forEach((value, at) => {
      const share = most ? Math.min(255, Math.round((value * scale) / most)) : 0;
      for (let channel = 0; channel < 3; channel++) {
        const ours = TABLES[ramp]![3 * share + channel]!;
        const theirs = image.data[4 * at + channel]!;
        image.data[4 * at + channel] = index ? 255 - ((255 - ours) * (255 - theirs)) / 255 : ours;
      }
      image.data[4 * at + 3] = 255;
    });
  });
  canvas.getContext("2d")!.putImageData(image, 0, 0);
}

/** Draw an image as it looks under a map: gray, and at least 512 pixels wide or high. */
export function overPicture(picture: ImageBitmap, heat: HTMLCanvasElement, opacity: number): HTMLCanvasElement {
  const factor = Math.ceil(SMALLEST / Math.max(picture.width, picture.height));
  const canvas = h("canvas", { width: picture.width * factor, height: picture.height * factor });
  const fill = [0, 0, canvas.width, canvas.height] as const;
  const pen = canvas.getContext("2d")!;
  pen.imageSmoothingEnabled = false;
  pen.drawImage(picture, ...fill);
  pen.globalCompositeOperation = "saturation";
  pen.fillStyle = "#808080";
  pen.fillRect(...fill);
  pen.globalCompositeOperation = "source-over";
  pen.globalAlpha = opacity;
  pen.drawImage(heat, ...fill);
  return canvas;
}

/** The color at 0..1 of a ramp. */
export function colourOf(share: number, ramp: number): string {
  const at = 3 * Math.round(255 * Math.min(1, Math.max(0, share)));
  return `rgb(${TABLES[ramp]!.slice(at, at + 3).join()})`;
}

/** Draw all colors of a ramp, from dark to bright. */
export function paintRamp(canvas: HTMLCanvasElement, ramp: number): void {
  const values = Uint8Array.from({ length: 256 }, (_, value) => value);
  paintHeat(canvas, [{ plane: { values, scale: 1, width: 256, height: 1 }, most: 1, ramp }]);
}

/** 256 colors between the stops of a ramp. */
function table(ramp: string): Uint8ClampedArray {
  const stops = ramp.split(" ").map((stop) => [0, 2, 4].map((at) => parseInt(stop.slice(at, at + 2), 16)));
  const colors = new Uint8ClampedArray(3 * 256);
  for (let value = 0; value < 256; value++) {
    const position = (value / 255) * (stops.length - 1);
    const below = Math.min(stops.length - 2, Math.floor(position));
    for (let channel = 0; channel < 3; channel++) {
      const [from, to] = [stops[below]![channel]!, stops[below + 1]![channel]!];
      colors[3 * value + channel] = from + (to - from) * (position - below);
    }
  }
  return colors;
}
