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

/** The tokens without padding and template, word by word: a continuation belongs to the word before it. */
export function wordsOf(tokens: Token[]): Token[][] {
  const words: Token[][] = [];
  for (const token of tokens) {
    const last = words.at(-1);
    if (token.kind === "pad" || token.kind === "template") continue;
    if (token.is_continuation && last) last.push(token);
    else words.push([token]);
  }
  return words;
}

function chipOf(token: Token): HTMLElement {
  const name = SPECIAL[token.kind];
  const title = `token ${token.index}` + (name ? `: ${token.text}` : "");
  const about = { class: name ? "dlw-chip dlw-chip-quiet" : "dlw-chip", "data-index": token.index, title };
  return h("span", about, name ?? (token.text || "…")); // "": more bytes of a character, or a space
}

/** One element for each word, with a chip for each of its tokens; all of the template is one chip, and all padding. */
function chips(tokens: Token[]): HTMLElement[] {
  const words: HTMLElement[] = wordsOf(tokens).map((word) => h("span", { class: "dlw-word" }, ...word.map(chipOf)));
  const folded = { template: "tokens of the pipeline around the prompt", pad: "padding tokens fill the input" };
  for (const [kind, what] of Object.entries(folded)) {
    const found = tokens.filter((token) => token.kind === kind);
    const count = found.length;
    if (!found[0]) continue;
    const about = { class: "dlw-chip dlw-chip-quiet", "data-index": found[0].index, title: `${count} ${what}` };
    words.push(h("span", about, `· ${count} ${kind}`));
  }
  return words;
}

/** Settings in words: `draft` (only of one), `seed 0`, `guidance 7.5`, `difflens-tiny` (a model's folder without the path to it). */
export function settingFacts({ quality, seed, guidance_scale, model }: Settings): string[] {
  return [
    quality === "draft" && quality,
    seed !== undefined && `seed ${seed}`,
    guidance_scale !== undefined && `guidance ${guidance_scale}`,
    model && (model.split(/[\\/]/).filter(Boolean).at(-1) ?? model),
  ].filter((fact): fact is string => !!fact);
}
