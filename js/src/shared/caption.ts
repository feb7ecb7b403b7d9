// Caption: the prompt as token chips, and the facts that are true of what is painted.
import { h, put } from "./dom";
import type { Settings, Token } from "./model";

/** What the chips of special tokens say. */
export const SPECIAL: Partial<Record<Token["kind"], string>> = { bos: "start", eos: "end" };

export class Caption {
  readonly el = h("div", { class: "dlw-caption" });
  private readonly chips = h("div", { class: "dlw-chips" });
  private readonly facts = h("div", { class: "dlw-facts" });
  private shown: Token[] | null = null;

  constructor() {
    put(this.el, this.chips, this.facts);
  }

  update(tokens: Token[], marked: (number | null)[], facts: string[], title: string): void {
    if (tokens !== this.shown) {
      this.shown = tokens;
      put(this.chips, ...chips(tokens));
    }
    for (const chip of this.chips.querySelectorAll<HTMLElement>(".dlw-chip")) {
      chip.classList.toggle("dlw-marked", marked.includes(Number(chip.dataset.index)));
    }
    if (this.facts.textContent !== facts.join(" · ")) {
      // each in one piece where the line breaks
      put(this.facts, ...facts.flatMap((fact, index) => [index > 0 && " · ", h("span", {}, fact)]));
    }
    this.facts.title = title;
  }
}

/** One element per word, its pieces is_continuation; all padding is one chip. */
function chips(tokens: Token[]): HTMLElement[] {
  const words: HTMLElement[] = [];
  for (const token of tokens) {
    if (token.kind === "pad") continue;
    const name = SPECIAL[token.kind];
    const chip = h(
      "span",
      {
        class: name ? "dlw-chip dlw-chip-quiet" : "dlw-chip",
        "data-index": token.index,
        title: `token ${token.index}` + (name ? `: ${token.text}` : ""),
      },
      name ?? token.text,
    );
    const last = words.at(-1);
    if (token.is_continuation && last) last.append(chip);
    else words.push(h("span", { class: "dlw-word" }, chip));
  }
  const pads = tokens.filter((token) => token.kind === "pad");
  if (pads[0]) {
    const title = `${pads.length} padding tokens fill the text encoder's input`;
    const about = { class: "dlw-chip dlw-chip-quiet", "data-index": pads[0].index, title };
    words.push(h("span", about, `· ${pads.length} pad`));
  }
  return words;
}

/** Settings as people write them: `seed 0`, `guidance 7.5`, `difflens-tiny`. */
export function settingFacts(settings: Settings): string[] {
  const facts: string[] = [];
  if (settings.seed !== undefined) facts.push(`seed ${settings.seed}`);
  if (settings.guidance_scale !== undefined) facts.push(`guidance ${settings.guidance_scale}`);
  if (settings.model) facts.push(settings.model.split(/[\\/]/).filter(Boolean).at(-1) ?? settings.model);
  return facts;
}
