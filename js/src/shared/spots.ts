// Spots: which picture is on screen, where a linked widget asks for one that is not here, and which come next.
import type { CommonTraits, Model } from "./model";

/** The picture of a layer; at a denoising step (null: finished), with one token kept (null: the whole prompt). */
export interface Spot {
  layer: number;
  step: number | null;
  token: number | null;
}

export interface TokenMask {
  token: number;
  positions: number[];
}

export interface SpotTraits extends CommonTraits {
  layer: number;
  step: number | null;
  layers: number[];
  snapshots: number[];
  token_masks: TokenMask[];
}

/** As `frame_key` in `_state.py`. */
export function keyOf({ layer, step, token }: Spot): string {
  const part = token !== null ? `/token/${token}` : step !== null ? `/step/${step}` : "";
  return `layer/${layer}${part}`;
}

/** The nearest there is: a value itself, else one below, else the first. */
function nearest(values: number[], wanted: number): number | undefined {
  return values.includes(wanted) ? wanted : (values.findLast((each) => each <= wanted) ?? values[0]);
}

export function spotOf(model: Model<any>): Spot {
  const get: Model<SpotTraits>["get"] = (name) => model.get(name);
  const [layer, step, token] = [get("layer"), get("step"), keptOf(model)?.token ?? null];
  return {
    layer: nearest(get("layers"), layer) ?? layer,
    step: step === null || token !== null ? null : (nearest(get("snapshots"), step) ?? null),
    token,
  };
}

/** What the marked token stands in, if it has pictures of its own: a word by any of its pieces. */
export function keptOf(model: Model<any>): TokenMask | undefined {
  const [token, kept] = [model.get("token") as number | null, model.get("token_masks") as TokenMask[]];
  if (token === null) return undefined;
  return kept.find((row) => row.token === token) ?? kept.find((row) => row.token >= 0 && row.positions.includes(token));
}

/** The ways through the pictures, named as the keys that go there. */
export const WAYS = {
  ...{ "epoch+": "epochs →", "epoch-": "epochs ←" },
  ...{ "layer+": "layers →", "layer-": "layers ←", "step+": "steps ↑", "step-": "steps ↓" },
};
export type Way = keyof typeof WAYS;

/** Which ways there are: only the whole prompt has steps. */
export function waysFrom(model: Model<any>): Way[] {
  const steps = model.get("snapshots").length && spotOf(model).token === null;
  return (Object.keys(WAYS) as Way[]).filter((way) => steps || way.startsWith("layer"));
}

/** All other spots on a way, from the next one on, round and round. */
export function spotsAlong(model: Model<any>, wanted: Way): Spot[] {
  const spot = spotOf(model);
  const way = waysFrom(model).includes(wanted) ? wanted : wanted.replace("step", "layer");
  const values: (number | null)[] = way.startsWith("step") ? [...model.get("snapshots"), null] : model.get("layers");
  const axis = way.startsWith("step") ? "step" : "layer";
  const at = values.indexOf(spot[axis]);
  const ahead = [...values.slice(at + 1), ...values.slice(0, at)];
  return (way.endsWith("-") ? ahead.reverse() : ahead).map((value) => ({ ...spot, [axis]: value }));
}
