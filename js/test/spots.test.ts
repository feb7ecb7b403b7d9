// Spots: which picture is on screen, and which come next.
import assert from "node:assert/strict";
import { test } from "node:test";
import { beside, keptOf, keyOf, spotOf, spotsAlong, waysFrom, type Way } from "../src/shared/spots";
import { modelOf } from "./helpers";

const MASKS = [
  { token: 2, positions: [2, 3] },
  { token: -1, positions: [6, 7, 8] },
];
const model = (values: object) =>
  modelOf({ layer: 2, step: null, token: null, layers: [0, 1, 2, 4], snapshots: [], token_masks: [], ...values });

test("a picture has one key", () => {
  assert.equal(keyOf({ layer: 3, step: null, token: null }), "layer/3");
  assert.equal(keyOf({ layer: 3, step: 5, token: null }), "layer/3/step/5");
  assert.equal(keyOf({ layer: 3, step: null, token: -2 }), "layer/3/token/-2");
  assert.equal(keyOf({ layer: 3, step: 5, token: 0 }), "layer/3/token/0"); // only the whole prompt has steps
});

test("what is not there is the nearest below, and before the first the first", () => {
  const axes = { layers: [2, 4, 8], snapshots: [3, 9] };
  const at = (layer: number, step: number | null) => spotOf(model({ layer, step, ...axes }));
  assert.deepEqual(at(4, 9), { layer: 4, step: 9, token: null });
  assert.deepEqual(at(7, 8), { layer: 4, step: 3, token: null });
  assert.deepEqual(at(12, 99), { layer: 8, step: 9, token: null });
  assert.deepEqual(at(0, 0), { layer: 2, step: 3, token: null });
  assert.deepEqual(at(8, null), { layer: 8, step: null, token: null });
});

test("without layers and steps the traits are taken as they are", () => {
  const spot = spotOf(model({ layer: 5, step: 3, layers: [], snapshots: [] }));
  assert.deepEqual(spot, { layer: 5, step: null, token: null });
});

test("a token with pictures of its own has no steps", () => {
  const spot = spotOf(model({ token: -1, step: 3, snapshots: [3], token_masks: MASKS }));
  assert.deepEqual(spot, { layer: 2, step: null, token: -1 });
});

test("a word is kept by any of its pieces, and a token that is not kept is the whole prompt", () => {
  const kept = (token: number | null) => keptOf(model({ token, token_masks: MASKS }))?.token;
  assert.equal(kept(2), 2);
  assert.equal(kept(3), 2);
  assert.equal(kept(-1), -1);
  assert.equal(kept(7), undefined); // padding is chosen as a whole
  assert.equal(kept(5), undefined);
  assert.equal(kept(null), undefined);
  assert.equal(spotOf(model({ token: 5, token_masks: MASKS })).token, null);
});

test("only the whole prompt with snapshots is played along its steps", () => {
  assert.deepEqual(waysFrom(model({})), ["layer+", "layer-"]);
  assert.deepEqual(waysFrom(model({ snapshots: [0] })), ["layer+", "layer-", "step+", "step-"]);
  assert.deepEqual(waysFrom(model({ snapshots: [0], token: 2, token_masks: MASKS })), ["layer+", "layer-"]);
});

test("the way goes round once, without the spot on screen", () => {
  const layers = (way: Way, layer: number) => spotsAlong(model({ layer }), way).map((spot) => spot.layer);
  assert.deepEqual(layers("layer+", 1), [2, 4, 0]);
  assert.deepEqual(layers("layer-", 1), [0, 4, 2]);
  assert.deepEqual(layers("layer+", 4), [0, 1, 2]);
  const kept = (step: number | null) => model({ step, snapshots: [0, 9] });
  const steps = (way: Way, step: number | null) => spotsAlong(kept(step), way).map((spot) => spot.step);
  assert.deepEqual(steps("step+", null), [0, 9]); // the finished picture is the last step
  assert.deepEqual(steps("step+", 9), [null, 0]);
  assert.deepEqual(steps("step-", 0), [null, 9]);
});

test("where there are no steps, their way is that of the layers", () => {
  assert.deepEqual(spotsAlong(model({ layer: 1 }), "step-").map((spot) => spot.layer), [0, 4, 2]);
});

test("what is not on the way stays", () => {
  const along = spotsAlong(model({ token: 3, token_masks: MASKS }), "layer+");
  assert.deepEqual(new Set(along.map((spot) => spot.token)), new Set([2]));
});

test("beside a value are its neighbours in the list", () => {
  assert.deepEqual(beside([0, 4, 8, 12], 4), [0, 8]);
  assert.deepEqual(beside([0, 4, 8, 12], 0), [4]);
  assert.deepEqual(beside([0, 5, null], null), [5]);
  assert.deepEqual(beside([0, 4], 7), []);
  assert.deepEqual(beside([], 0), []);
});
