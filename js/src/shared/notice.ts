// NoticeLine: what the user should know, and why something failed.
import { h, write } from "./dom";

export class NoticeLine {
  readonly el = h("div", { class: "dlw-notice", role: "status", hidden: true });

  update(lines: string[], error: boolean): void {
    const text = lines.filter(Boolean).join("\n");
    this.el.hidden = !text;
    this.el.classList.toggle("dlw-error", error);
    write(this.el, text);
  }
}
