// Scene: what is on screen, read from the traits: the row and the words, all rows and cells, and their ranges.
import type { Key, Row } from "../shared/grid";
import { layerName, type Status } from "../shared/model";
import type { Session } from "../shared/session";
import type { Picture } from "../shared/store";
import type { Mark, Thumbnail } from "../shared/thumb";
import type { MapPlace } from "./cells";
import type { Heat } from "./heat";
import { digits, Maps, type Column, type GridTraits, type Look, type MapView, type Plane } from "./maps";

/** A word whose map is on the large image. */
export interface Shown {
  column: Column;
  heat: Heat;
}

export class Scene {
  readonly maps: Maps;

  constructor(private readonly session: Session<GridTraits>) {
    this.maps = new Maps(session);
  }

  /** The selected words. A linked widget can set `token` alone, before the kernel sets `selected_tokens`. */
  selected(): number[] {
    const first = this.maps.columnOf(this.get("token"))?.token;
    const selected = this.get("selected_tokens");
    if (first === undefined) return [];
    return selected[0] === first ? selected.slice(0, 2) : [first];
  }

  /** The column that the keyboard moves from. */
  cursor(): number {
    const columns = this.columns();
    const last = this.selected().findLast((word) => columns.some(({ token }) => token === word));
    return last ?? columns[0]?.token ?? 0;
  }

  /** The columns of the grid: with start, end and padding where these are unfolded, or where there is no word. */
  columns(): Column[] {
    const words = this.maps.columns.filter(({ kind }) => kind === "word");
    return words.length && this.session.folded ? words : this.maps.columns;
  }

  /** What is on screen. A linked widget can choose a layer or step that is not here: then the nearest below. */
  look(): Look {
    const rows = this.get("rows");
    const steps = this.get("steps");
    const step = this.get("step");
    const nearest = step === null ? null : (steps.findLast((each) => each <= step) ?? steps[0] ?? null);
    const layers = this.get("layers");
    const layer = layers.findLast((each) => each <= this.get("layer")) ?? layers[0] ?? 0;
    return rows === "steps" ? { layer, block: null, step: nearest } : { layer, block: this.get("block"), step: null };
  }

  /** The key of the row on screen. */
  key(look = this.look()): Key {
    return { layers: look.layer, blocks: look.block, steps: look.step }[this.get("rows")];
  }

  /** All rows: what they show, and their names. */
  looks(): { key: Key; look: Look; label: string; title: string }[] {
    const look = this.look();
    const rows = this.get("rows");
    if (rows === "layers") {
      return this.get("layers").map((layer) => {
        const title = layerName(this.get("settings"), layer);
        return { key: layer, look: { ...look, layer }, label: title, title };
      });
    }
    if (rows === "blocks") {
      return [null, ...this.get("blocks")].map((block) => {
        const label = block ?? "all blocks";
        return { key: block, look: { ...look, block }, label, title: label };
      });
    }
    return [null, ...this.get("steps")].map((step) => {
      const label = step === null ? "all steps" : `step ${step + 1}`;
      return { key: step, look: { ...look, step }, label, title: label };
    });
  }

  /** The value that a column's brightest color stands for. */
  private most({ kind }: Column, plane: Plane): number {
    return this.get("normalize") === "cell" ? plane.scale : this.common(kind === "word");
  }

  /** The common range of all words of the grid, or of all other tokens; it is the same for all layers. */
  common(words: boolean): number {
    const rows = this.get("rows");
    const block = this.look().block;
    const chosen = {
      layers: (view: MapView) => view.step === null && view.block === block,
      blocks: (view: MapView) => view.step === null,
      steps: (view: MapView) => view.block === null,
    };
    return this.maps.most(words, [rows, block].join(), chosen[rows]);
  }

  /** What the range is, in words. */
  range(): string {
    if (this.get("normalize") === "cell") return "each map from 0 to its own highest value";
    const rows = this.get("rows") === "layers" ? "of the grid" : "and rows, of every layer";
    const others = this.session.folded ? "" : `; start, end, padding: 0 to ${digits(this.common(false))}`;
    return `one range for all words ${rows}${others}`;
  }

  /** The maps of some words: the first in warm colors, a second selected one in cool colors. */
  shown(look: Look, tokens: number[]): Shown[] {
    return tokens.flatMap((token) => {
      const column = this.maps.columnOf(token)!;
      const heat = this.heatOf(look, column, Math.max(0, this.selected().indexOf(token)));
      return heat ? [{ column, heat }] : [];
    });
  }

  private heatOf(look: Look, column: Column, ramp: number): Heat | undefined {
    const plane = this.pictureOf(look.layer)?.final ? this.maps.plane(look, column) : undefined;
    return plane && { plane, most: this.most(column, plane), ramp };
  }

  pictureOf(layer: number): Picture | undefined {
    const picture = this.session.store.get(`layer/${layer}`);
    return picture && (picture.final || !this.get("failures")[layer]) ? picture : undefined;
  }

  /** Whether this is one stock image, and not a run. */
  single(): boolean {
    return this.get("settings").method === "picture";
  }

  name(layer: number): string {
    return this.single() ? "" : layerName(this.get("settings"), layer);
  }

  stepping({ step, final }: Picture): string {
    const of = this.get("settings").num_inference_steps;
    const count = `step ${step}${of ? `/${of}` : ""}`;
    return final ? (of ? count : "") : `preview · ${count}`;
  }

  /** One thumbnail of the film strip. */
  place(layer: number, status: Status): Thumbnail {
    const [picture, reason] = [this.pictureOf(layer), this.get("failures")[layer]];
    const running = status === "running" && this.get("progress").running?.includes(layer);
    let mark: Mark = "hollow";
    let what = "not computed";
    if (picture?.final) [mark, what] = ["done", "painted"];
    else if (reason) [mark, what] = ["failed", `failed. ${reason}`];
    else if (running) [mark, what] = ["running", picture ? this.stepping(picture) : "being painted"];
    else if (picture) [mark, what] = ["preview", this.stepping(picture)];
    return { value: layer, mark, title: [this.name(layer), what].filter(Boolean).join(": "), picture };
  }

  /** A summary of what is on screen: the layer's thumbnail, name and progress. */
  about(status: Status) {
    const look = this.look();
    const picture = this.pictureOf(look.layer);
    const places = status === "empty" ? [] : this.get("layers").map((layer) => this.place(layer, status));
    const place = places.find(({ value }) => value === look.layer);
    const name = this.name(look.layer);
    const counted = name && this.get("settings").method !== "ablation";
    const where = counted ? `${name} of ${this.get("num_layers") - 1}` : name;
    const missing = { failed: "failed", running: "being painted" }[place?.mark as string] ?? "not computed";
    const { width, height } = this.session.store.size ?? { width: 1, height: 1 };
    const ratio = width / height;
    return { look, picture, ratio, places, place, where, what: picture ? this.stepping(picture) : missing };
  }

  row({ key, look, label, title }: ReturnType<Scene["looks"]>[number], status: Status): Row {
    const of = this.place(look.layer, status);
    const selected = this.selected();
    const places = this.columns().map((column): MapPlace => {
      const ramp = Math.max(0, selected.indexOf(column.token));
      const heat = this.heatOf(look, column, ramp);
      const message = heat ? `up to ${digits(heat.plane.scale)}` : of.mark === "done" ? "no maps" : of.title;
      const about = column.kind === "word" ? `“${column.text}”` : `${column.text} (${column.positions.length})`;
      return {
        ...of,
        value: column.token,
        title: `${title}, ${about}: ${message}`,
        text: column.text,
        about,
        selected: selected.includes(column.token),
        heat,
        version: heat ? [this.get("_run"), ...Object.values(look), heat.most, ramp].join() : "",
      };
    });
    return { key, label, title, thumbnails: places };
  }

  /** The caption's words for which of the layer's maps are shown. */
  lookName({ block, step }: Look): string {
    const [rows, requested] = [this.get("rows"), this.get("step")];
    if (rows !== "steps") return block ?? "all blocks";
    if (step === null) return "all steps";
    return `maps of step ${step + 1}` + (requested === null || requested === step ? "" : ` (step ${requested + 1} is not kept)`);
  }

  /** Why there is no image. */
  hole(status: Status, place: Thumbnail | undefined): string {
    const way = 'widget.show(lens.start("a pink cat", attention=True))';
    if (status === "empty") return `Nothing yet. Show a run with its attention:\n${way}`;
    const name = this.name(place?.value ?? 0);
    if (place?.mark === "failed") return `${name} failed.\n${this.get("failures")[place.value]}`;
    if (place?.mark === "running") return `${name}: being painted`;
    return `${name}: ${status === "running" ? "waiting for its turn" : "not computed"}`;
  }

  /** Messages for the user. */
  notices(status: Status): string[] {
    const lines = [this.get("notice")];
    if (status === "failed") lines.unshift("The run failed; what is painted stays.", this.get("message"));
    if (status === "stopped" && this.get("status") === "running") {
      lines.push("The kernel is gone: what was painted stays, maps too.");
    }
    return lines;
  }

  private get<K extends keyof GridTraits & string>(name: K): GridTraits[K] {
    return this.session.model.get(name);
  }
}

/** What to do where a word is dark all over, because another one gets most of the attention. */
export function faint(shown: Shown[]): string {
  const found = shown.find(({ heat }) => heat.plane.scale < heat.most / 2);
  if (!found) return "";
  return `“${found.column.text}” gets ${digits(found.heat.plane.scale)} at most: “Range per cell” shows where.`;
}
