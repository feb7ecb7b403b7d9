// Matrix: epochs across, layers down; cells colored by drift if asked, flags where an alarm began.
import { colourOf } from "../attention/heat";
import { PictureGrid, type Row } from "../shared/grid";
import { Thumb } from "../shared/thumb";
import { LossChart } from "./chart";
import type { Alarm, DriftPlace } from "./scene";

class DriftCell extends Thumb {
  protected override draw(place: DriftPlace, current: boolean): void {
    super.draw(place, current);
    const { share, flagged } = place;
    this.el.setAttribute("aria-label", place.title);
    this.el.classList.toggle("dlw-coloured", share !== null);
    this.el.classList.toggle("dlw-flagged", flagged);
    this.el.style.setProperty("--dlw-drift", share === null ? "none" : colourOf(share, 0));
  }
}

export class Matrix extends PictureGrid<number> {
  readonly chart = new LossChart();

  /** Put a flag on each epoch at which an alarm began. */
  flag(alarms: Alarm[]): void {
    this.heads.forEach((head, column) => {
      const epoch = this.rows[0]!.thumbnails[column]!.value;
      const mine = alarms.filter((alarm) => alarm.epoch === epoch);
      head.classList.toggle("dlw-flagged", mine.length > 0);
      head.title = mine.map(({ message }) => message).join("\n");
    });
  }

  protected override build(axis: string, rows: Row<number>[]): void {
    super.build(axis, rows);
    this.el.prepend(this.chart.row);
  }

  protected override thumb(): Thumb {
    return new DriftCell();
  }
}
