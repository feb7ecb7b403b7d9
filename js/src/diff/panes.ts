// Panes: the pictures of all runs: side by side, one over the other, in turn, or two by two.
import { axisRange, h, put, write } from "../shared/dom";
import { PictureCanvas } from "../shared/picture";
import type { Picture } from "../shared/store";
import type { Mode, Run } from "./traits";

/** In the order of the swap grid: encoders down, U-Nets across. */
export const RUNS: readonly Run[] = ["raw", "raw-tuned", "tuned-raw", "tuned"];

/** Whose encoder, and whose U-Net. */
export function partsOf(run: Run): [encoder: string, unet: string] {
  return [run.split("-")[0]!, run.split("-").at(-1)!];
}

/** Which runs a mode shows. */
export function shownIn(mode: Mode): readonly Run[] {
  if (mode === "swap_grid") return RUNS;
  return mode === "difference" ? ["tuned"] : ["raw", "tuned"];
}

export interface PaneState {
  picture: Picture | undefined;
  label: string;
  hole: string;
}

class Pane {
  readonly el = h("figure", { class: "dlw-pane" });
  readonly name = h("figcaption", { class: "dlw-pane-name" });

  constructor(
    readonly run: Run,
    readonly picture: PictureCanvas,
  ) {
    this.el.dataset.run = run;
    put(this.el, this.name, picture.el);
  }
}

export class Panes {
  readonly el = h("div", { class: "dlw-panes" });
  readonly curtain = axisRange("Curtain", "dlw-curtain", () => this.draw());
  readonly heat = h("canvas", { class: "dlw-heat", hidden: true });
  /** In blink mode: the raw picture is on screen. */
  raw = false;
  private readonly line = h("div", { class: "dlw-curtain-line", "aria-hidden": "true" });
  private readonly panes: Pane[];

  /** `tuned` is the picture that maps are drawn over. */
  constructor(tuned: PictureCanvas) {
    this.panes = RUNS.map((run) => new Pane(run, run === "tuned" ? tuned : new PictureCanvas()));
    this.curtain.max = "100";
    this.curtain.value = "50";
    tuned.frame.firstElementChild!.after(this.heat);
    tuned.frame.append(this.curtain, this.line);
    put(this.el, ...this.panes.map(({ el }) => el));
    this.draw();
  }

  update(mode: Mode, ratio: number, stateOf: (run: Run) => PaneState): void {
    const there = shownIn(mode);
    this.el.className = `dlw-panes dlw-mode-${mode}`;
    this.el.style.setProperty("--dlw-ratio", String(ratio));
    this.curtain.hidden = this.line.hidden = mode !== "curtain";
    for (const { run, el, name, picture } of this.panes) {
      el.hidden = !there.includes(run);
      if (el.hidden) continue;
      const { picture: painted, label, hole } = stateOf(run);
      const [encoder, unet] = partsOf(run);
      write(name, mode === "swap_grid" ? `encoder ${encoder} × U-Net ${unet}` : mode === "difference" ? "" : run);
      picture.update(painted, ratio, label, hole, "");
      el.classList.toggle("dlw-away", mode === "blink" && (run === "raw") !== this.raw);
    }
  }

  /** Where the curtain is, 0..1. */
  get at(): number {
    return Number(this.curtain.value) / 100;
  }

  private draw(): void {
    const value = this.curtain.value;
    this.el.style.setProperty("--dlw-at", `${value}%`);
    this.curtain.setAttribute("aria-valuetext", `raw on the left ${value} %, tuned on the right`);
  }
}
