// EpochScrubber: a training's epochs × layers, the current picture beside them, and the loss above.
//
// A page without a notebook shows it as it does a LayerSlider, see there.
import { HELP } from "./epoch_scrubber_help";
import { Legend } from "./attention/legend";
import { digits } from "./attention/maps";
import { AlarmList, ScrubControls } from "./scrub/controls";
import { Matrix } from "./scrub/matrix";
import { MEASURES, Scene, type ScrubTraits, type Spot } from "./scrub/scene";
import { sheet } from "./scrub/sheet";
import { settingFacts } from "./shared/caption";
import { button, h, put, write } from "./shared/dom";
import type { Row } from "./shared/grid";
import { AXIS, Instrument } from "./shared/instrument";
import { listen, type Model, type Status } from "./shared/model";
import { progressText } from "./shared/progress";
import { fileName, savePng, type Bitmap } from "./shared/save";
import { Session } from "./shared/session";
import { widget } from "./shared/widget";

const WATCHED = [
  ...["epoch", "layer", "probe", "colour", "probes", "columns", "epochs", "layers", "num_layers", "settings", "alarms"],
  ...["losses", "drift", "status", "message", "notice", "progress"],
].map((trait) => `change:${trait}`);

class View extends Instrument<ScrubTraits> {
  private readonly scene = new Scene(this.session);
  private readonly matrix = new Matrix("Epochs and layers", (epoch, layer) => this.goTo({ epoch, layer }));
  private readonly legend = new Legend();
  private readonly drifted = h("div", { class: "dlw-drifted" });
  private readonly alarms = new AlarmList(({ epoch, layer, probe }) => this.goTo({ epoch, layer, probe }));
  private readonly controls = new ScrubControls({
    probe: (probe) => this.goTo({ probe }),
    colour: (colour) => this.session.set("colour", colour),
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

  private goTo(place: Partial<Spot> & { probe?: number }): void {
    this.session.player.pause();
    for (const name of ["probe", "epoch", "layer"] as const) {
      if (place[name] !== undefined) this.session.set(name, place[name]);
    }
  }

  protected override keyboard(): HTMLElement {
    return this.matrix.current ?? this.root;
  }

  protected override onOwnKey(key: string, target: Element): boolean {
    if (!target.matches(AXIS)) return false;
    const probe = Number(key) - 1;
    if (!this.get("probes")[probe]) return this.matrix.key(key);
    this.goTo({ probe });
    return true;
  }

  protected override async current(): Promise<[Bitmap | undefined, string]> {
    const spot = this.scene.spot();
    const name = fileName("training", "epoch", spot.epoch, "layer", spot.layer, this.scene.probe()?.prompt ?? "");
    return [await this.scene.pictureOf(spot)?.load(), name];
  }

  private rows(status: Status): Row<number>[] {
    return this.get("layers").map((layer) => {
      return { key: layer, label: String(layer), title: `layer ${layer}`, thumbnails: this.scene.places(layer, status) };
    });
  }

  private async saveMatrix(): Promise<void> {
    const colour = this.get("colour");
    const note = colour ? `${MEASURES[colour][1]}: dark 0, bright ${digits(this.scene.most(colour))}` : "";
    const prompt = this.scene.probe()?.prompt ?? "";
    savePng(await sheet(this.rows(this.status()), prompt, note), fileName("training", prompt));
  }

  protected override update(): void {
    const status = this.status();
    const [scene, spot] = [this.scene, this.scene.spot()];
    const [columns, colour] = [this.get("columns"), this.get("colour")];
    const empty = status === "empty" || !columns.length || !this.get("layers").length;
    const [picture, probe] = [scene.pictureOf(spot), scene.probe()];
    const { width, height } = this.session.store.size ?? { width: 1, height: 1 };
    const ratio = width / height;
    const of = this.get("progress").epochs ?? columns.at(-1);
    const where = `epoch ${spot.epoch} of ${of}`;
    const layer = `layer ${spot.layer} of ${this.get("num_layers") - 1}`;
    const loss = scene.loss(spot.epoch);

    const settings = { ...this.get("settings") };
    if (settings.seed !== undefined) settings.seed += probe?.noise ?? 0;
    const facts = [where, layer, picture ? "" : "not painted", loss === null ? "" : `loss ${digits(loss)}`];
    this.caption.update(probe?.tokens ?? [], [], empty ? [] : [...facts, ...settingFacts(settings)].filter(Boolean), "");
    const label = [where, layer, `of “${probe?.prompt ?? ""}”`, picture ? "" : "not painted"].filter(Boolean).join(", ");
    this.picture.update(picture, ratio, label, this.hole(spot, status), "");
    this.controls.update(this.get("probes"), this.get("probe"), colour, Object.keys(this.get("drift")).length > 0);
    this.matrix.el.hidden = empty;
    if (!empty) {
      this.matrix.update("layer", this.rows(status), spot.layer, spot.epoch, ratio);
      this.matrix.flag(this.get("alarms"));
      const { points = [], steps = 1 } = this.get("losses");
      this.matrix.chart.update(points, steps, columns, spot.epoch);
    }
    const measured = picture ? scene.measured(spot) : "";
    this.drifted.hidden = empty;
    write(this.drifted, measured && `since epoch 0: ${measured}`);
    this.legend.el.hidden = empty || !colour;
    if (colour) {
      const so = status === "running" ? ", so far" : "";
      this.legend.update(MEASURES[colour][1], [{ name: "", most: scene.most(colour), ramp: 0 }], `one scale for all prompts${so}`);
      const value = scene.drift(colour, spot);
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
      return "Nothing yet. Show a training:\nwidget.show(train_dreambooth(config, start=True))";
    }
    if (!this.get("layers").length) return status === "running" ? "The first pictures are on their way" : "No pictures";
    const painting = this.scene.mark(spot, status) === "running" ? "being painted" : "not painted";
    return `epoch ${spot.epoch}, layer ${spot.layer}: ${painting}`;
  }

  private lines(status: Status): string[] {
    const lines = [this.get("notice"), this.session.kernel.fileError];
    if (status === "failed") lines.unshift("The training failed; what is painted stays.", this.get("message"));
    if (status === "stopped" && this.get("status") === "running") {
      lines.push("The kernel of this training is gone: what was painted stays, GIF needs a kernel.");
    } else if (status === "stopped") lines.push(this.get("message"));
    return lines;
  }

  private progress(status: Status): string {
    const { doing, step, steps, seconds_left } = this.get("progress");
    const painted = progressText(status, this.get("epochs").length, this.get("columns").length, "epochs painted", seconds_left);
    return status === "running" && doing ? `${doing}, step ${step} of ${steps} · ${painted}` : painted;
  }
}

function begin(model: Model<ScrubTraits>): Session<ScrubTraits> {
  const name = () => fileName("training", "layer", model.get("layer"), model.get("probes")[model.get("probe")]?.prompt ?? "");
  const session: Session<ScrubTraits> = new Session<ScrubTraits>(model, () => new Scene(session).goOn(), name);
  session.player.way = "epoch+";
  return session;
}

export default widget<ScrubTraits>(begin, (session) => new View(session));
