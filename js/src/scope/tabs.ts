// Tabs: the names of the views in a row, and the pane below it.
import { h, put, SUPPRESS } from "../shared/dom";
import { VIEWS, type ViewName } from "./traits";

const LABELS: Record<ViewName, string> = {
  layers: "Layers",
  tokens: "Words",
  attention: "Attention",
  compare: "Compare",
  patch: "Patch",
};
let count = 0; // of all tabs on the page, for ids

export class Tabs {
  readonly el = h("div", { class: "dlw-tabs", role: "tablist", "aria-label": "Views" });
  readonly pane: HTMLElement;
  readonly #tabs: Record<ViewName, HTMLButtonElement>;

  #shown: ViewName[] = [];

  constructor(private readonly choose: (view: ViewName) => void) {
    const id = `dlw-tabs-${count++}`;
    this.pane = h("div", { class: "dlw-tabpanel", role: "tabpanel", id });
    const tabs = VIEWS.map((view) => [view, this.#tab(view, id)] as const);
    this.#tabs = Object.fromEntries(tabs) as Record<ViewName, HTMLButtonElement>;
    put(this.el, ...tabs.map(([, tab]) => tab));
    this.el.addEventListener("keydown", (event) => this.#onKey(event));
  }

  update(view: ViewName, shown: ViewName[]): void {
    this.#shown = shown;
    for (const each of VIEWS) {
      const tab = this.#tabs[each];
      tab.hidden = !shown.includes(each);
      tab.setAttribute("aria-selected", String(each === view));
      tab.tabIndex = each === view ? 0 : -1;
    }
    this.pane.setAttribute("aria-labelledby", this.#tabs[view].id);
  }

  #tab(view: ViewName, pane: string): HTMLButtonElement {
    const about = { type: "button", class: "dlw-tab", role: "tab", id: `${pane}-${view}`, "aria-controls": pane };
    return h("button", { ...about, [SUPPRESS]: "true", click: () => this.choose(view) }, LABELS[view]);
  }

  #onKey(event: KeyboardEvent): void {
    const at = this.#shown.findIndex((view) => this.#tabs[view] === event.target);
    const last = this.#shown.length - 1;
    const to = { ArrowLeft: at ? at - 1 : last, ArrowRight: at < last ? at + 1 : 0, Home: 0, End: last }[event.key];
    if (at < 0 || to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    this.choose(this.#shown[to]!);
    this.#tabs[this.#shown[to]!].focus();
  }
}
