// Scene: what there is to see: the row and the words on screen, all rows and cells, and their ranges.
import type { Key, Row } from "../shared/grid";
import { layerName, type Status } from "../shared/model";
import type { Session } from "../shared/session";
import type { Picture } from "../shared/store";
import type { Mark, Thumbnail } from "../shared/thumb";
import type { MapPlace } from "./cells";
import type { Heat } from "./heat";
import { digits, Maps, type Column, type GridTraits, type Look, type MapView, type Plane } from "./maps";

/** A word that is on the picture. */
export interface Shown {
  column: Column;
  heat: Heat;
}

export class Scene {
  readonly maps: Maps;

  constructor(private readonly session: Session<GridTraits>) {
    this.maps = new Maps(session);
  }

  /** The words that stay on the picture; `token` may be that of a linked widget. */
  pins(): number[] {
    const first = this.maps.columnOf(this.get("token"))?.token;
    const pinned = this.get("pinned");
    if (first === undefined) return [];
    return pinned[0] === first ? pinned.slice(0, 2) : [first];
  }

  /** The column where the keys are. */
  cursor(): number {
    const columns = this.columns();
    const last = this.pins().findLast((pin) => columns.some(({ token }) => token === pin));
    return last ?? columns[0]?.token ?? 0;
  }

  /** The columns of the grid: start, end and padding where they are unfolded, or nothing else is there. */
  columns(): Column[] {
    const words = this.maps.columns.filter(({ kind }) => kind === "word");
    return words.length && this.session.folded ? words : this.maps.columns;
  }

  /** What is on screen; where a linked widget went to what is not here, the nearest below. */
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

  /** All rows: what they show, and what they are called. */
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

  /** What the bright end of a column's colours stands for. */
  private most({ kind }: Column, plane: Plane): number {
    return this.get("per_cell") ? plane.scale : this.common(kind === "word");
  }

  /** The range that all words of the grid share, or all other tokens; it stays while one goes through the layers. */
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
    if (this.get("per_cell")) return "each map from 0 to its own highest value";
    const rows = this.get("rows") === "layers" ? "of the grid" : "and rows, of every layer";
    const others = this.session.folded ? "" : `; start, end, padding: 0 to ${digits(this.common(false))}`;
    return `one range for all words ${rows}${others}`;
  }

  /** The maps of some words: the first warm, a second pinned one cool. */
  shown(look: Look, tokens: number[]): Shown[] {
    return tokens.flatMap((token) => {
      const column = this.maps.columnOf(token)!;
      const heat = this.heatOf(look, column, Math.max(0, this.pins().indexOf(token)));
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

  /** Whether this is one stock picture, and not a run. */
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

  /** One layer of the film. */
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

  /** What is on screen, in short: the layer's place in the film, what it is called and how far it is. */
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
    const pins = this.pins();
    const places = this.columns().map((column): MapPlace => {
      const ramp = Math.max(0, pins.indexOf(column.token));
      const heat = this.heatOf(look, column, ramp);
      const told = heat ? `up to ${digits(heat.plane.scale)}` : of.mark === "done" ? "no maps" : of.title;
      const about = column.kind === "word" ? `“${column.text}”` : `${column.text} (${column.places.length})`;
      return {
        ...of,
        value: column.token,
        title: `${title}, ${about}: ${told}`,
        text: column.text,
        about,
        pinned: pins.includes(column.token),
        heat,
        version: heat ? [this.get("_run"), ...Object.values(look), heat.most, ramp].join() : "",
      };
    });
    return { key, label, title, thumbnails: places };
  }

  /** Which of the layer's maps are shown, as the caption says it. */
  lookName({ block, step }: Look): string {
    const [rows, wanted] = [this.get("rows"), this.get("step")];
    if (rows !== "steps") return block ?? "all blocks";
    if (step === null) return "all steps";
    return `maps of step ${step + 1}` + (wanted === null || wanted === step ? "" : ` (step ${wanted + 1} is not kept)`);
  }

  /** Why there is no picture. */
  hole(status: Status, place: Thumbnail | undefined): string {
    const way = 'widget.show(lens.start("a pink cat", attention=True))';
    if (status === "empty") return `Nothing yet. Show a run with its attention:\n${way}`;
    const name = this.name(place?.value ?? 0);
    if (place?.mark === "failed") return `${name} failed.\n${this.get("failures")[place.value]}`;
    if (place?.mark === "running") return `${name}: being painted`;
    return `${name}: ${status === "running" ? "waiting for its turn" : "not computed"}`;
  }

  /** What the user should know. */
  notices(status: Status): string[] {
    const lines = [this.get("notice")];
    if (status === "failed") lines.unshift("The run failed; what is painted stays.", this.get("message"));
    if (status === "stopped" && this.get("status") === "running") {
      lines.push("The kernel of this run is gone: what was painted stays, with its maps.");
    }
    return lines;
  }

  private get<K extends keyof GridTraits & string>(name: K): GridTraits[K] {
    return this.session.model.get(name);
  }
}
