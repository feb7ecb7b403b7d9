// Sentences that depend on numbers.
import assert from "node:assert/strict";
import { test } from "node:test";
import { faint } from "../src/attention/scene";
import { progressText } from "../src/shared/progress";

test("a word that is dark all over says what shows it", () => {
  const column = (text: string) => ({ token: 1, text, kind: "word" as const, positions: [1] });
  const heat = (scale: number) => ({ plane: { values: new Uint8Array(1), scale, width: 1, height: 1 }, most: 0.27, ramp: 0 });
  assert.equal(faint([]), "");
  assert.equal(faint([{ column: column("and"), heat: heat(0.2) }]), "");
  const two = [{ column: column("and"), heat: heat(0.27) }, { column: column("<b>"), heat: heat(0.06) }];
  assert.equal(faint(two), "“<b>” gets 0.060 at most: “Range per cell” shows where.");
});

test("one is not several", () => {
  assert.equal(progressText("done", 1, 1, "layers"), "1 layer");
  assert.equal(progressText("done", 1, 1, "epochs validated"), "1 epoch validated");
  assert.equal(progressText("done", 13, 13, "layers"), "13 layers");
  assert.equal(progressText("done", 0, 1, "layers"), "0 of 1 layers");
});
