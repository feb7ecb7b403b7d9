// Help: a dialog over the widget that explains the pictures, the keys and the marks.
import { button, focusNear, h } from "./dom";

export interface HelpText {
  title: string;
  paragraphs: string[];
  keys: [keys: string, meaning: string][];
  marks: [mark: string, meaning: string][];
}

export class Help {
  readonly el: HTMLElement;
  readonly #close: HTMLButtonElement;
  #opener: HTMLElement | null = null;

  constructor(text: HelpText) {
    this.#close = button("Close", "Close (Esc)", () => this.hide());
    this.el = h(
      "div",
      { class: "dlw-help", role: "dialog", "aria-label": text.title, hidden: true },
      h("div", { class: "dlw-help-head" }, h("h3", {}, text.title), this.#close),
    );
    const table = (title: string, rows: [string, string][], cell: (name: string) => Node) => {
      const lines = rows.flatMap(([name, meaning]) => [cell(name), h("span", {}, meaning)]);
      return h("div", {}, h("h4", {}, title), h("div", { class: "dlw-list" }, ...lines));
    };
    this.el.append(
      ...text.paragraphs.map((paragraph) => h("p", {}, paragraph)),
      h(
        "div",
        { class: "dlw-help-tables" },
        table("Keys", text.keys, (keys) => h("span", { class: "dlw-keys" }, keys)),
        table("Marks", text.marks, (mark) => h("span", { class: `dlw-is-${mark}` }, h("i", { class: "dlw-mark" }))),
      ),
    );
  }

  get open(): boolean {
    return !this.el.hidden;
  }

  toggle(): void {
    if (this.open) this.hide();
    else this.#show();
  }

  hide(): void {
    if (!this.open) return;
    this.#cover(false);
    this.#opener?.focus();
  }

  #show(): void {
    const opener = focusNear(this.el);
    this.#opener = opener instanceof HTMLElement ? opener : null;
    this.#cover(true);
    this.#close.focus();
  }

  /** What is beneath cannot be seen, so the keyboard and a screen reader must not go there either. */
  #cover(open: boolean): void {
    this.el.hidden = !open;
    for (const each of this.el.parentElement!.children) if (each !== this.el) (each as HTMLElement).inert = open;
  }
}
