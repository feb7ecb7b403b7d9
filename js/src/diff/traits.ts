// The traits of a DiffViewer; `analysis/comparison/front_end.py` is the other side.
import type { Column } from "../attention/maps";
import type { CommonTraits } from "../shared/model";

export type Mode = "side" | "curtain" | "blink" | "difference" | "swap_grid";

/** Whose encoder and whose U-Net painted a picture, "encoder-U-Net"; one name if both are of the same model. */
export type Run = "raw" | "tuned" | "tuned-raw" | "raw-tuned";

export interface Metric {
  name: string;
  label: string;
  unit: string;
  /** The value of the raw model compared with itself; null where raw has a line of its own, or there is none. */
  itself: number | null;
  series: { label: string; values: (number | null)[] }[];
}

/** What the bytes of all maps of one kind mean: `most` is the highest value of all layers. */
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
  metric: string;
  models: Partial<Record<Run, string>>;
  metrics: Metric[];
  columns: Column[];
  _scales: { difference?: Scale; attention?: Scale };
}
