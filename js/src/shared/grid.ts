// PictureGrid: small pictures in rows and columns. A row has a key; a column has the value of its thumbnails.
import { focusNear, h, put, SUPPRESS } from "./dom";
import { Thumb, type Thumbnail } from "./thumb";

export type Key = number | string | null;

export interface Row<K extends Key = Key> {
  key: K;
  label: string;
  title: string;
  thumbnails: Thumbnail[];
}

export class PictureGrid<K extends Key = Key> {
  readonly el: HTMLElement;
  protected heads: HTMLElement[] = [];
  protected lines: { head: HTMLElement; thumbs: Thumb[] }[] = [];
  protected rows: Row<K>[] = [];
  #shape = "";
  #row = -1;
  #column = -1;
  readonly #observer = new ResizeObserver(() => this.#reveal());

  /** `choose` is called with the value of a column, the key of a row, and the click if it was one and not a key. */
  constructor(
    name: string,
    private readonly choose: (value: number, key: K, click?: MouseEvent) => void,
  ) {
    this.el = h("div", { class: "dlw-grid", role: "grid", "aria-label": name, hidden: true });
    this.#observer.observe(this.el);
  }

  /** The current cell, the only one that the Tab key stops at. */
  get current(): HTMLElement | undefined {
    return this.lines[this.#row]?.thumbs[this.#column]?.el;
  }

  /** `axis` names what the rows or columns count, for example "layer"; `key` and `value` are the current cell. */
  update(axis: string, rows: Row<K>[], key: K, value: number, ratio: number): void {
    const focused = this.el.contains(focusNear(this.el));
    const values = ({ label, thumbnails }: Row<K>) => [label, thumbnails.map((each) => each.value)];
    const shape = JSON.stringify([axis, rows.map(values)]);
    if (shape !== this.#shape) this.build(axis, rows);
    this.#shape = shape;
    this.rows = rows;
    this.el.style.setProperty("--dlw-ratio", String(ratio));
    const row = rows.findIndex((each) => each.key === key);
    const column = rows[0]!.thumbnails.findIndex((each) => each.value === value);
    this.heads.forEach((head, index) => head.classList.toggle("dlw-current", index === column));
    this.lines.forEach(({ head, thumbs }, down) => {
      head.classList.toggle("dlw-current", down === row);
      thumbs.forEach((thumb, across) => thumb.show(rows[down]!.thumbnails[across]!, down === row && across === column));
    });
    if (row === this.#row && column === this.#column) return;
    select(this.current, false);
    [this.#row, this.#column] = [row, column];
    select(this.current, true);
    if (focused) this.current?.focus({ preventScroll: true });
    this.#reveal();
  }

  /** Handle an arrow key, Home or End; returns false for any other key. */
  key(key: string): boolean {
    const [row, column] = [this.#row, this.#column];
    if (key === "ArrowLeft") this.#go(row, column - 1);
    else if (key === "ArrowRight") this.#go(row, column + 1);
    else if (key === "ArrowUp") this.#go(row - 1, column);
    else if (key === "ArrowDown") this.#go(row + 1, column);
    else if (key === "Home") this.#go(row, 0);
    else if (key === "End") this.#go(row, this.heads.length - 1);
    else return false;
    return true;
  }

  dispose(): void {
    this.#observer.disconnect();
  }

  protected thumb(): Thumb {
    return new Thumb();
  }

  /** The text over a column. */
  protected name({ value }: Thumbnail): string {
    return String(value);
  }

  #go(row: number, column: number, click?: MouseEvent): void {
    const thumbnail = this.rows[row]?.thumbnails[column];
    if (thumbnail) this.choose(thumbnail.value, this.rows[row]!.key, click);
  }

  protected build(axis: string, rows: Row<K>[]): void {
    const thumbnails = rows[0]!.thumbnails;
    this.#row = this.#column = -1;
    this.el.style.setProperty("--dlw-count", String(thumbnails.length));
    this.heads = thumbnails.map((thumbnail, column) => {
      const press = { click: (event: MouseEvent) => this.#go(this.#row, column, event) };
      return h("div", { class: "dlw-number", role: "columnheader", ...press }, this.name(thumbnail));
    });
    this.lines = rows.map(({ label, title }, row) => {
      const press = { click: () => this.#go(row, this.#column) };
      const head = h("div", { class: "dlw-row-head", role: "rowheader", title, ...press }, h("span", {}, label));
      return { head, thumbs: thumbnails.map((_, column) => this.#cell(row, column)) };
    });
    const line = (...cells: HTMLElement[]) => h("div", { class: "dlw-row", role: "row" }, ...cells);
    put(
      this.el,
      line(h("div", { class: "dlw-row-head", role: "columnheader" }, axis), ...this.heads),
      ...this.lines.map(({ head, thumbs }) => line(head, ...thumbs.map(({ el }) => el))),
    );
  }

  #cell(row: number, column: number): Thumb {
    const thumb = this.thumb();
    thumb.el.setAttribute("role", "gridcell");
    thumb.el.setAttribute(SUPPRESS, "true");
    select(thumb.el, false);
    thumb.el.addEventListener("click", (event) => {
      this.#go(row, column, event);
      thumb.el.focus({ preventScroll: true });
    });
    return thumb;
  }

  /** Scroll the grid until the current cell is visible beside the sticky heads; the page does not scroll. */
  #reveal(): void {
    if (!this.current) return;
    const [frame, box] = [this.el, this.current].map((el) => el.getBoundingClientRect()) as [DOMRect, DOMRect];
    const [left, top] = [this.lines[0]!.head.offsetWidth, this.heads[0]!.getBoundingClientRect().bottom - frame.top];
    this.el.scrollLeft += Math.min(0, box.left - frame.left - left) + Math.max(0, box.right - frame.right);
    this.el.scrollTop += Math.min(0, box.top - frame.top - top) + Math.max(0, box.bottom - frame.bottom);
  }
}

function select(cell: HTMLElement | undefined, current: boolean): void {
  if (!cell) return;
  cell.tabIndex = current ? 0 : -1;
  cell.setAttribute("aria-selected", String(current));
}
