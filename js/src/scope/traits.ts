// The synced traits of a Microscope; `widgets/microscope.py` is the other side.
import type { CommonTraits } from "../shared/model";

export const VIEWS = ["layers", "tokens", "attention", "compare", "patch"] as const;
export type ViewName = (typeof VIEWS)[number];
/** The names of the widgets within it: a LayerSlider, a TokenAttentionGrid, and LayerSliders of the second prompt and of a patch. */
export type PartName = "lens" | "attention" | "second" | "patch";

export interface Entry {
  number: number;
  prompt: string;
  seed: number;
  second: string;
  parts: (PartName | "tokens")[];
  status: string;
}

/** What the boxes hold. */
export interface Form {
  prompt: string;
  negative_prompt: string;
  seed: number;
  num_inference_steps: number | null;
  guidance_scale: number | null;
  layers: string;
  second_prompt: string;
  patch_words: string;
}

export interface ScopeTraits extends CommonTraits, Omit<Form, "prompt"> {
  view: ViewName;
  layer: number;
  step: number | null;
  _defaults: { num_inference_steps: number; guidance_scale: number; num_layers: number; model: string };
  _examples: [question: string, prompt: string, second: string][];
  _tabs: ViewName[];
  _entries: Entry[];
  _entry: number;
  _has: (PartName | "tokens")[];
  _parts: Record<PartName, Record<string, unknown>>;
}
