// Maps: reads the attention maps that the kernel sent; `runs/render/attention_front_end.py` writes them.
import type { CommonTraits, FrameEntry } from "../shared/model";
import type { Session } from "../shared/session";

/** One column: a word with all its tokens, the start token, the end token, all of the template, or all padding (-1). */
export interface Column {
  token: number;
  text: string;
  kind: "word" | "bos" | "eos" | "template" | "pad";
  positions: number[];
}

/** One choice of maps of a layer: of a block (null: all), at a step (null: all together). */
export interface MapView {
  block: string | null;
  step: number | null;
  height: number;
  width: number;
}

export type RowKind = "layers" | "blocks" | "steps";

/** The color range of a map: one for all maps of words, or each map's own. */
export type Normalize = "grid" | "cell";

export interface GridTraits extends CommonTraits {
  layer: number;
  layers: number[];
  num_layers: number;
  step: number | null;
  rows: RowKind;
  block: string | null;
  selected_tokens: number[];
  normalize: Normalize;
  opacity: number;
  columns: Column[];
  blocks: string[];
  steps: number[];
  aggregator: "mean" | "daam";
  _views: MapView[];
}

/** One map; a value v stands for v / 255 × scale. */
export interface Plane {
  values: Uint8Array;
  scale: number;
  width: number;
  height: number;
}

/** A layer, and which of its maps are shown. */
export interface Look {
  layer: number;
  block: string | null;
  step: number | null;
}

/** Where the maps are in the bytes of a layer: first all scales, then each view's maps. */
interface Layout {
  views: MapView[];
  columns: Column[];
  /** The offset of each view's maps. */
  starts: number[];
  length: number;
}

export class Maps {
  private known: Layout = { views: [], columns: [], starts: [], length: 0 };
  private ranges = new Map<string, number>();
  private rangesOf = "";

  constructor(private readonly session: Session<GridTraits>) {}

  get columns(): Column[] {
    return this.session.model.get("columns");
  }

  /** The column that has a token. */
  columnOf(token: number | null): Column | undefined {
    if (token === null) return undefined;
    return this.columns.find((column) => column.token === token || column.positions.includes(token));
  }

  /** The map of a column; undefined until it has arrived. */
  plane({ layer, block, step }: Look, column: Column): Plane | undefined {
    const { views, columns, starts, length } = this.layout();
    const entry = this.session.store.others.get(`maps/${layer}`);
    const number = views.findIndex((view) => view.block === block && view.step === step);
    const index = columns.indexOf(column);
    if (entry?.data.byteLength !== length || number < 0 || index < 0) return undefined;
    const { width, height } = views[number]!;
    const start = entry.data.byteOffset + starts[number]! + index * width * height;
    const values = new Uint8Array(entry.data.buffer as ArrayBuffer, start, width * height);
    return { values, scale: scaleOf(entry, number * columns.length + index), width, height };
  }

  /** The maximum over some views of all layers, of the words or of the other columns; the same while one scrubs. */
  most(words: boolean, name: string, chosen: (view: MapView) => boolean): number {
    const { views, columns, length } = this.layout();
    const { store, model } = this.session;
    const state = [model.get("_run"), store.others.size].join();
    if (state !== this.rangesOf) [this.rangesOf, this.ranges] = [state, new Map()];
    const key = [words, name].join();
    let most = this.ranges.get(key) ?? 0;
    if (this.ranges.has(key)) return most;
    for (const entry of store.others.values()) {
      views.forEach((view, number) => {
        if (entry.data.byteLength !== length || !chosen(view)) return;
        columns.forEach(({ kind }, index) => {
          if ((kind === "word") === words) most = Math.max(most, scaleOf(entry, number * columns.length + index));
        });
      });
    }
    this.ranges.set(key, most);
    return most;
  }

  private layout(): Layout {
    const [views, columns] = [this.session.model.get("_views"), this.columns];
    if (views === this.known.views && columns === this.known.columns) return this.known;
    let length = 4 * views.length * columns.length;
    const starts = views.map(({ width, height }) => {
      const start = length;
      length += width * height * columns.length;
      return start;
    });
    return (this.known = { views, columns, starts, length });
  }
}

function scaleOf(entry: FrameEntry, map: number): number {
  return entry.data.getFloat32(4 * map, true);
}

/** The value of a map at a point of its image, 0..1 across and down. */
export function valueAt({ values, scale, width, height }: Plane, across: number, down: number): number {
  const pixel = (share: number, size: number) => Math.min(size - 1, Math.max(0, Math.floor(share * size)));
  return (values[pixel(down, height) * width + pixel(across, width)]! / 255) * scale;
}

/** A number with two digits, as exact as a byte is. */
export function digits(value: number): string {
  return value && value < 99.5 ? value.toPrecision(2) : String(Math.round(value));
}
