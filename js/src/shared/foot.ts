// Foot: the row below the film: play, way and speed; progress and Stop; save; help.
import { button, h, put, SUPPRESS, write } from "./dom";
import { SPEEDS } from "./player";
import type { Session } from "./session";
import { WAYS, type Way } from "./spots";

export interface FootState {
  playable: boolean;
  ways: Way[];
  /** There is a grid that can be opened. */
  grid: boolean;
  progress: string;
  running: boolean;
  /** There is a picture on screen. */
  picture: boolean;
  /** A picture is finished, so a file can be written; undefined: the kernel writes no files of this widget. */
  anything?: boolean;
  /** There is something to write a page of; by default as `anything`. */
  page?: boolean;
  /** What the GIF shows, where it is not all layers. */
  film?: string;
}

export class Foot {
  readonly el = h("div", { class: "dlw-foot" });
  readonly #play: HTMLButtonElement;
  readonly #way: HTMLSelectElement;
  readonly #speed: HTMLSelectElement;
  readonly #grid: HTMLButtonElement;
  readonly #progress = h("span", { class: "dlw-progress" });
  readonly #stop: HTMLButtonElement;
  readonly png: HTMLButtonElement;
  readonly #files: Record<"gif" | "html", HTMLButtonElement>;

  constructor(
    private readonly session: Session<any>,
    png: () => void,
    help: () => void,
    fold: () => void,
  ) {
    const { kernel, player } = session;
    this.#play = button("", "", () => player.toggle());
    this.#play.append(h("i", { class: "dlw-icon" }));
    type Options = [value: string | number, text: string][];
    const select = (label: string, title: string, options: Options, choose: (value: string) => void) =>
      h(
        "select",
        {
          class: "dlw-select",
          "aria-label": label,
          title,
          [SUPPRESS]: "true",
          change: ({ target }) => choose(target.value),
        },
        ...options.map(([value, text]) => h("option", { value }, text)),
      );
    this.#way = select("Play", "What is played, and which way", Object.entries(WAYS), (way) =>
      player.setWay(way as Way),
    );
    this.#speed = select("Speed", "Pictures per second", SPEEDS.map((speed) => [speed, `${speed} / s`]), (speed) =>
      player.setSpeed(Number(speed)),
    );
    this.#grid = button("Grid", "Tokens and layers, or only one strip", fold);
    this.#stop = button("Stop", "Stop the run; what is painted stays", () => kernel.stop());
    this.png = button("PNG", "Save this picture", png);
    this.#files = {
      gif: button("GIF", "", () => kernel.write("gif")),
      html: button("HTML", "", () => kernel.write("html")),
    };
    const question = button("?", "What am I looking at? (?)", help);
    question.setAttribute("aria-label", "Help");
    put(
      this.el,
      h("div", { class: "dlw-group" }, this.#play, this.#way, this.#speed, this.#grid),
      h("div", { class: "dlw-group dlw-grow" }, this.#progress, this.#stop),
      h(
        "div",
        { class: "dlw-group", role: "group", "aria-label": "Save" },
        h("span", { class: "dlw-label", "aria-hidden": "true" }, "Save"),
        this.png,
        this.#files.gif,
        this.#files.html,
        question,
      ),
    );
  }

  update(state: FootState): void {
    const { kernel, player } = this.session;
    this.#play.disabled = this.#way.disabled = this.#speed.disabled = !state.playable;
    for (const option of this.#way.options) option.hidden = option.disabled = !state.ways.includes(option.value as Way);
    this.#way.value = state.ways.includes(player.way) ? player.way : player.way.replace("step", "layer");
    this.#grid.hidden = !state.grid;
    this.#grid.setAttribute("aria-pressed", String(!this.session.folded));
    const name = player.playing ? "Pause" : "Play";
    this.#play.className = `dlw-button dlw-${name.toLowerCase()}`;
    this.#play.setAttribute("aria-label", name);
    this.#play.title = `${name} (space)`;
    this.#speed.value = String(player.speed);
    write(this.#progress, state.progress);
    this.#stop.hidden = !state.running;
    this.#stop.disabled = kernel.stopping;
    write(this.#stop, kernel.stopping ? "Stopping…" : "Stop");
    this.png.disabled = !state.picture;
    const film = state.film ?? "all layers";
    this.#updateFile("gif", `Save the film of ${film} as an animation`, state.anything);
    this.#updateFile("html", "Save a page that needs no notebook", state.page ?? state.anything);
  }

  #updateFile(format: "gif" | "html", title: string, anything?: boolean): void {
    const { kernel, model } = this.session;
    const [file, name] = [this.#files[format], format.toUpperCase()];
    const busy = kernel.writing.has(format);
    // an exported page never had a kernel
    file.hidden = !!model.get("_static") || anything === undefined;
    file.disabled = busy || !anything || kernel.liveness !== "alive";
    file.title = kernel.liveness === "absent" ? `${name} is made by the kernel, and there is none` : title;
    write(file, busy ? "Saving…" : name);
  }
}
