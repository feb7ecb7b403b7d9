// MapGrid: a column for each word; each cell is an image with the word's map over it.
import { h } from "../shared/dom";
import { PictureGrid, type Key, type Row } from "../shared/grid";
import { Thumb, type Thumbnail } from "../shared/thumb";
import { paintHeat, type Heat } from "./heat";

export interface MapPlace extends Thumbnail {
  text: string;
  /** The word's name in tooltips. */
  about: string;
  selected: boolean;
  heat: Heat | undefined;
  /** Identifies `heat`: the cell is drawn again only when this changes. */
  version: string;
}

class MapCell extends Thumb {
  private readonly heat = h("canvas", { class: "dlw-heat", hidden: true });
  private version = "";

  constructor() {
    super();
    this.el.firstElementChild!.append(this.heat);
  }

  protected override draw(place: MapPlace, current: boolean): void {
    super.draw(place, current);
    const { heat, version } = place;
    this.el.classList.toggle("dlw-quiet", !place.selected); // current for the keyboard only
    this.el.setAttribute("aria-label", place.title);
    this.heat.hidden = !heat;
    this.el.classList.toggle("dlw-over", !!heat);
    if (heat && version !== this.version) paintHeat(this.heat, [heat]);
    this.version = heat ? version : "";
  }
}

export class MapGrid extends PictureGrid<Key> {
  /** Mark the columns whose maps are on the large image, each in its color. */
  mark(rampOf: (token: number) => number): void {
    this.heads.forEach((head, column) => {
      const place = this.rows[0]!.thumbnails[column] as MapPlace;
      const ramp = rampOf(place.value);
      head.title = place.about;
      head.classList.toggle("dlw-current", ramp >= 0);
      for (const hue of [0, 1]) head.classList.toggle(`dlw-hue-${hue}`, ramp === hue);
    });
  }

  /** The row (none for a column head) and the column that an element belongs to. */
  spotOf(target: Element): { row: Row | undefined; value: number } | undefined {
    const cell = target.closest("[role=columnheader], [role=gridcell]");
    const column = (cells: (Element | undefined)[]) => this.rows[0]?.thumbnails[cells.indexOf(cell ?? undefined)]?.value;
    if (!cell) return undefined;
    const lines = this.lines.map(({ thumbs }) => thumbs.map(({ el }) => el));
    const row = lines.findIndex((line) => line.includes(cell as HTMLDivElement));
    const value = column(row < 0 ? this.heads : lines[row]!);
    return value === undefined ? undefined : { row: this.rows[row], value };
  }

  protected override thumb(): Thumb {
    return new MapCell();
  }

  protected override name(place: Thumbnail): string {
    return (place as MapPlace).text;
  }
}
