// Spots: which picture of a run is on screen, and which come next when it is played.
import type { CommonTraits, Model } from "./model";

/** A picture: of a layer, at a denoising step (null: finished), with one token kept or of a variant
 * (null: the whole prompt, unchanged). */
export interface Spot {
  layer: number;
  step: number | null;
  token: number | null;
}

export interface TokenMask {
  token: number;
  positions: number[];
  /** Of a variant (a patch, a steering strength), whose number is -3 and less. */
  label?: string;
}

export interface SpotTraits extends CommonTraits {
  layer: number;
  step: number | null;
  layers: number[];
  snapshots: number[];
  token_masks: TokenMask[];
}

/** The number of the first variant of a run; those of the others are less. */
export const FIRST_VARIANT = -3;

/** The key of a picture in `_frames`, as `frame_key` in `runs/render/front_end.py`. */
export function keyOf({ layer, step, token }: Spot): string {
  const part = token !== null ? `/token/${token}` : step !== null ? `/step/${step}` : "";
  return `layer/${layer}${part}`;
}

/** The requested value if it is there, else the next lower one, else the first. */
function nearest(values: number[], requested: number): number | undefined {
  return values.includes(requested) ? requested : (values.findLast((each) => each <= requested) ?? values[0]);
}

/** The picture on screen. A linked widget may request one that is not there: then the next lower one. */
export function spotOf(model: Model<any>): Spot {
  const get: Model<SpotTraits>["get"] = (name) => model.get(name);
  const [layer, step, token] = [get("layer"), get("step"), keptOf(model)?.token ?? null];
  return {
    layer: nearest(get("layers"), layer) ?? layer,
    step: step === null || token !== null ? null : (nearest(get("snapshots"), step) ?? null),
    token,
  };
}

/** The mask that the chosen token is kept by, if it has pictures of its own; any piece of a word finds the word. */
export function keptOf(model: Model<any>): TokenMask | undefined {
  const [token, kept] = [model.get("token") as number | null, model.get("token_masks") as TokenMask[]];
  if (token === null) return undefined;
  return kept.find((row) => row.token === token) ?? kept.find((row) => (row.token >= 0 || row.label) && row.positions.includes(token));
}

/** The ways to play the pictures: the axis, and whether its values rise or fall. */
export const WAYS = {
  ...{ "epoch+": "epochs →", "epoch-": "epochs ←" },
  ...{ "layer+": "layers →", "layer-": "layers ←", "step+": "steps ↑", "step-": "steps ↓" },
};
export type Way = keyof typeof WAYS;

/** The ways that a LayerSlider can play now: only the whole prompt has steps. */
export function waysFrom(model: Model<any>): Way[] {
  const axes = model.get("snapshots").length && spotOf(model).token === null ? ["layer", "step"] : ["layer"];
  return (Object.keys(WAYS) as Way[]).filter((way) => axes.some((axis) => way.startsWith(axis)));
}

/** All other pictures on a way in their order, from the next one on and round to the one before. */
export function spotsAlong(model: Model<any>, requested: Way): Spot[] {
  const spot = spotOf(model);
  const way = waysFrom(model).includes(requested) ? requested : requested.replace("step", "layer");
  const values: (number | null)[] = way.startsWith("step") ? [...model.get("snapshots"), null] : model.get("layers");
  const axis = way.startsWith("step") ? "step" : "layer";
  const at = values.indexOf(spot[axis]);
  const ahead = [...values.slice(at + 1), ...values.slice(0, at)];
  return (way.endsWith("-") ? ahead.reverse() : ahead).map((value) => ({ ...spot, [axis]: value }));
}

/** The one before and the one behind a value in a list, as far as they are there. */
export function beside<T>(values: T[], value: T): T[] {
  const at = values.indexOf(value);
  return at < 0 ? [] : values.filter((_, index) => Math.abs(index - at) === 1);
}
