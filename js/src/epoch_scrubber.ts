// EpochScrubber: the epochs × layers of a training, the current image beside them, and the loss above.
//
// A page without a notebook shows it as it does a LayerSlider, see there.
import { HELP } from "./epoch_scrubber_help";
import { Legend } from "./attention/legend";
import { digits } from "./attention/maps";
import { AlarmList, ScrubControls } from "./scrub/controls";
import { Matrix } from "./scrub/matrix";
import { METRICS, Scene, type ScrubTraits, type Spot } from "./scrub/scene";
import { sheet } from "./scrub/sheet";
import { settingFacts } from "./shared/caption";
import { button, h, put, write } from "./shared/dom";
import type { Row } from "./shared/grid";
import { AXIS, Instrument } from "./shared/instrument";
import { listen, type Model, type Status } from "./shared/model";
import { progressText } from "./shared/progress";
import { fileName, savePng, type Bitmap } from "./shared/save";
import { Session } from "./shared/session";
import { beside } from "./shared/spots";
import type { Picture } from "./shared/store";
import { widget } from "./shared/widget";

const WATCHED = [
  ...["epoch", "layer", "validation_prompt", "color_by", "validation_prompts", "columns", "epochs", "layers", "num_layers"],
  ...["settings", "alarms", "losses", "training_drift", "status", "message", "notice", "progress"],
].map((trait) => `change:${trait}`);

class View extends Instrument<ScrubTraits> {
  private readonly scene = new Scene(this.session);
  private readonly matrix = new Matrix("Epochs and layers", (epoch, layer) => this.goTo({ epoch, layer }));
  private readonly legend = new Legend();
  private readonly drifted = h("div", { class: "dlw-drifted" });
  private readonly alarms = new AlarmList(({ epoch, layer, validation_prompt }) => this.goTo({ epoch, layer, validation_prompt }));
  private readonly controls = new ScrubControls({
    prompt: (validation_prompt) => this.goTo({ validation_prompt }),
    colorBy: (metric) => this.session.set("color_by", metric),
  });
  private readonly whole = button("Matrix", "Save the whole matrix as PNG", () => void this.saveMatrix());

  constructor(session: Session<ScrubTraits>) {
    super(session, HELP, "Epoch", () => {});
    this.root.classList.add("dlw-scrub");
    this.matrix.el.classList.add("dlw-matrix");
    this.film.el.hidden = true;
    const look = h("div", { class: "dlw-look" });
    this.picture.el.replaceWith(this.controls.el, h("div", { class: "dlw-split" }, look, this.matrix.el));
    put(look, this.picture.el, this.drifted, this.legend.el, this.alarms.el);
    this.foot.png.after(this.whole);
    this.offs.push(listen(session.model, WATCHED, () => this.schedule()));
    this.offs.push(() => this.matrix.dispose());
    this.update();
  }

  private goTo(place: Partial<Spot> & { validation_prompt?: number }): void {
    this.session.player.pause();
    for (const name of ["validation_prompt", "epoch", "layer"] as const) {
      if (place[name] !== undefined) this.session.set(name, place[name]);
    }
  }

  protected override keyboard(): HTMLElement {
    return this.matrix.current ?? this.root;
  }

  protected override onOwnKey(key: string, target: Element): boolean {
    if (!target.matches(AXIS)) return false;
    const prompt = Number(key) - 1;
    if (!this.get("validation_prompts")[prompt]) return this.matrix.key(key);
    this.goTo({ validation_prompt: prompt });
    return true;
  }

  protected override async current(): Promise<[Bitmap | undefined, string]> {
    const spot = this.scene.spot();
    const name = fileName("training", "epoch", spot.epoch, "layer", spot.layer, this.scene.prompt()?.prompt ?? "");
    return [await this.scene.pictureOf(spot)?.load(), name];
  }

  protected override near(): (Picture | undefined)[] {
    const spot = this.scene.spot();
    const spots = [
      ...beside(this.get("columns"), spot.epoch).map((epoch) => ({ ...spot, epoch })),
      ...beside(this.get("layers"), spot.layer).map((layer) => ({ ...spot, layer })),
    ];
    return spots.map((each) => this.scene.pictureOf(each));
  }

  private rows(status: Status): Row<number>[] {
    return this.get("layers").map((layer) => {
      return { key: layer, label: String(layer), title: `layer ${layer}`, thumbnails: this.scene.places(layer, status) };
    });
  }

  private async saveMatrix(): Promise<void> {
    const metric = this.get("color_by");
    const note = metric ? `${METRICS[metric][1]}: dark 0, bright ${digits(this.scene.most(metric))}` : "";
    const prompt = this.scene.prompt()?.prompt ?? "";
    savePng(await sheet(this.rows(this.status()), prompt, note), fileName("training", prompt));
  }

  protected override update(): void {
    const status = this.status();
    const [scene, spot] = [this.scene, this.scene.spot()];
    const [columns, metric] = [this.get("columns"), this.get("color_by")];
    const empty = status === "empty" || !columns.length || !this.get("layers").length;
    const [picture, prompt] = [scene.pictureOf(spot), scene.prompt()];
    const { width, height } = this.session.store.size ?? { width: 1, height: 1 };
    const ratio = width / height;
    const of = this.get("progress").epochs ?? columns.at(-1);
    const where = `epoch ${spot.epoch} of ${of}`;
    const layer = `layer ${spot.layer} of ${this.get("num_layers") - 1}`;
    const loss = scene.loss(spot.epoch);

    const settings = { ...this.get("settings") };
    if (settings.seed !== undefined) settings.seed += prompt?.seed_offset ?? 0;
    const facts = [where, layer, picture ? "" : "not generated", loss === null ? "" : `loss ${digits(loss)}`];
    this.caption.update(prompt?.tokens ?? [], [], empty ? [] : [...facts, ...settingFacts(settings)].filter(Boolean), "");
    const label = [where, layer, `of “${prompt?.prompt ?? ""}”`, picture ? "" : "not generated"].filter(Boolean).join(", ");
    this.picture.update(picture, ratio, label, this.hole(spot, status), "");
    const measured = Object.keys(this.get("training_drift")).length > 0;
    this.controls.update(this.get("validation_prompts"), this.get("validation_prompt"), metric, measured);
    this.matrix.el.hidden = empty;
    if (!empty) {
      this.matrix.update("layer", this.rows(status), spot.layer, spot.epoch, ratio);
      this.matrix.flag(this.get("alarms"));
      const { points = [], steps = 1 } = this.get("losses");
      this.matrix.chart.update(points, steps, columns, spot.epoch);
    }
    const drifted = picture ? scene.measured(spot) : "";
    this.drifted.hidden = empty;
    write(this.drifted, drifted && `since epoch 0: ${drifted}`);
    this.legend.el.hidden = empty || !metric;
    if (metric) {
      const so = status === "running" ? ", so far" : "";
      this.legend.update(METRICS[metric][1], [{ name: "", most: scene.most(metric), ramp: 0 }], `one scale for all prompts${so}`);
      const value = scene.drift(metric, spot);
      this.legend.tell(value === null ? "" : `here: ${digits(value)}`);
    }
    this.alarms.update(this.get("alarms"));
    this.notice.update(this.lines(status), status === "failed" || !!this.session.kernel.fileError);
    this.whole.disabled = !this.get("epochs").length;
    this.foot.update({
      playable: this.get("epochs").length > 0,
      ways: ["epoch+", "epoch-", "layer+", "layer-"],
      grid: false,
      progress: empty && status !== "running" ? "" : this.progress(status),
      running: status === "running",
      picture: !!picture,
      anything: !!picture,
      film: "all epochs of this layer",
    });
  }

  private hole(spot: Spot, status: Status): string {
    if (status === "empty") {
      return "Nothing yet. Show a training:\nwidget.show(start_dreambooth(config))";
    }
    if (!this.get("layers").length) return status === "running" ? "The first images are on their way" : "No images";
    const state = this.scene.mark(spot, status) === "running" ? "being generated" : "not generated";
    return `epoch ${spot.epoch}, layer ${spot.layer}: ${state}`;
  }

  private lines(status: Status): string[] {
    const lines = [this.get("notice"), this.session.kernel.fileError];
    if (status === "failed") lines.unshift("The training failed; the images that are there stay.", this.get("message"));
    if (status === "stopped" && this.get("status") === "running") {
      lines.push("The kernel of this training is gone: its images stay, GIF needs a kernel.");
    } else if (status === "stopped") lines.push(this.get("message"));
    return lines;
  }

  private progress(status: Status): string {
    const { doing, step, steps, seconds_left } = this.get("progress");
    const { length: total } = this.get("columns");
    const validated = progressText(status, this.get("epochs").length, total, "epochs validated", seconds_left);
    return status === "running" && doing ? `${doing}, step ${step} of ${steps} · ${validated}` : validated;
  }
}

function begin(model: Model<ScrubTraits>): Session<ScrubTraits> {
  const name = () => fileName("training", "layer", model.get("layer"), model.get("validation_prompts")[model.get("validation_prompt")]?.prompt ?? "");
  const session: Session<ScrubTraits> = new Session<ScrubTraits>(model, () => new Scene(session).goOn(), name);
  session.player.way = "epoch+";
  return session;
}

export default widget<ScrubTraits>(begin, (session) => new View(session));
