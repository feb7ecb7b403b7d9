// Sheet: the whole matrix as one image to save, colored as it is on screen.
import { colourOf } from "../attention/heat";
import { h } from "../shared/dom";
import type { Row } from "../shared/grid";
import type { DriftPlace } from "./scene";

const CELL = 96;
const GAP = 6;
const FRAME = 14; // in the color of the drift
const LEFT = 76;
const TOP = 72;

/** `title` and `note` stand above; the paper is white whatever the notebook's colors are. */
export async function sheet(rows: Row<number>[], title: string, note: string): Promise<HTMLCanvasElement> {
  const columns = rows[0]!.thumbnails;
  const step = CELL + GAP;
  const canvas = h("canvas", { width: LEFT + columns.length * step, height: TOP + rows.length * step });
  const pen = canvas.getContext("2d")!;
  pen.fillStyle = "#fff";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  const write = (text: string, x: number, y: number, align: CanvasTextAlign, size = 14) => {
    pen.font = `${size}px sans-serif`;
    pen.textAlign = align;
    pen.fillStyle = "#404040";
    pen.fillText(text, x, y, canvas.width - x);
  };
  write(title, GAP, 20, "left", 16);
  write(note, GAP, 40, "left", 12);
  write("layer · epoch", GAP, TOP - 10, "left", 11);
  columns.forEach(({ value }, across) => write(String(value), LEFT + across * step + CELL / 2, TOP - 10, "center"));
  for (const [down, { key, thumbnails }] of rows.entries()) {
    const y = TOP + down * step;
    write(String(key), LEFT - 12, y + CELL / 2, "right");
    for (const [across, { picture, share }] of (thumbnails as DriftPlace[]).entries()) {
      const box = [LEFT + across * step, y, CELL, CELL] as const;
      pen.strokeStyle = "#d0d0d0";
      pen.strokeRect(box[0] + 0.5, box[1] + 0.5, CELL - 1, CELL - 1);
      const bitmap = await picture?.load();
      if (!bitmap) continue;
      pen.imageSmoothingEnabled = Math.max(bitmap.width, bitmap.height) >= CELL;
      const frame = share === null ? 0 : FRAME;
      if (share !== null) pen.fillStyle = colourOf(share, 0);
      if (share !== null) pen.fillRect(...box);
      pen.drawImage(bitmap, box[0] + frame, box[1] + frame, CELL - 2 * frame, CELL - 2 * frame);
    }
  }
  return canvas;
}
