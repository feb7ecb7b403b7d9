// DiffViewer: what a raw and a tuned model paint from each layer, and how much it differs.
import { HELP } from "./diff_viewer_help";
import { overPicture } from "./attention/heat";
import type { Column } from "./attention/maps";
import { DiffLegend } from "./diff/legend";
import { mapOf, paintDiff, wordsAt, type DiffMap } from "./diff/maps";
import { Panes, partsOf, shownIn } from "./diff/panes";
import { Spark } from "./diff/spark";
import type { DiffTraits, Mode, Run } from "./diff/traits";
import { settingFacts } from "./shared/caption";
import { button, h } from "./shared/dom";
import { AXIS, Instrument } from "./shared/instrument";
import { nextLayer } from "./shared/layers";
import { listen } from "./shared/model";
import { progressText } from "./shared/progress";
import { fileName, type Bitmap } from "./shared/save";
import { Session } from "./shared/session";
import type { Picture } from "./shared/store";
import { holes, type Mark, type Thumbnail } from "./shared/thumb";
import { widget } from "./shared/widget";

const WATCHED = [
  ...["layer", "mode", "metric", "token", "layers", "num_layers", "prompt", "tokens", "settings", "models"],
  ...["metrics", "columns", "_scales", "status", "message", "notice", "failures"],
].map((trait) => `change:${trait}`);

const MODES: [mode: Mode, label: string, title: string][] = [
  ["side", "side by side", "Raw on the left, tuned on the right"],
  ["curtain", "curtain", "One over the other; draw the curtain with the pointer or the arrow keys"],
  ["blink", "blink", "One after the other in the same place"],
  ["difference", "difference", "Difference of each pixel, on one scale for all layers"],
  ["swap_grid", "2 × 2", "Raw and tuned encoder, each with the raw and the tuned U-Net"],
];
const BLINK = 800; // ms that a picture stays
const OPACITY = 0.65; // of a map over its picture
const REDUCED = matchMedia("(prefers-reduced-motion: reduce)");

class View extends Instrument<DiffTraits> {
  private readonly panes = new Panes(this.picture);
  private readonly legend = new DiffLegend();
  private readonly spark = new Spark(
    { metric: (name) => this.session.set("metric", name), layer: (layer) => this.goTo(layer) },
    () => this.film.range,
  );
  private readonly modes = MODES.map(([mode, label, title]) => {
    return { mode, el: button(label, title, () => this.session.set("mode", mode)) };
  });
  private map: DiffMap | undefined;
  private painted = "";
  private timer = 0;

  constructor(session: Session<DiffTraits>) {
    super(session, HELP, "Layer", (layer) => this.goTo(layer));
    const group = { class: "dlw-group", role: "group", "aria-label": "How to compare" };
    const controls = h("div", { class: "dlw-controls" }, h("div", group, ...this.modes.map(({ el }) => el)));
    this.notice.el.after(controls, this.panes.el, this.legend.el, this.spark.head);
    this.film.el.firstElementChild!.prepend(this.spark.el);
    this.listenToPointer();
    this.offs.push(listen(session.model, WATCHED, () => this.schedule()));
    const again = () => this.schedule();
    REDUCED.addEventListener("change", again);
    this.offs.push(() => (clearInterval(this.timer), REDUCED.removeEventListener("change", again)));
    this.update();
  }

  // -- the user

  private goTo(layer: number): void {
    this.session.player.pause();
    this.session.set("layer", layer);
  }

  /** In blink mode: the other picture. */
  private turn(): void {
    this.panes.raw = !this.panes.raw;
    this.schedule();
  }

  protected override onOwnKey(key: string, target: Element): boolean {
    if (!target.matches(AXIS)) return false;
    const column = this.get("columns")[Number(key) - 1];
    if (column) this.session.set("token", column.token);
    else if (key === "Escape" && this.get("token") !== null) this.session.set("token", null);
    else if (key === "Enter" && this.get("mode") === "blink") this.turn();
    else return false;
    return true;
  }

  private listenToPointer(): void {
    this.caption.el.addEventListener("click", ({ target }) => {
      const chip = (target as Element).closest<HTMLElement>(".dlw-chip");
      const column = chip && this.columnOf(Number(chip.dataset.index));
      if (column) this.session.set("token", column === this.column() ? null : column.token);
    });
    this.panes.el.addEventListener("click", () => this.get("mode") === "blink" && this.turn());
    this.root.addEventListener("pointermove", (event) => {
      const { frame } = this.picture;
      const { left, top, width, height } = frame.getBoundingClientRect();
      const inside = this.map && frame.contains(event.target as Element);
      const at = () => wordsAt(this.map!, (event.clientX - left) / width, (event.clientY - top) / height);
      this.legend.tell(inside ? `here: ${at()}` : "");
    });
    this.root.addEventListener("pointerleave", () => this.legend.tell(""));
  }

  // -- what there is

  private columnOf(token: number | null): Column | undefined {
    return this.get("columns").find((column) => token !== null && column.positions.includes(token));
  }

  /** The word whose attention is compared. */
  private column(): Column | undefined {
    return this.get("mode") === "swap_grid" ? undefined : this.columnOf(this.get("token"));
  }

  /** Where a linked widget went to what is not here, the nearest below. */
  private layer(): number {
    const layers = this.get("layers");
    return layers.findLast((each) => each <= this.get("layer")) ?? layers[0] ?? 0;
  }

  private pictureOf(run: Run, layer: number): Picture | undefined {
    return this.session.store.get(`${run}/${layer}`);
  }

  private place(layer: number): Thumbnail {
    const reasons = shownIn("side").map((run) => [run, this.get("failures")[`${run}/${layer}`]]);
    const failed = reasons.filter(([, reason]) => reason).map(([run, reason]) => `${run} failed. ${reason}`);
    const there = shownIn("side").every((run) => this.pictureOf(run, layer));
    const mark: Mark = there ? "done" : failed.length ? "failed" : "hollow";
    const what = there ? "painted by both" : failed.join("; ") || "not computed";
    return { value: layer, mark, title: `layer ${layer}: ${what}`, picture: this.pictureOf("tuned", layer) };
  }

  private hole(run: Run, layer: number): string {
    if (this.status() === "empty")
      return 'Nothing yet. Show a comparison:\nwidget.show(compare(raw, tuned, "a pink cat"))';
    const reason = this.get("failures")[`${run}/${layer}`];
    return reason ? `layer ${layer} of ${run} failed.\n${reason}` : `layer ${layer} of ${run}: not computed`;
  }

  // -- what is drawn

  protected override update(): void {
    const { store } = this.session;
    const status = this.status();
    const empty = status === "empty";
    const [mode, layer, column] = [this.get("mode"), this.layer(), this.column()];
    const { width, height } = store.size ?? { width: empty ? 2 : 1, height: 1 };
    const ratio = width / height;
    this.updateCaption(empty, layer, column);
    for (const { mode: each, el } of this.modes) {
      el.setAttribute("aria-pressed", String(each === mode));
      el.hidden = each === "swap_grid" && !this.get("models")["tuned-raw"];
      el.disabled = empty;
    }
    this.blink(mode === "blink" && !REDUCED.matches && !empty);
    const of = `layer ${layer} of ${this.get("num_layers") - 1} of “${this.get("prompt")}”`;
    this.panes.update(empty ? "difference" : mode, ratio, (run) => {
      const parts = partsOf(run);
      const who = parts[0] === parts[1] ? run : `encoder ${parts[0]} × U-Net ${parts[1]}`;
      return { picture: this.pictureOf(run, layer), label: `${who}, ${of}`, hole: this.hole(run, layer) };
    });
    this.updateMap(mode, layer, column);
    this.spark.update(this.get("metrics"), this.get("metric"), this.get("layers"), layer);
    const places = empty ? holes() : this.get("layers").map((each) => this.place(each));
    this.film.update(places, layer, empty ? "" : `layer ${layer}`, ratio);
    const { fileError } = this.session.kernel;
    this.notice.update([...this.notices(mode), fileError], status === "failed" || !!fileError);
    const done = places.filter(({ mark }) => mark === "done").length;
    this.foot.update({
      playable: done > 1,
      ways: ["layer+", "layer-"],
      grid: false,
      progress: empty ? "" : progressText(status, done, places.length, "layers"),
      running: false,
      picture: shownIn(mode).some((run) => this.pictureOf(run, layer)),
      page: done > 0,
    });
  }

  private updateCaption(empty: boolean, layer: number, column: Column | undefined): void {
    const { model: _, ...settings } = this.get("settings");
    const [raw = "", tuned = ""] = [this.get("models").raw, this.get("models").tuned];
    const short = (model: string) => model.split(/[\\/]/).filter(Boolean).at(-1) ?? model;
    const steps = settings.num_inference_steps ? `step ${settings.num_inference_steps}/${settings.num_inference_steps}` : "";
    const where = [`layer ${layer} of ${this.get("num_layers") - 1}`, steps, ...settingFacts(settings)];
    const facts = empty ? [] : [...where, `${short(raw)} → ${short(tuned)}`].filter(Boolean);
    this.root.classList.toggle("dlw-words", this.get("columns").length > 0);
    const marked = column?.positions ?? [this.get("token")];
    this.caption.update(this.get("tokens"), marked, facts, `raw: ${raw}\ntuned: ${tuned}`);
  }

  /** The difference of the pixels, or of the attention to a word, over the tuned picture. */
  private updateMap(mode: Mode, layer: number, column: Column | undefined): void {
    const requested = column || mode === "difference";
    const there = shownIn("side").every((run) => this.pictureOf(run, layer));
    const map = (this.map = requested && there ? mapOf(this.session, layer, column) : undefined);
    const { heat } = this.panes;
    heat.hidden = !map;
    if (map && map.version !== this.painted) paintDiff(heat, map);
    this.painted = map?.version ?? "";
    this.picture.frame.classList.toggle("dlw-over", !!map?.signed);
    this.root.style.setProperty("--dlw-opacity", map?.signed ? String(OPACITY) : "1");
    this.legend.update(map, column?.text ?? "");
  }

  private notices(mode: Mode): string[] {
    const status = this.status();
    const lines = [this.get("notice"), this.get("message")];
    if (status === "stopped") lines.unshift("A run was stopped; what is painted is compared.");
    if (status === "failed") lines.unshift("A run failed; what is painted is compared.");
    const reduced = mode === "blink" && REDUCED.matches;
    if (reduced) lines.push("Motion is reduced here: press the picture, or Enter, to see the other one.");
    return lines;
  }

  /** Start or stop to show the two pictures in turn. */
  private blink(on: boolean): void {
    if (on === !!this.timer) return;
    clearInterval(this.timer);
    this.timer = on ? window.setInterval(() => this.root.isConnected && this.turn(), BLINK) : 0;
    if (!on) this.panes.raw = false;
  }

  /** The pictures as they are seen now. */
  protected override async current(): Promise<[Bitmap | undefined, string]> {
    const [mode, layer, column] = [this.get("mode"), this.layer(), this.column()];
    const how = MODES.find(([each]) => each === mode)![1];
    const name = fileName("compare", how, column?.text ?? "", "layer", layer, this.get("prompt"));
    const of = async (run: Run): Promise<Bitmap | undefined> => {
      const bitmap = await this.pictureOf(run, layer)?.load();
      if (run !== "tuned" || !this.map || !bitmap) return bitmap;
      return overPicture(bitmap, this.panes.heat, this.map.signed ? OPACITY : 1);
    };
    const seen = mode === "blink" ? [this.panes.raw ? "raw" : "tuned"] as const : shownIn(mode);
    const shown = await Promise.all(seen.map(of));
    const first = shown.find((each) => each);
    if (!first) return [undefined, name];
    if (shown.length === 1) return [first, name];
    const width = Math.max(...shown.map((each) => each?.width ?? 0));
    const height = Math.max(...shown.map((each) => each?.height ?? 0));
    const [columns, rows] = mode === "curtain" ? [1, 1] : mode === "swap_grid" ? [2, 2] : [2, 1];
    const sheet = h("canvas", { width: columns * width, height: rows * height });
    const pen = sheet.getContext("2d")!;
    pen.imageSmoothingEnabled = false;
    shown.forEach((each, index) => {
      const from = mode === "curtain" && index ? this.panes.at : 0; // the tuned one begins at the curtain
      const [x, y] = mode === "curtain" ? [0, 0] : [(index % 2) * width, Math.floor(index / 2) * height];
      if (each && from < 1) {
        const source = [from * each.width, 0, (1 - from) * each.width, each.height] as const;
        pen.drawImage(each, ...source, x + from * width, y, (1 - from) * width, height);
      }
    });
    return [sheet, name];
  }
}

export default widget<DiffTraits>(
  (model) => new Session<DiffTraits>(model, nextLayer("tuned"), () => fileName("compare", model.get("prompt"))),
  (session) => new View(session),
);
