// What the LayerSlider says of a picture, as text.
import { SPECIAL } from "./shared/caption";
import { layerName, type Settings, type Token } from "./shared/model";
import type { Spot, TokenMask } from "./shared/spots";

/** Parts of a sentence that are there, with commas between them. */
export const list = (...parts: string[]) => parts.filter(Boolean).join(", ");

/** `layer 7 of 12`, or of an ablation `block 7 skipped`. */
export function layerText(settings: Settings, layer: number, count: number): string {
  const name = layerName(settings, layer);
  return settings.method === "ablation" ? name : `${name} of ${count - 1}`;
}

/** What a row of the grid keeps of the prompt: `pink`, or a part of it. A word is shown with all of its pieces. */
export function tokenLabel(token: number | null, tokens: Token[], masks: TokenMask[]): string {
  const parts: Record<string, string> = { null: "whole prompt", "-1": "padding only", "-2": "prompt only" };
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
