// PictureGrid: small pictures in rows, each known by its key, and in columns, each by the value of its places.
import { h, put, SUPPRESS } from "./dom";
import { Thumb, type Place } from "./thumb";

export type Key = number | string | null;

export interface Row<K extends Key = Key> {
  key: K;
  label: string;
  title: string;
  places: Place[];
}

export class PictureGrid<K extends Key = Key> {
  readonly el: HTMLElement;
  protected heads: HTMLElement[] = [];
  protected lines: { head: HTMLElement; thumbs: Thumb[] }[] = [];
  protected rows: Row<K>[] = [];
  private shape = "";
  private row = -1;
  private column = -1;
  private readonly observer = new ResizeObserver(() => this.reveal());

  /** `choose` is told of a column and a row; of the click too, where it was not a key. */
  constructor(
    name: string,
    private readonly choose: (value: number, key: K, click?: MouseEvent) => void,
  ) {
    this.el = h("div", { class: "dlw-grid", role: "grid", "aria-label": name, hidden: true });
    this.observer.observe(this.el);
  }

  /** The one cell that the Tab key comes to. */
  get current(): HTMLElement | undefined {
    return this.lines[this.row]?.thumbs[this.column]?.el;
  }

  /** `axis` is what the rows or columns count. */
  update(axis: string, rows: Row<K>[], key: K, value: number, ratio: number): void {
    const focused = this.el.contains(document.activeElement);
    const shape = JSON.stringify([axis, rows.map(({ label, places }) => [label, places.map((place) => place.value)])]);
    if (shape !== this.shape) this.build(axis, rows);
    this.shape = shape;
    this.rows = rows;
    this.el.style.setProperty("--dlw-ratio", String(ratio));
    const row = rows.findIndex((each) => each.key === key);
    const column = rows[0]!.places.findIndex((place) => place.value === value);
    this.heads.forEach((head, index) => head.classList.toggle("dlw-current", index === column));
    this.lines.forEach(({ head, thumbs }, down) => {
      head.classList.toggle("dlw-current", down === row);
      thumbs.forEach((thumb, across) => {
        const current = down === row && across === column;
        thumb.show(rows[down]!.places[across]!, current);
        thumb.el.tabIndex = current ? 0 : -1;
        thumb.el.setAttribute("aria-selected", String(current));
      });
    });
    if (row === this.row && column === this.column) return;
    [this.row, this.column] = [row, column];
    if (focused) this.current?.focus({ preventScroll: true });
    this.reveal();
  }

  /** Take an arrow key, Home or End; false for any other. */
  key(key: string): boolean {
    const { row, column } = this;
    if (key === "ArrowLeft") this.go(row, column - 1);
    else if (key === "ArrowRight") this.go(row, column + 1);
    else if (key === "ArrowUp") this.go(row - 1, column);
    else if (key === "ArrowDown") this.go(row + 1, column);
    else if (key === "Home") this.go(row, 0);
    else if (key === "End") this.go(row, this.heads.length - 1);
    else return false;
    return true;
  }

  dispose(): void {
    this.observer.disconnect();
  }

  protected thumb(): Thumb {
    return new Thumb();
  }

  /** What stands over a column. */
  protected name({ value }: Place): string {
    return String(value);
  }

  private go(row: number, column: number, click?: MouseEvent): void {
    const place = this.rows[row]?.places[column];
    if (place) this.choose(place.value, this.rows[row]!.key, click);
  }

  protected build(axis: string, rows: Row<K>[]): void {
    const places = rows[0]!.places;
    this.row = this.column = -1;
    this.el.style.setProperty("--dlw-places", String(places.length));
    this.heads = places.map((place, column) => {
      const press = { click: (event: MouseEvent) => this.go(this.row, column, event) };
      return h("div", { class: "dlw-number", role: "columnheader", ...press }, this.name(place));
    });
    this.lines = rows.map(({ label, title }, row) => {
      const press = { click: () => this.go(row, this.column) };
      const head = h("div", { class: "dlw-row-head", role: "rowheader", title, ...press }, h("span", {}, label));
      return { head, thumbs: places.map((_, column) => this.cell(row, column)) };
    });
    const line = (...cells: HTMLElement[]) => h("div", { class: "dlw-row", role: "row" }, ...cells);
    put(
      this.el,
      line(h("div", { class: "dlw-row-head", role: "columnheader" }, axis), ...this.heads),
      ...this.lines.map(({ head, thumbs }) => line(head, ...thumbs.map(({ el }) => el))),
    );
  }

  private cell(row: number, column: number): Thumb {
    const thumb = this.thumb();
    thumb.el.setAttribute("role", "gridcell");
    thumb.el.setAttribute(SUPPRESS, "true");
    thumb.el.addEventListener("click", (event) => {
      this.go(row, column, event);
      thumb.el.focus({ preventScroll: true });
    });
    return thumb;
  }

  /** Bring the current cell into sight, from under the heads too; the page stays where it is. */
  private reveal(): void {
    if (!this.current) return;
    const [frame, box] = [this.el, this.current].map((el) => el.getBoundingClientRect()) as [DOMRect, DOMRect];
    const [left, top] = [this.lines[0]!.head.offsetWidth, this.heads[0]!.getBoundingClientRect().bottom - frame.top];
    this.el.scrollLeft += Math.min(0, box.left - frame.left - left) + Math.max(0, box.right - frame.right);
    this.el.scrollTop += Math.min(0, box.top - frame.top - top) + Math.max(0, box.bottom - frame.bottom);
  }
}
