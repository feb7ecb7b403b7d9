// Scene: the part of a training that is on screen: images, drift and losses by epoch and layer. The Python side is
// `dreambooth/history/front_end.py`.
import { digits } from "../attention/maps";
import type { CommonTraits, Model, Progress, Status, Token } from "../shared/model";
import type { Session } from "../shared/session";
import type { Mark, Thumbnail } from "../shared/thumb";
import type { Picture } from "../shared/store";

export type Metric = "cosine_distance" | "latent_rms" | "ssim_distance";

/** The name of each metric on a button, and in the legend. */
export const METRICS: Record<Metric, [label: string, unit: string]> = {
  cosine_distance: ["states", "cosine distance of the states since epoch 0"],
  latent_rms: ["latents", "rms change of the latents since epoch 0"],
  ssim_distance: ["1 − SSIM", "1 − SSIM of the images, against epoch 0"],
};

/** A prompt that is validated at every epoch; `dreambooth/history/front_end.py` describes it. */
export interface ValidationPrompt {
  prompt: string;
  role: "instance" | "class" | "control";
  seed_offset: number;
  tokens: Token[];
}

export interface Alarm {
  kind: string;
  epoch: number;
  layer: number;
  validation_prompt: number;
  message: string;
}

export interface TrainingProgress extends Progress {
  epoch?: number;
  epochs?: number;
  doing?: string;
}

export interface ScrubTraits extends CommonTraits {
  epoch: number;
  layer: number;
  validation_prompt: number;
  color_by: Metric | "";
  validation_prompts: ValidationPrompt[];
  columns: number[];
  epochs: number[];
  layers: number[];
  num_layers: number;
  alarms: Alarm[];
  losses: { points?: [epoch: number, loss: number][]; steps?: number };
  training_drift: Record<string, Partial<Record<Metric, (number | null)[]>>>;
  progress: TrainingProgress;
}

export interface Spot {
  epoch: number;
  layer: number;
}

export interface DriftPlace extends Thumbnail {
  /** 0..1 of the scale; null: no color. */
  share: number | null;
  flagged: boolean;
}

/** The value itself if it is there, else the next one below, else the first. */
const nearest = (values: number[], value: number) =>
  values.includes(value) ? value : (values.findLast((each) => each <= value) ?? values[0] ?? value);

export class Scene {
  private readonly model: Model<ScrubTraits>;

  constructor(private readonly session: Session<ScrubTraits>) {
    this.model = session.model;
  }

  get<K extends keyof ScrubTraits & string>(name: K): ScrubTraits[K] {
    return this.model.get(name);
  }

  /** The current place; if a linked widget chose a layer that is not here, the next one below. */
  spot(): Spot {
    return {
      epoch: nearest(this.get("columns"), this.get("epoch")),
      layer: nearest(this.get("layers"), this.get("layer")),
    };
  }

  prompt(): ValidationPrompt | undefined {
    return this.get("validation_prompts")[this.get("validation_prompt")];
  }

  pictureOf({ epoch, layer }: Spot): Picture | undefined {
    return this.session.store.get(`prompt/${this.get("validation_prompt")}/epoch/${epoch}/layer/${layer}`);
  }

  /** How much a place changed since epoch 0. */
  drift(metric: Metric, { epoch, layer }: Spot, prompt = this.get("validation_prompt")): number | null {
    const row = this.get("training_drift")[`${prompt}/${epoch}`]?.[metric];
    return row?.[this.get("layers").indexOf(layer)] ?? null;
  }

  /** The largest value of all prompts: the bright end of the scale. */
  most(metric: Metric): number {
    const rows = Object.values(this.get("training_drift")).flatMap((row) => row[metric] ?? []);
    return Math.max(0, ...rows.map((value) => value ?? 0));
  }

  /** All metrics of a place in words. */
  measured(spot: Spot): string {
    const values = (Object.keys(METRICS) as Metric[]).map((metric) => [metric, this.drift(metric, spot)] as const);
    const known = values.filter(([, value]) => value !== null);
    return known.map(([metric, value]) => `${METRICS[metric][0]} ${digits(value!)}`).join(" · ");
  }

  alarms(spot: Spot): Alarm[] {
    const mine = this.get("alarms").filter((alarm) => alarm.validation_prompt === this.get("validation_prompt"));
    return mine.filter(({ epoch, layer }) => epoch === spot.epoch && layer === spot.layer);
  }

  /** The mean loss at an epoch, of the steps before it. */
  loss(epoch: number): number | null {
    const { points } = this.get("losses");
    const point = points?.findLast(([at]) => at <= epoch) ?? (epoch > 0 ? points?.[0] : undefined);
    return point?.[1] ?? null;
  }

  /** A row of the matrix. */
  places(layer: number, status: Status): DriftPlace[] {
    const metric = this.get("color_by");
    const most = metric ? this.most(metric) : 0;
    return this.get("columns").map((epoch) => {
      const spot = { epoch, layer };
      const [picture, value] = [this.pictureOf(spot), metric ? this.drift(metric, spot) : null];
      const mark = this.mark(spot, status);
      const what = picture ? this.measured(spot) : { running: "being generated" }[mark as string] ?? "not generated";
      return {
        value: epoch,
        mark,
        title: `epoch ${epoch}, layer ${layer}${what && `: ${what}`}`,
        picture,
        share: value === null || !picture ? null : most ? value / most : 0,
        flagged: this.alarms(spot).length > 0,
      };
    });
  }

  mark(spot: Spot, status: Status): Mark {
    const { doing, epoch } = this.get("progress");
    if (this.pictureOf(spot)) return "done";
    return status === "running" && doing === "validation" && epoch === spot.epoch ? "running" : "hollow";
  }

  /** Show the next picture there is on the way that is played. */
  goOn(): boolean {
    const { player } = this.session;
    const axis = player.way.startsWith("layer") ? "layer" : "epoch";
    const spot = this.spot();
    const values = this.get(axis === "layer" ? "layers" : "columns");
    const at = values.indexOf(spot[axis]);
    const ahead = [...values.slice(at + 1), ...values.slice(0, at)];
    if (player.way.endsWith("-")) ahead.reverse();
    const next = ahead.find((value) => this.pictureOf({ ...spot, [axis]: value }));
    if (next !== undefined) this.session.set(axis, next);
    return next !== undefined;
  }
}
