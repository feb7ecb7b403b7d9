// Legend: what the colors on the large image mean, in numbers, and the value under the pointer.
import { h, put, write } from "../shared/dom";
import { paintRamp } from "./heat";
import { digits } from "./maps";

export interface Scale {
  name: string;
  most: number;
  ramp: number;
}

export class Legend {
  readonly el = h("div", { class: "dlw-legend" });
  private readonly unit = h("div", { class: "dlw-unit" });
  private readonly range = h("div", { class: "dlw-range-note" });
  private readonly value = h("div", { class: "dlw-value" });
  private readonly lines = [0, 1].map((ramp) => {
    const colors = h("canvas");
    paintRamp(colors, ramp);
    const bar = h("span", { class: "dlw-bar", "aria-hidden": "true" }, colors); // over gray, as on an image
    const [name, most] = [h("b", { class: `dlw-hue-${ramp}` }), h("span")];
    return { el: h("div", { class: "dlw-scale-line" }, h("span", {}, "0"), bar, most, name), name, most };
  });

  constructor() {
    put(this.el, this.unit, ...this.lines.map(({ el }) => el), this.range, this.value);
  }

  update(unit: string, scales: Scale[], range: string): void {
    write(this.unit, unit);
    write(this.range, range);
    this.lines.forEach(({ el, name, most }, ramp) => {
      const scale = scales.find((each) => each.ramp === ramp);
      el.hidden = !scale;
      name.hidden = !scale?.name;
      write(name, scale?.name ?? "");
      write(most, scale ? digits(scale.most) : "");
    });
  }

  /** Show `words` in the last line, which is there also when it is empty. */
  tell(words: string): void {
    write(this.value, words || "\u00a0");
  }
}
