// DiffMaps: difference of pixels, and of the attention to a word; each kind on one scale for all layers.
import { paintHeat } from "../attention/heat";
import { digits, type Column, type Plane } from "../attention/maps";
import type { Session } from "../shared/session";
import type { DiffTraits } from "./traits";

const ZERO = 128; // the byte of no difference in attention; 1 and 255 are the ends
const STEPS = 127;

/** A map, and how its bytes are read: from 0 up, or, signed, to both sides of 128. */
export interface DiffMap {
  plane: Plane;
  signed: boolean;
  most: number;
  /** Identifies the map; it is painted again only when this changes. */
  version: string;
}

/** The map that goes over the tuned picture; undefined where there is none. */
export function mapOf(session: Session<DiffTraits>, layer: number, column: Column | undefined): DiffMap | undefined {
  const { model, store } = session;
  const kind = column ? "attention" : "difference";
  const scale = model.get("_scales")[kind];
  const entry = store.others.get(`${kind}/${layer}`);
  if (!scale || !entry) return undefined;
  const { width, height, most } = scale;
  const index = column ? model.get("columns").findIndex(({ token }) => token === column.token) : 0;
  const start = index * width * height;
  if (entry.data.byteLength < start + width * height) return undefined;
  const values = new Uint8Array(entry.data.buffer as ArrayBuffer, entry.data.byteOffset + start, width * height);
  const version = [model.get("_run"), kind, layer, index].join();
  return { plane: { values, scale: 1, width, height }, signed: !!column, most, version };
}

/** Warm above zero, cool below it, dark at zero; unsigned, warm from dark on. */
export function paintDiff(canvas: HTMLCanvasElement, { plane, signed }: Pick<DiffMap, "plane" | "signed">): void {
  const side = (values: Uint8Array, ramp: number) => ({ plane: { ...plane, values }, most: 1, ramp });
  if (!signed) return paintHeat(canvas, [side(plane.values, 0)]);
  const above = plane.values.map((value) => 2 * Math.max(0, value - ZERO));
  const below = plane.values.map((value) => 2 * Math.max(0, ZERO - value));
  paintHeat(canvas, [side(above, 0), side(below, 1)]);
}

/** All colors of such a map, from its lowest to its highest value. */
export function paintScale(canvas: HTMLCanvasElement, signed: boolean): void {
  const first = signed ? 1 : 0;
  const values = Uint8Array.from({ length: 256 - first }, (_, at) => first + at);
  paintDiff(canvas, { plane: { values, scale: 1, width: values.length, height: 1 }, signed });
}

/** The value at a point of the picture, 0..1 across and down, as text. */
export function wordsAt({ plane, signed, most }: DiffMap, across: number, down: number): string {
  const pixel = (share: number, size: number) => Math.min(size - 1, Math.max(0, Math.floor(share * size)));
  const value = plane.values[pixel(down, plane.height) * plane.width + pixel(across, plane.width)]!;
  return signed ? withSign(((value - ZERO) / STEPS) * most) : digits((value / 255) * most);
}

/** A number with its sign, also with +. */
export function withSign(value: number): string {
  return value > 0 ? `+${digits(value)}` : value < 0 ? `−${digits(-value)}` : "0";
}
