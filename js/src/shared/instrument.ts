// Instrument: the frame that all widgets have: caption, picture, axis, foot, help, and the keyboard.
import { Caption } from "./caption";
import { focusNear, h, put, SUPPRESS } from "./dom";
import { Film } from "./film";
import { Foot } from "./foot";
import { Help, type HelpText } from "./help";
import type { CommonTraits, Off, Status } from "./model";
import { NoticeLine } from "./notice";
import { PictureCanvas } from "./picture";
import { savePng, type Bitmap } from "./save";
import type { Session } from "./session";
import type { Picture } from "./store";
import { measureWindow } from "./window";

export const AXIS = "input, [role=gridcell]";
const IDLE = 20; // ms after a drawing: the frame is on screen, and a held key has not come again

export abstract class Instrument<T extends CommonTraits> {
  protected readonly root = h("div", { class: "dlw-root" });
  protected readonly caption = new Caption();
  protected readonly notice = new NoticeLine();
  protected readonly picture = new PictureCanvas();
  protected readonly film: Film;
  protected readonly foot: Foot;
  protected readonly help: Help;
  protected readonly offs: Off[] = [];
  #frame = 0;
  #idle = 0;
  #stale = false;
  // JupyterLab takes a cell that is scrolled away off the page, and puts it back later
  readonly #observer = new ResizeObserver(() => this.#stale && this.schedule());

  constructor(
    protected readonly session: Session<T>,
    help: HelpText,
    axis: string,
    choose: (value: number) => void,
  ) {
    const { kernel, player, store } = session;
    this.film = new Film(axis, choose);
    this.help = new Help(help);
    this.foot = new Foot(
      session,
      () => void this.#savePng(),
      () => this.help.toggle(),
      () => {
        session.folded = !session.folded;
        this.schedule();
      },
    );
    const parts = [this.caption, this.notice, this.picture, this.film, this.foot, this.help];
    put(this.root, ...parts.map((part) => part.el));
    this.picture.frame.addEventListener("click", () => this.keyboard().focus());
    this.#listenToUser();
    for (const part of [kernel, player, store]) this.offs.push(part.listen(() => this.schedule()));
    this.#observer.observe(this.root);
  }

  /** Put the view on the page. If the view that it replaces had the keyboard focus, take it. */
  attach(el: HTMLElement): void {
    put(el, this.root);
    measureWindow(el);
    const owner = this.session.focusOwner;
    if (owner && owner !== this.root && !owner.isConnected) {
      requestAnimationFrame(() => this.keyboard().focus({ preventScroll: true }));
    }
  }

  dispose(): void {
    for (const off of this.offs) off();
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#idle);
    this.#observer.disconnect();
    this.film.dispose();
    this.root.remove();
  }

  /** Draw the current state. */
  protected abstract update(): void;
  /** The picture on screen, if there is one, and the name of its file. */
  protected abstract current(): Promise<[Bitmap | undefined, string]>;

  /** The pictures that the next key may ask for. */
  protected near(): (Picture | undefined)[] {
    return [];
  }

  /** The element that has the arrow keys. */
  protected keyboard(): HTMLElement {
    return this.film.range;
  }

  /** Handle a key on an axis; returns false where the browser has to handle it. */
  protected abstract onOwnKey(key: string, target: Element, shift: boolean): boolean;

  protected get<K extends keyof T & string>(name: K): T[K] {
    return this.session.model.get(name);
  }

  /** The status of the run; one whose kernel is gone is stopped. */
  protected status(): Status {
    const status = this.session.model.get("status");
    return status === "running" && this.session.kernel.liveness === "absent" ? "stopped" : status;
  }

  /** Draw with the next frame of the screen: once, however many changes come before it. */
  protected schedule(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => {
      this.#stale = !this.root.isConnected;
      if (this.#stale) return;
      this.update();
      clearTimeout(this.#idle);
      this.#idle = window.setTimeout(() => this.#decodeAhead(), IDLE);
    });
  }

  /** While nobody waits: a key then finds its picture decoded. One that is not finished is replaced soon. */
  #decodeAhead(): void {
    for (const picture of this.near()) if (picture?.final) void picture.load();
  }

  async #savePng(): Promise<void> {
    const [bitmap, name] = await this.current();
    if (bitmap) savePng(bitmap, name);
  }

  #listenToUser(): void {
    const { session, root } = this;
    root.addEventListener("keydown", (event) => this.#onKey(event));
    for (const type of ["keydown", "keyup"] as const) root.addEventListener(type, letShortcutsPass);
    root.addEventListener("pointerdown", () => session.touch(true));
    for (const end of ["pointerup", "pointercancel"]) root.addEventListener(end, () => session.touch());
    root.addEventListener("focusin", () => (session.focusOwner = root));
    root.addEventListener("focusout", () =>
      // an element that is taken off the page loses the focus as well, though the user did not leave it
      queueMicrotask(() => {
        const left = root.isConnected && !root.contains(focusNear(root));
        if (left && session.focusOwner === root) session.focusOwner = null;
      }),
    );
  }

  #onKey(event: KeyboardEvent): void {
    this.session.touch();
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && this.help.open) this.help.hide();
    else if (event.key === "?") this.help.toggle();
    else if (event.key === " " && (event.target as Element).matches(AXIS)) this.session.player.toggle();
    else if (this.help.open || !this.onOwnKey(event.key, event.target as Element, event.shiftKey)) return;
    event.preventDefault();
    event.stopPropagation();
  }
}

/** The attribute that keeps plain keys from JupyterLab also keeps Ctrl+S from it: remove it while Ctrl is held. */
export function letShortcutsPass({ target, ctrlKey, metaKey }: KeyboardEvent): void {
  const ours = (target as Element).matches(`${AXIS}, button, select`);
  if (ours && (ctrlKey || metaKey)) (target as Element).removeAttribute(SUPPRESS);
  else if (ours) (target as Element).setAttribute(SUPPRESS, "true");
}
