// What the widgets say: caption, layers, steps, tokens, progress, file names.
import assert from "node:assert/strict";
import { test } from "node:test";
import { layerText, list, originText, placeName, spotText, stepText, tokenLabel, wordsIn } from "../src/layer_slider_words";
import { settingFacts, wordsOf } from "../src/shared/caption";
import { layerName } from "../src/shared/model";
import { progressText } from "../src/shared/progress";
import { fileName } from "../src/shared/save";
import { strideOf } from "../src/shared/thumb";
import { tokensOf } from "./helpers";

test("the words of the caption: pieces together, padding apart", () => {
  const words = wordsOf(tokensOf("a", "chamele", "+ons", "cat"));
  assert.deepEqual(
    words.map((word) => word.map(({ text }) => text)),
    [["<|startoftext|>"], ["a"], ["chamele", "ons"], ["cat"], ["<|endoftext|>"]],
  );
  assert.deepEqual(wordsOf([]), []);
  assert.deepEqual(wordsOf([{ index: 0, text: "user", kind: "template", is_continuation: false }]), []);
  assert.equal(wordsOf([{ index: 0, text: "ons", kind: "word", is_continuation: true }]).length, 1);
});

test("the facts of the settings, and only those there are", () => {
  const settings = { seed: 0, guidance_scale: 7.5, model: "difflens-tiny" };
  assert.deepEqual(settingFacts(settings), ["seed 0", "guidance 7.5", "difflens-tiny"]);
  assert.deepEqual(settingFacts({ model: "/home/me/models/sd15/" }), ["sd15"]);
  assert.deepEqual(settingFacts({ model: "C:\\models\\sd15" }), ["sd15"]);
  assert.deepEqual(settingFacts({ model: "owner/name" }), ["name"]);
  assert.deepEqual(settingFacts({ model: "/" }), ["/"]);
  assert.deepEqual(settingFacts({ seed: 0, quality: "draft" }), ["draft", "seed 0"]);
  assert.deepEqual(settingFacts({ seed: 0, quality: "exact" }), ["seed 0"]);
  assert.deepEqual(settingFacts({}), []);
});

test("an ablation is not called a layer", () => {
  assert.equal(layerName({}, 0), "layer 0");
  assert.equal(layerText({}, 7, 13), "layer 7 of 12");
  assert.equal(layerText({ method: "lens" }, 12, 13), "layer 12 of 12");
  assert.equal(layerText({ method: "patch" }, 7, 13), "at block 7 of 12");
  assert.equal(layerText({ method: "steer" }, 0, 13), "at the embeddings");
  assert.equal(layerText({ method: "ablation" }, 0, 13), "nothing skipped");
  assert.equal(layerText({ method: "ablation" }, 1, 13), "block 1 skipped");
});

test("a patch and steering are named by what is changed and where", () => {
  const settings = { method: "patch", source: "a blue square on a red background" };
  const masks = [{ token: -3, positions: [2], label: "red ← blue" }];
  assert.equal(tokenLabel(-3, tokensOf("a", "red"), masks, "unpatched"), "red ← blue");
  assert.equal(tokenLabel(null, tokensOf("a", "red"), masks, "unpatched"), "unpatched");
  assert.deepEqual(spotText(settings, -3, layerText(settings, 7, 13), "red ← blue"), ["red ← blue at block 7 of 12"]);
  assert.deepEqual(spotText(settings, null, layerText(settings, 7, 13), "unpatched"), ["unpatched"]);
  assert.deepEqual(spotText({}, 2, "layer 7", "only “red”"), ["layer 7", "only “red”"]);
  assert.equal(placeName({ method: "steer" }, 0), "at the embeddings");
  assert.equal(layerText({ method: "output patch" }, 12, 13), "in the output");
  assert.equal(originText(settings, 12), "source “a blue squa…”");
  assert.equal(originText({ direction: ["a", "b"] }, 12), "direction “a” − “b”");
  assert.equal(originText({}, 12), "");
});

test("a block without the text is named", () => {
  const settings = { method: "text ablation", without_text: ["mid_block", "up_blocks.1"] };
  assert.deepEqual(
    [0, 2, 3].map((layer) => layerText(settings, layer, 3)),
    ["text in all blocks", "no text in up_blocks.1", "text in all blocks"],
  );
});

test("how far a picture is", () => {
  type Painted = [step: number, final: boolean];
  const text = (at: number | null, [step, final]: Painted, steps?: number, requested: number | null = null) =>
    stepText({ layer: 3, step: at, token: null }, { step, final }, steps, requested);
  assert.equal(text(null, [20, true], 20), "step 20/20");
  assert.equal(text(null, [12, false], 20), "preview · step 12/20");
  assert.equal(text(null, [12, false]), "preview · step 12");
  assert.equal(text(null, [0, true]), ""); // a file that does not say how many there were
  assert.equal(text(5, [6, true], 20, 5), "prediction at step 6/20");
  assert.equal(text(8, [9, true], 20, 10), "prediction at step 9/20 (step 11 is not kept)");
  assert.equal(text(null, [20, true], 20, 10), "step 20/20 (step 11 is not kept)");
});

test("what a row of the grid keeps", () => {
  const tokens = tokensOf("a", "chamele", "+ons", "cat");
  const masks = [{ token: 2, positions: [2, 3] }];
  const label = (token: number | null) => tokenLabel(token, tokens, masks);
  assert.deepEqual([label(null), label(-1), label(-2)], ["whole prompt", "padding only", "prompt only"]);
  assert.equal(label(2), "chameleons");
  assert.equal(label(4), "cat"); // not kept: only marked
  assert.equal(label(0), "start");
  assert.equal(label(5), "end");
  assert.equal(label(-9), "");
  assert.equal(tokenLabel(1, tokens, [{ token: 1, positions: [1, 4] }]), "a cat");
});

test("progress, and how long the rest takes", () => {
  assert.equal(progressText("running", 9, 13, "layers", 4.1234), "9 of 13 layers · 4.1 s left");
  assert.equal(progressText("running", 9, 13, "layers", 0), "9 of 13 layers · 0.0 s left");
  assert.equal(progressText("running", 9, 13, "layers", 45.6), "9 of 13 layers · 46 s left");
  assert.equal(progressText("running", 9, 13, "layers", 90), "9 of 13 layers · 2 min left");
  assert.equal(progressText("running", 0, 13, "layers", null), "0 of 13 layers");
  assert.equal(progressText("running", 13, 13, "layers"), "13 of 13 layers");
  assert.equal(progressText("done", 13, 13, "layers", 3), "13 layers");
  assert.equal(progressText("done", 12, 13, "layers"), "12 of 13 layers"); // one failed
  assert.equal(progressText("failed", 4, 13, "layers"), "4 of 13 layers");
  assert.equal(progressText("stopped", 4, 13, "layers", 9), "stopped · 4 of 13 layers");
});

test("file names have letters and digits of any language, and nothing else", () => {
  assert.equal(fileName("lens", "A pink cat!", "layer", 12), "lens-a-pink-cat-layer-12");
  assert.equal(fileName("../../etc/passwd"), "etc-passwd");
  assert.equal(fileName("eine Katze, 猫"), "eine-katze-猫");
  assert.equal(fileName("…"), "lens");
  const long = fileName("lens", "very ".repeat(40));
  assert(long.length <= 60 && !long.endsWith("-"));
});

test("parts of a sentence", () => {
  assert.equal(list("layer 3", "", "painted"), "layer 3, painted");
});

test("labels are thinned out where they have too little room", () => {
  assert.equal(strideOf(13, 22, 700), 1);
  assert.equal(strideOf(13, 22, 286), 1);
  assert.equal(strideOf(13, 22, 285), 2);
  assert.equal(strideOf(50, 22, 300), 4);
  assert(strideOf(13, 22, 0) < 2); // not laid out yet
});

test("a prompt has a row for each word and for each mark", () => {
  assert.deepEqual(["", "cat", "a dog, b cat.", " a   Überraschung "].map(wordsIn), [0, 1, 6, 2]);
});
