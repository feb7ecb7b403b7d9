// Caption: the prompt as token chips, and facts about the picture on screen.
import { h, put } from "./dom";
import type { Settings, Token } from "./model";

/** The text on the chips of special tokens. */
export const SPECIAL: Partial<Record<Token["kind"], string>> = { bos: "start", eos: "end" };

export class Caption {
  readonly el = h("div", { class: "dlw-caption" });
  readonly #chips = h("div", { class: "dlw-chips" });
  readonly #facts = h("div", { class: "dlw-facts" });
  #shown: Token[] | null = null;

  constructor() {
    put(this.el, this.#chips, this.#facts);
  }

  update(tokens: Token[], marked: (number | null)[], facts: string[], title: string): void {
    if (tokens !== this.#shown) {
      this.#shown = tokens;
      put(this.#chips, ...chips(tokens));
    }
    for (const chip of this.#chips.querySelectorAll<HTMLElement>(".dlw-chip")) {
      chip.classList.toggle("dlw-marked", marked.includes(Number(chip.dataset.index)));
    }
    if (this.#facts.textContent !== facts.join(" · ")) {
      // a fact is not broken over two lines
      put(this.#facts, ...facts.flatMap((fact, index) => [index > 0 && " · ", h("span", {}, fact)]));
    }
    this.#facts.title = title;
  }
}

/** The tokens without padding, word by word: a continuation belongs to the word before it. */
export function wordsOf(tokens: Token[]): Token[][] {
  const words: Token[][] = [];
  for (const token of tokens) {
    const last = words.at(-1);
    if (token.kind === "pad") continue;
    if (token.is_continuation && last) last.push(token);
    else words.push([token]);
  }
  return words;
}

function chipOf(token: Token): HTMLElement {
  const name = SPECIAL[token.kind];
  const title = `token ${token.index}` + (name ? `: ${token.text}` : "");
  const about = { class: name ? "dlw-chip dlw-chip-quiet" : "dlw-chip", "data-index": token.index, title };
  return h("span", about, name ?? token.text);
}

/** One element for each word, with a chip for each of its tokens; all padding is one chip. */
function chips(tokens: Token[]): HTMLElement[] {
  const words: HTMLElement[] = wordsOf(tokens).map((word) => h("span", { class: "dlw-word" }, ...word.map(chipOf)));
  const pads = tokens.filter((token) => token.kind === "pad");
  if (pads[0]) {
    const title = `${pads.length} padding tokens fill the text encoder's input`;
    const about = { class: "dlw-chip dlw-chip-quiet", "data-index": pads[0].index, title };
    words.push(h("span", about, `· ${pads.length} pad`));
  }
  return words;
}

/** Settings in words: `draft` (only of one), `seed 0`, `guidance 7.5`, `difflens-tiny` (a model's folder without the path to it). */
export function settingFacts(settings: Settings): string[] {
  const facts: string[] = [];
  if (settings.quality === "draft") facts.push("draft");
  if (settings.seed !== undefined) facts.push(`seed ${settings.seed}`);
  if (settings.guidance_scale !== undefined) facts.push(`guidance ${settings.guidance_scale}`);
  if (settings.model) facts.push(settings.model.split(/[\\/]/).filter(Boolean).at(-1) ?? settings.model);
  return facts;
}
