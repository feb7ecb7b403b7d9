// LayerSlider: a picture, the film of all layers, a slider over them.
//
// The default export makes an anywidget definition. A page without a notebook needs nothing else: build a model with
// `get`, `set`, `save_changes`, `on`, `off` and `send` over the state of `slider_view(run)` (runs/render/page), with each
// `_frames[key].data` as a DataView, then call
//
//     const widget = define(); widget.initialize({ model }); widget.render({ el });
//
// `set` must call the listeners of `change:<name>`; `send` and `save_changes` may do nothing.
import { HELP } from "./layer_slider_help";
import { layerText, list, originText, placeName, spotText, stepText, tokenLabel, unchanged } from "./layer_slider_words";
import { settingFacts } from "./shared/caption";
import { fileName, type Bitmap } from "./shared/save";
import { listen, type Status } from "./shared/model";
import { Session } from "./shared/session";
import { AXIS, Instrument } from "./shared/instrument";
import { progressText } from "./shared/progress";
import { PictureGrid, type Row } from "./shared/grid";
import { beside, FIRST_VARIANT, keptOf, keyOf, spotOf, spotsAlong, waysFrom, type Spot, type SpotTraits } from "./shared/spots";
import { Steps } from "./shared/steps";
import { holes, type Mark, type Thumbnail } from "./shared/thumb";
import type { Picture } from "./shared/store";
import { widget } from "./shared/widget";

interface Traits extends SpotTraits {
  num_layers: number;
  token_failures: Record<string, string>;
}

const WATCHED = [
  ...["layer", "step", "token", "layers", "num_layers", "prompt", "tokens", "settings", "snapshots", "token_masks"],
  ...["status", "message", "notice", "progress", "failures", "token_failures"],
].map((trait) => `change:${trait}`);

/** Set the traits of the axes that `spot` names. */
function go(session: Session<Traits>, spot: Partial<Spot>): void {
  for (const axis of ["token", "step", "layer"] as const) if (axis in spot) session.set(axis, spot[axis]!);
}

/** Show the next picture on the way that is played; false if there is none. */
function goOn(session: Session<Traits>): boolean {
  const { model, player, store } = session;
  const next = spotsAlong(model, player.way).find((spot) => store.get(keyOf(spot)));
  if (next) go(session, player.way.startsWith("step") ? { step: next.step } : { layer: next.layer });
  return !!next;
}

class View extends Instrument<Traits> {
  private readonly grid = new PictureGrid<number | null>("Tokens and layers", (layer, token) => {
    this.goTo({ layer, token });
  });
  private readonly steps = new Steps((step) => this.goTo({ step }));

  constructor(session: Session<Traits>) {
    super(session, HELP, "Layer", (layer) => this.goTo({ layer }));
    this.film.el.after(this.grid.el);
    this.picture.el.append(this.steps.el);
    this.offs.push(listen(session.model, WATCHED, () => this.schedule()));
    this.offs.push(() => (this.grid.dispose(), this.steps.dispose()));
    this.update();
  }

  private goTo(spot: Partial<Spot>): void {
    this.session.player.pause();
    go(this.session, spot);
  }

  protected override keyboard(): HTMLElement {
    return (!this.grid.el.hidden && this.grid.current) || this.film.range;
  }

  protected override onOwnKey(key: string, target: Element): boolean {
    if (!target.matches(AXIS)) return false;
    const row = this.get("token_masks")[Number(key) - 1];
    const up = { ArrowUp: 1, ArrowDown: -1 }[key];
    const on = { ArrowLeft: -1, ArrowRight: 1 }[key];
    if (row || (key === "Escape" && keptOf(this.session.model))) this.goTo({ token: row?.token ?? null });
    else if (target === this.grid.current) return this.grid.key(key);
    else if (up && target === this.film.range && !this.steps.el.hidden) this.steps.move(up);
    else if (on && target === this.steps.range) this.film.move(on);
    else return false;
    return true;
  }

  protected override async current(): Promise<[Bitmap | undefined, string]> {
    const spot = this.spot();
    const { layer, step, token } = spot;
    const part = token !== null ? [this.label(token)] : step !== null ? ["step", step + 1] : [];
    return [await this.pictureOf(spot)?.load(), fileName("lens", this.get("prompt"), "layer", layer, ...part)];
  }

  protected override near(): (Picture | undefined)[] {
    const spot = this.spot();
    const steps = [...this.get("snapshots"), null];
    const spots = [
      ...beside(this.get("layers"), spot.layer).map((layer) => ({ ...spot, layer })),
      ...beside(steps, spot.step).map((step) => ({ ...spot, step })),
    ];
    return spots.map((each) => this.pictureOf(each));
  }

  protected override update(): void {
    const { model, player, kernel, store, folded } = this.session;
    const [settings, kept, snapshots] = [this.get("settings"), this.get("token_masks"), this.get("snapshots")];
    const status = this.status();
    const empty = status === "empty";
    const spot = this.spot();
    const picture = this.pictureOf(spot);
    const where = layerText(settings, spot.layer, this.get("num_layers"));
    const part = kept.length ? this.name(spot.token) : "";
    const unfinished = picture && (!picture.final || spot.step !== null);
    const thumbnails = empty ? holes() : this.thumbnails(spot, status);
    const thumbnail = thumbnails.find(({ value }) => value === spot.layer);
    const missing = { failed: "failed", running: "being painted" }[thumbnail?.mark as string] ?? "not computed";
    const at = spot.step === null ? "" : `step ${spot.step + 1} `;
    const what = picture ? this.stepping(spot, picture) : at + missing;
    const { width, height } = store.size ?? { width: empty ? 4 : 1, height: 1 };
    const ratio = width / height;

    const place = spotText(settings, spot.token, where, part);
    const facts = empty ? [] : [...place, what, ...settingFacts(settings), originText(settings, 30)].filter(Boolean);
    const negative = settings.negative_prompt ? `\nnegative prompt: ${settings.negative_prompt}` : "";
    const origin = originText(settings, Infinity);
    const marked = keptOf(model)?.positions ?? [this.get("token")];
    this.caption.update(this.get("tokens"), marked, facts, (settings.model ?? "") + negative + (origin && `\n${origin}`));
    const label = list(`${place[0]} of “${this.get("prompt")}”`, place[1] ?? "", what);
    this.picture.update(picture, ratio, label, this.hole(spot, status, thumbnail), unfinished ? what : "");
    const value = list(...place, picture && !unfinished ? "" : what);
    this.film.update(thumbnails, spot.layer, empty ? "" : value, ratio);
    const ticks = (snapshots.length ? [...snapshots, null] : []).map((step) => {
      return { step, ...this.thumbnail({ ...spot, step, token: null }, status) };
    });
    this.steps.update(ticks, spot.step, what, spot.token === null ? "" : `Steps are kept of the ${unchanged(settings) ? "first row" : "whole prompt"} only`);
    const open = kept.length > 0 && !folded;
    this.film.el.hidden = open;
    this.grid.el.hidden = !open;
    this.picture.el.classList.toggle("dlw-smaller", open);
    if (open) this.grid.update(unchanged(settings) ? "block" : "layer", this.rows(spot, status), spot.token, spot.layer, ratio);

    this.notice.update(this.lines(status), status === "failed" || !!kernel.fileError);
    this.foot.update({
      playable: spotsAlong(model, player.way).some((each) => this.pictureOf(each)),
      ways: waysFrom(model),
      grid: kept.length > 0,
      progress: empty ? "" : this.progress(status),
      running: status === "running",
      picture: !!picture,
      anything: this.painted(null) > 0,
    });
  }

  /** The picture on screen; where a linked widget requests one that is not here, the next lower one. */
  private spot(): Spot {
    return spotOf(this.session.model);
  }

  private reason(spot: Spot): string | undefined {
    return spot.token === null ? this.get("failures")[spot.layer] : this.get("token_failures")[keyOf(spot)];
  }

  /** The picture to show, if there is one: not the last preview of one that failed. */
  private pictureOf(spot: Spot): Picture | undefined {
    const picture = this.session.store.get(keyOf(spot));
    return picture && (picture.final || !this.reason(spot)) ? picture : undefined;
  }

  /** The thumbnails of all layers, at the step or of the token of a spot. */
  private thumbnails(spot: Spot, status: Status): Thumbnail[] {
    return this.get("layers").map((layer) => this.thumbnail({ ...spot, layer }, status));
  }

  private thumbnail(spot: Spot, status: Status): Thumbnail {
    const { layer, step, token } = spot;
    const [picture, reason] = [this.pictureOf(spot), this.reason(spot)];
    const { running, running_tokens } = this.get("progress");
    const own = running_tokens?.some(([of, part]) => of === layer && part === token);
    const now = token === null ? running?.includes(layer) : own;
    const how = picture && this.stepping(spot, picture);
    let mark: Mark = "hollow";
    let what = "not computed";
    if (picture?.final) [mark, what] = ["done", step === null ? "painted" : "prediction"];
    else if (reason) [mark, what] = ["failed", `failed. ${reason}`];
    else if (status === "running" && now) [mark, what] = ["running", how ?? "being painted"];
    else if (how) [mark, what] = ["preview", how];
    return { value: layer, mark, title: `${this.title(spot)}: ${what}`, picture };
  }

  private title({ layer, step, token }: Spot): string {
    const part = token !== null ? this.name(token) : step !== null ? `step ${step + 1}` : "";
    const settings = this.get("settings");
    return list(...spotText(settings, token, placeName(settings, layer), part || (unchanged(settings) ?? "")));
  }

  /** The tokens of the grid's rows; null is the whole prompt. */
  private tokens(): (number | null)[] {
    return [null, ...this.get("token_masks").map((row) => row.token)];
  }

  private rows(spot: Spot, status: Status): Row<number | null>[] {
    return this.tokens().map((token) => {
      const thumbnails = this.thumbnails({ ...spot, step: token === null ? spot.step : null, token }, status);
      return { key: token, label: this.label(token), title: this.name(token), thumbnails };
    });
  }

  private label(token: number | null): string {
    return tokenLabel(token, this.get("tokens"), this.get("token_masks"), unchanged(this.get("settings")));
  }

  private name(token: number | null): string {
    if (token !== null && token >= 0) return `only “${this.label(token)}”`;
    const marked = this.get("token");
    const missing = token === null && marked !== null && marked > FIRST_VARIANT && !keptOf(this.session.model);
    return this.label(token) + (missing ? ` (“${this.label(marked)}” by itself is not kept)` : "");
  }

  private stepping(spot: Spot, picture: Picture): string {
    const requested = spot.token === null ? this.get("step") : null;
    return stepText(spot, picture, this.get("settings").num_inference_steps, requested);
  }

  private hole(spot: Spot, status: Status, thumbnail: Thumbnail | undefined): string {
    if (status === "empty") return 'Nothing yet. Show a run:\nwidget.show(lens.start("a pink cat"))';
    const [what, reason] = [this.title(spot), this.reason(spot)];
    if (reason) return `${what} failed.\n${reason}`;
    if (thumbnail?.mark === "running") return `${what}: being painted`;
    return `${what}: ${status === "running" ? "waiting for its turn" : "not computed"}`;
  }

  private lines(status: Status): string[] {
    const lines = [this.get("notice"), this.session.kernel.fileError];
    if (status === "failed") lines.unshift("The run failed; what is painted stays.", this.get("message"));
    if (status === "stopped" && this.get("status") === "running") {
      lines.push("The kernel of this run is gone: what was painted stays, GIF and HTML need a kernel.");
    }
    return lines;
  }

  /** How many layers of the whole prompt, or of one token, are finished. */
  private painted(token: number | null): number {
    return this.get("layers").filter((layer) => this.pictureOf({ layer, step: null, token })?.final).length;
  }

  private progress(status: Status): string {
    const tokens = this.tokens();
    const painted = tokens.reduce<number>((sum, token) => sum + this.painted(token), 0);
    const total = tokens.length * this.get("layers").length;
    const unit = tokens.length > 1 || this.get("settings").without_text ? "pictures" : "layers";
    return progressText(status, painted, total, unit, this.get("progress").seconds_left);
  }
}

export default widget<Traits>(
  (model) => new Session<Traits>(model, goOn, () => fileName("lens", model.get("prompt"))),
  (session) => new View(session),
);
