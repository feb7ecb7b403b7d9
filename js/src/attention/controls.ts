// Controls: what the rows are, which block, the color range, and the opacity of the maps.
import { button, h, put, SUPPRESS, write } from "../shared/dom";
import type { Normalize, RowKind } from "./maps";

const ROWS: [rows: RowKind, label: string, title: string][] = [
  ["layers", "Encoder layers", "A row for each layer of the text encoder"],
  ["blocks", "U-Net blocks", "A row for each block of the denoiser, of the layer on screen"],
  ["steps", "Steps", "A row for each denoising step that was kept, of the layer on screen"],
];

export interface ControlState {
  rows: RowKind;
  /** Why some rows cannot be chosen. */
  refused: Partial<Record<RowKind, string>>;
  blocks: string[];
  block: string | null;
  special: boolean;
  normalize: Normalize;
  opacity: number;
  empty: boolean;
}

export class Controls {
  readonly el = h("div", { class: "dlw-controls" });
  private readonly rows: Map<RowKind, HTMLButtonElement>;
  private readonly block: HTMLSelectElement;
  private readonly special: HTMLButtonElement;
  private readonly normalize: HTMLButtonElement;
  private readonly opacity: HTMLInputElement;
  private blocks: string[] | null = null;

  constructor(does: {
    rows(rows: RowKind): void;
    block(block: string | null): void;
    special(): void;
    normalize(): void;
    opacity(opacity: number): void;
  }) {
    this.rows = new Map(ROWS.map(([rows, label, title]) => [rows, button(label, title, () => does.rows(rows))]));
    this.block = h("select", {
      class: "dlw-select",
      "aria-label": "Block",
      title: "Whose maps are shown",
      [SUPPRESS]: "true",
      change: () => does.block(this.block.value || null),
    });
    const special = "Columns for these tokens too; they have a range of their own";
    this.special = button("start, end, padding", special, does.special);
    const range = "Each map from 0 to its own highest value, or one range for all";
    this.normalize = button("Range per cell", range, does.normalize);
    this.opacity = h("input", {
      class: "dlw-opacity",
      type: "range",
      min: 0,
      max: 100,
      "aria-label": "Opacity of the maps",
      [SUPPRESS]: "true",
      input: () => does.opacity(Number(this.opacity.value) / 100),
    });
    const group = { class: "dlw-group", role: "group" };
    const label = (text: string) => h("span", { class: "dlw-label", "aria-hidden": "true" }, text);
    put(
      this.el,
      h("div", { ...group, "aria-label": "Rows" }, label("Rows"), ...this.rows.values(), this.block),
      h("div", group, this.special, this.normalize),
      h("div", group, label("Opacity"), this.opacity),
    );
  }

  update(state: ControlState): void {
    this.el.hidden = state.empty;
    for (const [rows, , title] of ROWS) {
      const choice = this.rows.get(rows)!;
      choice.setAttribute("aria-pressed", String(rows === state.rows));
      choice.disabled = !!state.refused[rows];
      choice.title = state.refused[rows] || title;
    }
    if (state.blocks !== this.blocks) {
      this.blocks = state.blocks;
      const unet = /^(down|mid|up)_block/.test(state.blocks[0] ?? "up_blocks.0");
      write(this.rows.get("blocks")!, unet ? "U-Net blocks" : "Transformer blocks");
      put(this.block, ...["", ...state.blocks].map((name) => h("option", { value: name }, name || "all blocks")));
    }
    this.block.hidden = state.rows !== "layers";
    this.block.value = state.block ?? "";
    this.special.setAttribute("aria-pressed", String(state.special));
    this.normalize.setAttribute("aria-pressed", String(state.normalize === "cell"));
    const percent = String(Math.round(100 * state.opacity));
    if (this.opacity.value !== percent) this.opacity.value = percent;
    this.opacity.setAttribute("aria-valuetext", `${percent} %`);
  }
}
