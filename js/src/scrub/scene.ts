// Scene: what of a training is on screen: pictures, drift and losses by epoch and layer; `_scrubber_state.py` is the
// other side.
import { digits } from "../attention/maps";
import type { CommonTraits, Model, Progress, Status, Token } from "../shared/model";
import type { Session } from "../shared/session";
import type { Mark, Thumbnail } from "../shared/thumb";
import type { Picture } from "../shared/store";

export type Measure = "cosine_distance" | "latent_rms" | "ssim_distance";

/** What each measure is called on a button, and in the legend. */
export const MEASURES: Record<Measure, [label: string, unit: string]> = {
  cosine_distance: ["states", "cosine distance of the states since epoch 0"],
  latent_rms: ["latents", "rms change of the latents since epoch 0"],
  ssim_distance: ["1 − SSIM", "1 − SSIM of the pictures, against epoch 0"],
};

export interface Probe {
  prompt: string;
  role: "instance" | "class" | "control";
  noise: number;
  tokens: Token[];
}

export interface Alarm {
  kind: string;
  epoch: number;
  layer: number;
  probe: number;
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
  probe: number;
  colour: Measure | "";
  probes: Probe[];
  columns: number[];
  epochs: number[];
  layers: number[];
  num_layers: number;
  alarms: Alarm[];
  losses: { points?: [epoch: number, loss: number][]; steps?: number };
  drift: Record<string, Partial<Record<Measure, (number | null)[]>>>;
  progress: TrainingProgress;
}

export interface Spot {
  epoch: number;
  layer: number;
}

export interface DriftPlace extends Thumbnail {
  /** 0..1 of the scale; null: nothing to colour. */
  share: number | null;
  flagged: boolean;
}

/** The nearest there is: a value itself, else one below, else the first. */
const nearest = (values: number[], wanted: number) =>
  values.includes(wanted) ? wanted : (values.findLast((each) => each <= wanted) ?? values[0] ?? wanted);

export class Scene {
  private readonly model: Model<ScrubTraits>;

  constructor(private readonly session: Session<ScrubTraits>) {
    this.model = session.model;
  }

  get<K extends keyof ScrubTraits & string>(name: K): ScrubTraits[K] {
    return this.model.get(name);
  }

  /** Where the user is; where a linked widget went to what is not here, the nearest below. */
  spot(): Spot {
    return {
      epoch: nearest(this.get("columns"), this.get("epoch")),
      layer: nearest(this.get("layers"), this.get("layer")),
    };
  }

  probe(): Probe | undefined {
    return this.get("probes")[this.get("probe")];
  }

  pictureOf({ epoch, layer }: Spot): Picture | undefined {
    return this.session.store.get(`probe/${this.get("probe")}/epoch/${epoch}/layer/${layer}`);
  }

  /** How far a place has moved since epoch 0. */
  drift(measure: Measure, { epoch, layer }: Spot, probe = this.get("probe")): number | null {
    const row = this.get("drift")[`${probe}/${epoch}`]?.[measure];
    return row?.[this.get("layers").indexOf(layer)] ?? null;
  }

  /** The largest of all prompts: what the bright end of the colours stands for. */
  most(measure: Measure): number {
    const rows = Object.values(this.get("drift")).flatMap((row) => row[measure] ?? []);
    return Math.max(0, ...rows.map((value) => value ?? 0));
  }

  /** All measures of a place in words. */
  measured(spot: Spot): string {
    const values = (Object.keys(MEASURES) as Measure[]).map((measure) => [measure, this.drift(measure, spot)] as const);
    const known = values.filter(([, value]) => value !== null);
    return known.map(([measure, value]) => `${MEASURES[measure][0]} ${digits(value!)}`).join(" · ");
  }

  alarms(spot: Spot): Alarm[] {
    const mine = this.get("alarms").filter(({ probe }) => probe === this.get("probe"));
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
    const colour = this.get("colour");
    const most = colour ? this.most(colour) : 0;
    return this.get("columns").map((epoch) => {
      const spot = { epoch, layer };
      const [picture, value] = [this.pictureOf(spot), colour ? this.drift(colour, spot) : null];
      const mark = this.mark(spot, status);
      const what = picture ? this.measured(spot) : { running: "being painted" }[mark as string] ?? "not painted";
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
    return status === "running" && doing === "painting" && epoch === spot.epoch ? "running" : "hollow";
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
