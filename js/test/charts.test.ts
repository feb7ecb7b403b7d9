// The arithmetic of the loss curve over epochs and of the curve of a measure over layers.
import assert from "node:assert/strict";
import { test } from "node:test";
import { heightOf, linesOf, number } from "../src/diff/spark";
import { curveOf, placeOf } from "../src/scrub/chart";

test("an epoch stands among the columns, in columns", () => {
  const columns = [0, 100, 200];
  assert.deepEqual([0, 50, 100, 200].map((epoch) => placeOf(columns, epoch)), [0.5, 1, 1.5, 2.5]);
  assert.deepEqual([-500, 900].map((epoch) => placeOf(columns, epoch)), [0.5, 3]); // never beyond the drawing
  assert.equal(placeOf([0, 10, 100], 55), 2); // columns need not be evenly apart
  assert.equal(placeOf([100], 100), 0.5);
  assert.equal(placeOf([100], 7), 0.5);
});

test("the curve fills the height, and a flat one is at the bottom", () => {
  const points: [number, number][] = [[0, 0.4], [100, 0.2], [200, 0.3]];
  const curve = curveOf(points, [0, 100, 200]);
  assert.deepEqual(curve.map(([x]) => x), [50, 150, 250]);
  assert.deepEqual(curve.map(([, y]) => Number(y.toFixed(6))), [6, 94, 50]);
  assert.deepEqual(curveOf([[0, 0.4]], [0, 100]), [[50, 94]]);
  assert.deepEqual(curveOf([], [0]), []);
});

test("a measure is drawn between 12 and 88 %, the highest value on top", () => {
  assert.deepEqual([0, 1, 2].map((value) => heightOf(value, 0, 2)), [88, 50, 12]);
  assert.equal(heightOf(3, 3, 3), 50);
});

test("raw is drawn against itself where the measure says what that gives", () => {
  const series = [{ label: "tuned", values: [0.1, null, 0.3] }];
  const measure = { name: "cosine", label: "cosine", unit: "", itself: 1, series };
  assert.deepEqual(linesOf(measure as any, 3), [
    { label: "raw with itself", look: "dlw-line-raw", values: [1, 1, 1] },
    { label: "tuned", look: "dlw-line-tuned", values: [0.1, null, 0.3] },
  ]);
  assert.equal(linesOf({ ...measure, itself: null } as any, 3).length, 1);
});

test("numbers have four digits, and rounding errors are 0", () => {
  assert.equal(number(0.123456), "0.1235");
  assert.equal(number(-1234.56), "−1235");
  assert.equal(number(1e-9), "0");
  assert.equal(number(0.99996), "1");
});
