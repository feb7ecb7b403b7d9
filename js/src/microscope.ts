// Microscope: from a prompt box to the layers, the words, the attention and a second prompt. The pictures are shown by
// a LayerSlider and a TokenAttentionGrid within it.
import { wordsIn } from "./layer_slider_words";
import { button, h, put, SUPPRESS, write } from "./shared/dom";
import { letShortcutsPass } from "./shared/instrument";
import { listen, type Off, type Status } from "./shared/model";
import { NoticeLine } from "./shared/notice";
import { widget } from "./shared/widget";
import { FormBoxes } from "./scope/form";
import { ScopeSession } from "./scope/session";
import { Tabs } from "./scope/tabs";
import type { Entry, PartName, ScopeTraits, ViewName } from "./scope/traits";

const WATCHED = [
  ...["view", "status", "message", "notice", "prompt", "_entries", "_entry", "_has", "_parts"],
].map((trait) => `change:${trait}`);

interface Pane {
  parts: PartName[];
  needs: PartName | "tokens";
  hole: string;
  folded: boolean;
  /** Whole prompts only, whichever word was chosen in another tab. */
  whole?: boolean;
}

/** Which widgets a tab has, and what it says where there is nothing to show. */
const PANES: Record<ViewName, Pane> = {
  layers: {
    parts: ["lens"],
    needs: "lens",
    hole: "Type a prompt and press Run: one picture for each layer of the text encoder, from the same noise.",
    folded: true,
    whole: true,
  },
  tokens: {
    parts: ["lens"],
    needs: "tokens",
    hole: "What do words give by themselves? Press Run here: every layer is painted once more for each word.",
    folded: false,
  },
  attention: {
    parts: ["attention"],
    needs: "attention",
    hole: "Where does the denoiser look for each word? Press Run.",
    folded: true,
  },
  compare: {
    parts: ["lens", "second"],
    needs: "second",
    hole: "Type a related prompt in the second box and press Run: both are painted from the same noise.",
    folded: true,
    whole: true,
  },
  patch: {
    parts: ["patch"],
    needs: "patch",
    hole:
      "What if a word had the state of another one? After each block, words of the prompt get the states that the " +
      "second prompt has there, and the later blocks run on. Type a related prompt and press Run.",
    folded: false,
  },
};

class View {
  readonly #root = h("div", { class: "dlw-root dlw-scope" });
  readonly #form: FormBoxes;
  readonly #tabs: Tabs;
  readonly #notice = new NoticeLine();
  readonly #live = h("div", { class: "dlw-live", "aria-live": "polite" });
  readonly #history: HTMLSelectElement;
  readonly #save: HTMLButtonElement;
  readonly #file: HTMLInputElement;
  readonly #open: HTMLButtonElement;
  readonly #offs: Off[] = [];
  #shown = "";
  #panes: Off[] = [];
  #frame = 0;
  #lines = "";

  constructor(private readonly session: ScopeSession) {
    const { model, kernel } = session;
    this.#form = new FormBoxes(session);
    this.#tabs = new Tabs((view) => {
      session.refused = session.hint = "";
      session.set("view", view);
    });
    this.#history = h("select", {
      class: "dlw-select dlw-history",
      "aria-label": "Runs of this session",
      title: "Go back to an earlier run",
      [SUPPRESS]: "true",
      change: ({ target }) => session.goTo(Number(target.value)),
    });
    this.#save = button("Save .lens", "", () => kernel.write("lens"));
    this.#file = h("input", {
      type: "file",
      accept: ".lens",
      hidden: true,
      "aria-label": "A .lens file",
      change: () => this.#upload(),
    });
    this.#open = button("Open…", "Open a .lens file", () => this.#file.click());
    const tools = h("div", { class: "dlw-group" }, this.#history, this.#save, this.#open, this.#file);
    const bar = h("div", { class: "dlw-views" }, this.#tabs.el, tools);
    put(this.#root, this.#form.el, this.#notice.el, bar, this.#tabs.pane, this.#live);
    this.#listenToUser();
    this.#offs.push(
      listen(model, WATCHED, () => this.#schedule()),
      listen(model, ["msg:custom"], () => this.#schedule()),
      session.onChange(() => this.#schedule()),
      kernel.listen(() => this.#schedule()),
    );
    this.#update();
  }

  attach(el: HTMLElement): void {
    put(el, this.#root);
    const { session } = this;
    this.#schedule(); // then it is on the page
    const owner = session.focusOwner;
    if (session.focused && owner !== this.#form.el && !owner?.isConnected) {
      session.focusOwner = this.#form.el; // and no other view that comes meanwhile
      requestAnimationFrame(() => this.#form.focus(session.focused));
    }
  }

  dispose(): void {
    for (const off of [...this.#offs, ...this.#panes]) off();
    cancelAnimationFrame(this.#frame);
    this.#form.dispose();
    this.#root.remove();
  }

  // -- the user

  #listenToUser(): void {
    const { session } = this;
    for (const type of ["keydown", "keyup"] as const) this.#root.addEventListener(type, letShortcutsPass);
    this.#root.addEventListener("keydown", () => session.touch());
    this.#root.addEventListener("pointerdown", () => session.touch(true));
    for (const end of ["pointerup", "pointercancel"]) this.#root.addEventListener(end, () => session.touch());
  }

  #upload(): void {
    const file = this.#file.files?.[0];
    this.#file.value = ""; // the same file can be opened again
    if (file) void this.session.open(file);
  }

  // -- what is drawn

  #schedule(): void {
    cancelAnimationFrame(this.#frame);
    this.#frame = requestAnimationFrame(() => this.#update());
  }

  #update(): void {
    const { model, kernel, asked } = this.session;
    const gone = kernel.liveness === "absent";
    const status: Status = model.get("status") === "running" && gone ? "stopped" : model.get("status");
    const able = !gone && !asked;
    this.#form.update(status === "running", able);
    this.#tabs.update(model.get("view"), model.get("_tabs"));
    this.#updateNotice(gone);
    this.#updateHistory(able);
    const run = model.get("_entries").find(({ number }) => number === model.get("_entry"));
    const busy = kernel.writing.has("lens");
    this.#save.disabled = !run || run.status === "running" || !able || busy;
    this.#save.title = gone ? "The kernel writes the file, and there is none" : "Save this run as a .lens file";
    write(this.#save, busy ? "Saving…" : "Save .lens");
    this.#open.disabled = !able;
    this.#updatePane(model.get("view"));
    write(this.#live, this.#progress(status));
  }

  #updateNotice(gone: boolean): void {
    const { model, kernel, asked, late, refused, hint } = this.session;
    const lines = [refused || model.get("message"), kernel.fileError, hint, model.get("notice")];
    const error = lines.slice(0, 2).some(Boolean);
    if (gone) {
      lines.push("There is no kernel behind this Microscope. Looking still works; to paint, run its cell again.");
    } else if (late) {
      const what = { run: "It paints", entry: "It goes there", open: "It opens the file", "": "" }[asked];
      lines.push(`The kernel does not answer: it is busy with a cell. ${what} as soon as it is free.`);
    }
    this.#notice.update(lines, error);
  }

  #updateHistory(able: boolean): void {
    const [entries, current] = [this.session.model.get("_entries"), this.session.model.get("_entry")];
    const lines = JSON.stringify(entries);
    if (lines !== this.#lines) {
      this.#lines = lines;
      put(this.#history, ...[...entries].reverse().map((entry) => h("option", { value: entry.number }, title(entry))));
    }
    this.#history.value = String(current);
    this.#history.hidden = entries.length < 2;
    this.#history.disabled = !able;
  }

  /** Show the widgets of a tab. What they had on screen stays with their sessions. */
  #updatePane(view: ViewName): void {
    const { parts, needs, hole, folded, whole } = PANES[view];
    const { model } = this.session;
    const there = model.get("_has").includes(needs);
    const words = wordsIn(model.get("prompt"));
    const text = needs === "tokens" && words > 1 ? hole.replace("each word", `each of the ${words} words`) : hole;
    const now = there ? `${view} there` : text;
    if (now === this.#shown) return;
    this.#shown = now;
    for (const end of this.#panes) end();
    const frames = (there ? parts : []).map(() => h("div", { class: "dlw-part" }));
    put(this.#tabs.pane, ...(there ? frames : [h("div", { class: "dlw-nothing" }, text)]));
    this.#panes = frames.map((el, index) => this.session.render(parts[index]!, el, folded, whole));
  }

  /** For screen readers: how far the run is. */
  #progress(status: Status): string {
    const { model } = this.session;
    if (status === "running") {
      const parts = model.get("_parts");
      const running = (Object.keys(parts) as PartName[]).find((part) => parts[part].status === "running") ?? "lens";
      const { layers_done, layers_total } = (parts[running].progress ?? {}) as Record<string, number>;
      return layers_total ? `Painting: ${layers_done} of ${layers_total} layers` : "Painting";
    }
    const words = { empty: "", done: "Painted", stopped: "Stopped", failed: "The run failed", running: "" };
    return words[status];
  }
}

/** An entry of the history in one line. */
function title({ number, prompt, seed, second, parts, status }: Entry): string {
  const more = [parts.includes("tokens") && "words", parts.includes("patch") && "patch"];
  const facts = [`seed ${seed}`, ...more, second && `and “${second}”`, status !== "done" && status];
  return `${number} · ${prompt} · ${facts.filter(Boolean).join(" · ")}`;
}

export default widget<ScopeTraits>(
  (model) => new ScopeSession(model),
  (session) => new View(session as ScopeSession),
);
