// The part of an anywidget model that the widgets use: a page without a kernel can pass a small object instead.
import type { AnyModel } from "@anywidget/types";

export interface FrameEntry {
  mime: string;
  step: number;
  final: boolean;
  run?: number;
  data: DataView;
}

export interface Token {
  index: number;
  text: string;
  kind: "bos" | "word" | "eos" | "pad" | "template";
  is_continuation: boolean;
  /** Of a word: start and end of its characters in the prompt; not in older files. */
  span?: [start: number, end: number] | null;
}

export interface Progress {
  layers_done?: number;
  layers_total?: number;
  running?: number[];
  running_tokens?: [layer: number, token: number][];
  step?: number;
  steps?: number;
  seconds_left?: number | null;
}

export interface Settings {
  seed?: number;
  num_inference_steps?: number;
  guidance_scale?: number;
  model?: string;
  negative_prompt?: string;
  method?: string;
  quality?: string;
  source?: string;
  direction?: string[];
  without_text?: string[];
}

/** The name of a layer's picture of the lens or an ablation, as `RunRecord.name_of`; a draft is named in the caption. */
export function layerName(settings: Settings, layer: number): string {
  if (settings.method !== "ablation") return `layer ${layer}`;
  return layer ? `block ${layer} skipped` : "nothing skipped";
}

export type Status = "empty" | "running" | "done" | "stopped" | "failed";

/** The synced traits of every widget; `widgets/_base.py` and `runs/render/front_end.py` are the other side. */
export interface CommonTraits {
  status: Status;
  message: string;
  notice: string;
  prompt: string;
  tokens: Token[];
  token: number | null;
  settings: Settings;
  progress: Progress;
  failures: Record<string, string>;
  _run: number;
  _acknowledged: number;
  _frames: Record<string, FrameEntry>;
  _static?: boolean;
}

export type Model<T extends CommonTraits = CommonTraits> = Pick<
  AnyModel<T>,
  "get" | "set" | "on" | "off" | "save_changes" | "send"
>;

export type Off = () => void;

/** Call `callback` at each of some events of a model; returns a function that ends it. */
export function listen(model: Model<any>, events: readonly string[], callback: (...args: any[]) => void): Off {
  for (const event of events) model.on(event, callback);
  return () => events.forEach((event) => model.off(event, callback));
}
