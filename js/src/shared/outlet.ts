// Outlet: an output of a notebook, and the view in it while it is on the page.
//
// JupyterLab replaces an output when its cell is run again or its still picture is written. It does not say so: it keeps
// the view of the output, and never calls the function that ends it. So an outlet looks for itself, and JupyterLab keeps
// an empty element.

export interface View {
  attach(el: HTMLElement): void;
  dispose(): void;
}

const CELL = ".jp-Cell";
const GRACE = 1000; // ms off its cell before the view ends: what moves an element takes it off for a moment

export class Outlet {
  #view: View | null = null;
  #wasInCell = false;
  #ended = false;
  #timer = 0;
  // the size of an element that is taken off the page, or put back, changes
  readonly #observer = new ResizeObserver(() => this.look());

  constructor(
    private readonly el: HTMLElement,
    private readonly open: () => View,
  ) {
    this.#show();
    this.#observer.observe(el);
  }

  /** End the view if its output was replaced, and show it again if the output comes back. */
  look(): void {
    if (this.#ended) return;
    this.#wasInCell ||= this.#inCell;
    if (!this.#replaced) this.#show();
    else if (this.#view && !this.#timer) this.#timer = window.setTimeout(() => this.#leave(), GRACE);
  }

  dispose(): void {
    this.#ended = true;
    this.#observer.disconnect();
    this.#hide();
  }

  get #inCell(): boolean {
    return !!this.el.closest(CELL);
  }

  /** A cell that is scrolled away is off the page as well, but its output is in the cell. */
  get #replaced(): boolean {
    return this.#wasInCell && !this.el.isConnected && !this.#inCell;
  }

  #show(): void {
    if (this.#view) return;
    this.#view = this.open();
    this.#view.attach(this.el);
  }

  #leave(): void {
    this.#timer = 0;
    if (this.#replaced) this.#hide();
  }

  #hide(): void {
    clearTimeout(this.#timer);
    this.#timer = 0;
    this.#view?.dispose();
    this.#view = null;
  }
}
