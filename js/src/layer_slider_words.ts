// What the LayerSlider says of a picture, as text.
import { SPECIAL } from "./shared/caption";
import { layerName, type Settings, type Token } from "./shared/model";
import type { Spot, TokenMask } from "./shared/spots";

/** Parts of a sentence that are there, with commas between them. */
export const list = (...parts: string[]) => parts.filter(Boolean).join(", ");

/** How many rows of pictures a prompt has word by word: a mark between words is one too. */
export function wordsIn(prompt: string): number {
  return prompt.match(/[\p{L}\p{M}\p{N}]+|[^\s\p{L}\p{M}\p{N}]+/gu)?.length ?? 0;
}

/** What the pictures without a variant are called, in a run that has the same one for all layers. */
export function unchanged({ method }: Settings): string | undefined {
  return { patch: "unpatched", "output patch": "unpatched", steer: "not steered" }[method as string];
}

/** The name of a layer, as `RunRecord.place_of`. */
export function placeName(settings: Settings, layer: number): string {
  const { method, without_text } = settings;
  if (method === "output patch") return "in the output";
  if (method === "patch" || method === "steer") return layer ? `at block ${layer}` : "at the embeddings";
  if (method !== "text ablation") return layerName(settings, layer);
  const block = without_text?.[layer - 1];
  return block ? `no text in ${block}` : "text in all blocks";
}

/** `layer 7 of 12`, or of an ablation `block 7 skipped`. */
export function layerText(settings: Settings, layer: number, count: number): string {
  const name = placeName(settings, layer);
  const method = settings.method ?? "lens";
  const counted = method === "lens" || (["patch", "steer"].includes(method) && layer > 0);
  return counted ? `${name} of ${count - 1}` : name;
}

/** Which picture it is: `layer 7`, `only “red”`; or of a variant `red ← blue at block 7`. */
export function spotText(settings: Settings, token: number | null, where: string, part: string): string[] {
  if (!unchanged(settings)) return [where, part];
  return [token === null ? part : `${part} ${where}`];
}

/** Where the states of a patch or the direction of steering come from, each prompt of at most `most` letters. */
export function originText({ source, direction }: Settings, most: number): string {
  const quote = (text: string) => `“${text.length > most ? text.slice(0, most - 1) + "…" : text}”`;
  if (source !== undefined) return `source ${quote(source)}`;
  return direction ? `direction ${direction.map(quote).join(" − ")}` : "";
}

/**
 * What a row of the grid keeps of the prompt: `pink`, or a part of it. A word is shown with all of its pieces.
 * Of a variant its label; `whole` is the row with neither.
 */
export function tokenLabel(token: number | null, tokens: Token[], masks: TokenMask[], whole = "whole prompt"): string {
  const parts: Record<string, string> = { null: whole, "-1": "padding only", "-2": "prompt only" };
  const label = masks.find((row) => row.token === token)?.label;
  if (label !== undefined) return label;
  if (token === null || token < 0) return parts[String(token)] ?? "";
  const positions = masks.find((row) => row.token === token)?.positions ?? [token];
  const pieces = tokens.filter(({ index }) => positions.includes(index));
  const textOf = ({ text, kind }: Token) => (kind === "word" ? text : (SPECIAL[kind] ?? kind));
  return pieces.map((piece) => (piece.is_continuation ? "" : " ") + textOf(piece)).join("").trim();
}

/**
 * How far a picture is: `step 20/20`, `prediction at step 6/20` or `preview · step 12/20`.
 * `requested` is the step that the user or a linked widget asks for, where the nearest one below it is shown.
 */
export function stepText(
  spot: Spot,
  picture: { step: number; final: boolean },
  steps: number | undefined,
  requested: number | null,
): string {
  const count = `step ${picture.step}${steps ? `/${steps}` : ""}`;
  const missing = requested === null || requested === spot.step ? "" : ` (step ${requested + 1} is not kept)`;
  if (spot.step !== null) return `prediction at ${count}${missing}`;
  return picture.final ? (steps ? count + missing : "") : `preview · ${count}`;
}
