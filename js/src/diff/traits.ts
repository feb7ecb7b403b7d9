// The traits of a DiffViewer; `_diff_state.py` is the other side.
import type { Column } from "../attention/maps";
import type { CommonTraits } from "../shared/model";

export type Mode = "side" | "curtain" | "blink" | "difference" | "square";

/** Whose encoder and whose U-Net painted a picture; what both have in common is the name. */
export type Run = "raw" | "tuned" | "tuned-raw" | "raw-tuned";

export interface Measure {
  name: string;
  label: string;
  unit: string;
  /** What the raw model has with itself; null where raw has a line of its own, or none. */
  itself: number | null;
  series: { label: string; values: (number | null)[] }[];
}

/** What the bytes of all maps of one kind mean: `most` is the highest there is, in any layer. */
export interface Scale {
  width: number;
  height: number;
  most: number;
}

export interface DiffTraits extends CommonTraits {
  layer: number;
  layers: number[];
  num_layers: number;
  mode: Mode;
  measure: string;
  models: Partial<Record<Run, string>>;
  measures: Measure[];
  columns: Column[];
  _scales: { difference?: Scale; attention?: Scale };
}
