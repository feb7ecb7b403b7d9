// DiffLegend: the scale of the colors over the picture, in numbers, and the value under the pointer.
import { digits } from "../attention/maps";
import { h, put, write } from "../shared/dom";
import { paintScale, withSign, type DiffMap } from "./maps";

export class DiffLegend {
  readonly el = h("div", { class: "dlw-legend dlw-diff-legend" });
  private readonly unit = h("div", { class: "dlw-unit" });
  private readonly low = h("span", { class: "dlw-low" });
  private readonly high = h("span", { class: "dlw-high" });
  private readonly colours = h("canvas");
  private readonly note = h("div", { class: "dlw-range-note" });
  private readonly value = h("div", { class: "dlw-value" });
  private signed: boolean | null = null;

  constructor() {
    const bar = h("span", { class: "dlw-bar", "aria-hidden": "true" }, this.colours);
    put(this.el, this.unit, h("div", { class: "dlw-scale-line" }, this.low, bar, this.high), this.note, this.value);
    this.tell("");
  }

  update(map: DiffMap | undefined, word: string): void {
    this.el.hidden = !map;
    if (!map) return;
    const { signed, most } = map;
    const attention = `share of a pixel’s attention to “${word}”, tuned minus raw`;
    write(this.unit, signed ? attention : "difference of each pixel, 0 to 255, mean of red, green and blue");
    write(this.low, signed ? `${withSign(-most)} · less` : "0");
    write(this.high, signed ? `${withSign(most)} · more` : digits(most));
    write(this.note, `one range for all layers${signed ? " and words; dark: no change" : ""}`);
    if (signed !== this.signed) paintScale(this.colours, signed);
    this.signed = signed;
  }

  /** Show a line of text below the scale; without one its row stays empty. */
  tell(text: string): void {
    write(this.value, text || "\u00a0");
  }
}
