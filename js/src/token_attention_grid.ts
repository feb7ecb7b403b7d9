// TokenAttentionGrid: where the denoiser attends to each word: a large image, and a grid of words × layers, blocks or
// steps.
//
// A page without a notebook shows it in the same way as a LayerSlider, see there.
import { HELP } from "./token_attention_grid_help";
import { MapGrid, type MapPlace } from "./attention/cells";
import { Controls } from "./attention/controls";
import { overPicture, paintHeat } from "./attention/heat";
import { Legend } from "./attention/legend";
import { digits, valueAt, type GridTraits, type Look, type Plane } from "./attention/maps";
import { faint, Scene, type Shown } from "./attention/scene";
import { settingFacts } from "./shared/caption";
import { h, put } from "./shared/dom";
import type { Key } from "./shared/grid";
import { AXIS, Instrument } from "./shared/instrument";
import { nextLayer } from "./shared/layers";
import { listen, type Model, type Status } from "./shared/model";
import { progressText } from "./shared/progress";
import { fileName, type Bitmap } from "./shared/save";
import { Session } from "./shared/session";
import { holes } from "./shared/thumb";
import { widget } from "./shared/widget";

const WATCHED = [
  ...["layer", "step", "token", "rows", "block", "selected_tokens", "normalize", "opacity"],
  ...["layers", "num_layers", "prompt"],
  ...["tokens", "settings", "columns", "_views", "status", "message", "notice", "progress", "failures"],
].map((trait) => `change:${trait}`);

class View extends Instrument<GridTraits> {
  private readonly scene = new Scene(this.session);
  private readonly grid = new MapGrid("Where words look", (value, key, click) => this.choose(value, key, click));
  private readonly legend = new Legend();
  private readonly heat = h("canvas", { class: "dlw-heat", hidden: true });
  private readonly controls = new Controls({
    rows: (rows) => this.session.set("rows", rows),
    block: (block) => this.session.set("block", block),
    special: () => {
      this.session.folded = !this.session.folded;
      this.schedule();
    },
    normalize: () => this.session.set("normalize", this.get("normalize") === "cell" ? "grid" : "cell"),
    opacity: (opacity) => this.session.set("opacity", opacity),
  });
  /** The word that is pointed at. */
  private pointed: number | null = null;
  private pointer: PointerEvent | null = null;
  /** The maps on the large image. */
  private shown: Shown[] = [];
  private version = "";

  constructor(session: Session<GridTraits>) {
    super(session, HELP, "Layer", (layer) => this.goTo(layer));
    this.root.classList.add("dlw-words");
    const look = h("div", { class: "dlw-look" });
    this.picture.el.replaceWith(this.controls.el, h("div", { class: "dlw-split" }, look, this.grid.el));
    put(look, this.picture.el, this.legend.el);
    this.picture.frame.firstElementChild!.after(this.heat);
    this.listenToPointer();
    this.offs.push(listen(session.model, WATCHED, () => this.schedule()));
    this.offs.push(() => this.grid.dispose());
    this.update();
  }

  // -- the user

  private goTo(layer: number): void {
    this.session.player.pause();
    this.session.set("layer", layer);
  }

  /** Go to a cell of the grid. A click selects its word, a key only when it moves to another word. */
  private choose(value: number, key: Key, click?: MouseEvent): void {
    const stays = key === this.scene.key();
    if (!stays) this.goToRow(key);
    if (click && (stays || !this.scene.selected().includes(value) || click.shiftKey)) this.select(value, click.shiftKey);
    else if (!click && value !== this.scene.cursor()) this.select(value, false);
  }

  private goToRow(key: Key): void {
    const rows = this.get("rows");
    if (rows === "layers") this.goTo(key as number);
    else if (rows === "blocks") this.session.set("block", key as string | null);
    else this.session.set("step", key as number | null);
  }

  /** Select a word, or unselect it; with `second`, in addition to the first selected word. */
  private select(token: number, second: boolean): void {
    this.pointed = null; // show the selected words now, until another one is pointed at
    const before = this.scene.selected();
    const others = before.filter((each) => each !== token);
    const words = second ? (others.length < before.length ? others : [...before.slice(0, 1), token]) : [token];
    this.setSelected(!second && before.length === 1 && !others.length ? [] : words);
  }

  private setSelected(words: number[]): void {
    this.session.set("token", words[0] ?? null);
    this.session.set("selected_tokens", words);
  }

  protected override keyboard(): HTMLElement {
    return this.film.el.hidden ? (this.grid.current ?? this.film.range) : this.film.range;
  }

  protected override onOwnKey(key: string, target: Element, shift: boolean): boolean {
    if (!target.matches(AXIS) || target.matches(".dlw-opacity")) return false;
    this.pointed = this.pointer = null; // the keyboard decides now what is shown
    this.schedule();
    const words = this.scene.columns();
    const numbered = this.scene.maps.columns.filter(({ kind }) => kind === "word")[Number(key) - 1];
    const on = { ArrowLeft: -1, ArrowRight: 1 }[key];
    if (numbered) this.setSelected([numbered.token]);
    else if (key === "Escape" && this.scene.selected().length) this.setSelected([]);
    else if (shift && on) {
      const next = words[words.findIndex(({ token }) => token === this.scene.cursor()) + on];
      const first = this.scene.selected().slice(0, 1);
      if (next && next.token !== first[0]) this.setSelected([...first, next.token]);
    } else if (target === this.grid.current || key === "ArrowUp" || key === "ArrowDown") return this.grid.key(key);
    else return false;
    return true;
  }

  private listenToPointer(): void {
    const { root, caption } = this;
    const chipOf = (target: Element) => {
      const chip = target.closest<HTMLElement>(".dlw-chip");
      return chip ? (this.scene.maps.columnOf(Number(chip.dataset.index))?.token ?? null) : null;
    };
    const point = (token: number | null) => {
      if (token === this.pointed) return;
      this.pointed = token;
      requestAnimationFrame(() => this.root.isConnected && this.updatePicture());
    };
    root.addEventListener("pointerover", ({ target }) => {
      point(this.grid.spotOf(target as Element)?.value ?? chipOf(target as Element));
    });
    root.addEventListener("pointermove", (event) => {
      this.pointer = event;
      this.legend.tell(this.read() || faint(this.shown));
    });
    root.addEventListener("pointerleave", () => {
      this.pointer = null;
      point(null);
    });
    caption.el.addEventListener("click", ({ target, shiftKey }) => {
      const token = chipOf(target as Element);
      if (token !== null) this.select(token, shiftKey);
    });
  }

  /** The values under the pointer, in words. */
  private read(): string {
    const { pointer } = this;
    const target = pointer?.target as Element | undefined;
    if (!pointer || !target) return "";
    const at = (text: string, plane: Plane, frame: Element) => {
      const { left, top, width, height } = frame.getBoundingClientRect();
      return `${text} ${digits(valueAt(plane, (pointer.clientX - left) / width, (pointer.clientY - top) / height))}`;
    };
    if (this.picture.frame.contains(target)) {
      const values = this.shown.map(({ column, heat }) => at(column.text, heat.plane, this.picture.frame));
      return values.length ? `here: ${values.join(" · ")}` : "";
    }
    const spot = this.grid.spotOf(target);
    const place = spot?.row?.thumbnails.find(({ value }) => value === spot.value) as MapPlace | undefined;
    const box = target.closest(".dlw-cell")?.firstElementChild;
    return place?.heat && box ? `here, ${spot!.row!.label}: ${at(place.text, place.heat.plane, box)}` : "";
  }

  // -- what is drawn

  protected override update(): void {
    const status = this.status();
    const { look, picture, ratio, places, where, what } = this.scene.about(status);
    const empty = status === "empty";
    this.updatePicture();
    this.film.el.hidden = this.scene.single();
    const value = picture?.final ? where : `${where}, ${what}`;
    this.film.update(empty ? holes() : places, look.layer, empty ? "" : value, ratio);
    this.updateGrid(look, status, ratio);
    this.updateControls(empty);
    const error = this.session.kernel.fileError;
    this.notice.update([...this.scene.notices(status), error], !!error || status === "failed");
    const painted = places.filter(({ mark }) => mark === "done").length;
    const left = this.get("progress").seconds_left;
    this.foot.update({
      playable: painted > 1,
      ways: ["layer+", "layer-"],
      grid: false,
      progress: empty || this.scene.single() ? "" : progressText(status, painted, places.length, "layers", left),
      running: status === "running",
      picture: !!picture,
      page: painted > 0,
    });
  }

  /** Update what depends on the word that is pointed at: the large image, its caption and its legend. */
  private updatePicture(): void {
    const [settings, status] = [this.get("settings"), this.status()];
    const { look, picture, ratio, place, where, what } = this.scene.about(status);
    const empty = status === "empty";
    const selected = this.scene.selected();
    const on = this.pointed === null || selected.includes(this.pointed) ? selected : [this.pointed];
    this.shown = this.scene.shown(look, on);
    const words = this.shown.map(({ column }) => `“${column.text}”`).join(" and ");
    const facts = empty ? [] : [where, this.scene.lookName(look), what, ...settingFacts(settings)].filter(Boolean);
    const marked = on.flatMap((token) => this.scene.maps.columnOf(token)?.positions ?? []);
    this.caption.update(this.get("tokens"), marked, facts, settings.model ?? "");
    this.markChips(selected, on);
    const label = [`${where || "the picture"} of “${this.get("prompt")}”`, words && `where ${words} looks`, what];
    const badge = picture && !picture.final ? what : "";
    const hole = this.scene.hole(status, place);
    this.picture.update(picture, ratio, label.filter(Boolean).join(", "), hole, badge);
    this.showHeat(look);
    this.updateLegend(empty);
  }

  private markChips(selected: number[], on: number[]): void {
    for (const chip of this.caption.el.querySelectorAll<HTMLElement>(".dlw-chip")) {
      const token = this.scene.maps.columnOf(Number(chip.dataset.index))?.token;
      const ramp = token === undefined || !on.includes(token) ? -1 : Math.max(0, selected.indexOf(token));
      for (const hue of [0, 1]) chip.classList.toggle(`dlw-hue-${hue}`, ramp === hue);
    }
  }

  private showHeat(look: Look): void {
    this.root.style.setProperty("--dlw-opacity", String(this.get("opacity")));
    this.heat.hidden = !this.shown.length;
    this.picture.frame.classList.toggle("dlw-over", this.shown.length > 0);
    const heats = this.shown.map(({ heat }) => heat);
    const parts = this.shown.map(({ column, heat }) => [column.token, heat.most, heat.ramp]);
    const version = [this.get("_run"), ...Object.values(look), ...parts].join();
    if (heats.length && version !== this.version) paintHeat(this.heat, heats);
    this.version = heats.length ? version : "";
  }

  private updateGrid(look: Look, status: Status, ratio: number): void {
    const selected = this.scene.selected();
    const rows = this.scene.looks();
    this.grid.el.hidden = status === "empty" || !this.scene.columns().length || !rows.length;
    if (this.grid.el.hidden) return;
    const axis = { layers: "layer", blocks: "block", steps: "step" }[this.get("rows")];
    const lines = rows.map((row) => this.scene.row(row, status));
    this.grid.update(axis, lines, this.scene.key(look), this.scene.cursor(), ratio);
    this.grid.mark((token) => selected.indexOf(token));
  }

  private updateLegend(empty: boolean): void {
    this.legend.el.hidden = empty;
    const mean = this.get("aggregator") === "mean";
    const scales = this.shown.map(({ column, heat }) => ({ name: column.text, most: heat.most, ramp: heat.ramp }));
    const common = { name: "", most: this.scene.common(true), ramp: 0 };
    if (!scales.length && this.get("normalize") === "grid") scales.push(common);
    const so = this.status() === "running" ? ", so far" : "";
    const unit = mean ? "share of a pixel’s attention" : "attention, DAAM’s sum over the steps";
    this.legend.update(unit, scales, this.scene.range() + so);
    const hint = "Point at a word to see where it looks; click to keep it.";
    this.legend.tell(this.read() || (this.shown.length ? faint(this.shown) : hint));
  }

  private updateControls(empty: boolean): void {
    const way = "No step was kept by itself: attention=AttentionOptions(steps=[0, 5, 10])";
    const none = this.get("steps").length ? "" : way;
    const single = this.scene.single() ? "A single picture has no layers to compare" : "";
    this.controls.update({
      rows: this.get("rows"),
      refused: { layers: single, steps: none },
      blocks: this.get("blocks"),
      block: this.get("block"),
      special: !this.session.folded,
      normalize: this.get("normalize"),
      opacity: this.get("opacity"),
      empty,
    });
  }

  /** The large image as it is on screen, with its maps. */
  protected override async current(): Promise<[Bitmap | undefined, string]> {
    const { layer, block, step } = this.scene.look();
    const picture = await this.scene.pictureOf(layer)?.load();
    const words = this.shown.map(({ column }) => column.text);
    const parts = [...words, block ?? "", step === null ? "" : `step ${step + 1}`];
    const name = fileName("attention", ...parts, this.scene.name(layer), this.get("prompt"));
    if (!picture || !this.shown.length) return [picture, name];
    return [overPicture(picture, this.heat, this.get("opacity")), name];
  }
}

function begin(model: Model<GridTraits>): Session<GridTraits> {
  const session = new Session<GridTraits>(model, nextLayer("layer"), () => fileName("attention", model.get("prompt")));
  session.folded = true; // start, end and padding
  return session;
}

export default widget<GridTraits>(begin, (session) => new View(session));
