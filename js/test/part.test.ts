// The model of a widget within the Microscope.
import assert from "node:assert/strict";
import { test } from "node:test";
import { PartModel, putBuffers } from "../src/scope/part";
import { modelOf } from "./helpers";

const data = (byte: number) => new DataView(new Uint8Array([byte]).buffer);

function owner() {
  const parts = { lens: { status: "done", _frames: {} as Record<string, unknown> }, second: { status: "empty" } };
  return modelOf({ layer: 3, step: null, token: null, _parts: parts });
}

test("traits of a part are in the owner's dict, and layer, step and token are the owner's", () => {
  const model = owner();
  const part = new PartModel(model, "lens");
  const heard: string[] = [];
  for (const name of ["status", "layer"]) part.on(`change:${name}`, () => heard.push(name));
  assert.equal(part.get("status"), "done");
  part.set("layer", 5);
  part.set("rows", "blocks");
  part.set("rows", "blocks");
  part.save_changes();
  part.save_changes();
  assert.deepEqual([model.get("layer"), part.get("rows")], [5, "blocks"]);
  assert.deepEqual(model.sent, [{ type: "part", part: "lens", state: { rows: "blocks" } }]);
  assert.deepEqual(heard, ["layer"]);
  part.send({ type: "hello" });
  assert.deepEqual(model.sent[1], { type: "part", part: "lens", content: { type: "hello" } });
});

test("shown whole, a run has no pictures of single words; those of a patch stay", () => {
  const model = owner();
  const part = new PartModel(model, "lens");
  const words = [{ token: 2, positions: [2] }];
  Object.assign((model.get("_parts") as any).lens, { token_masks: words });
  model.set("token", 2);
  assert.deepEqual([part.get("token"), part.get("token_masks")], [2, words]);
  part.whole = true;
  assert.deepEqual([part.get("token"), part.get("token_masks")], [2, []]); // the word stays marked
  assert.equal(part.get("token_masks"), part.get("token_masks"));
  const changes = [{ token: -3, positions: [2], label: "red ← blue" }];
  Object.assign((model.get("_parts") as any).lens, { token_masks: changes });
  assert.deepEqual([part.get("token"), part.get("token_masks")], [2, changes]);
});

test("what the kernel says to a part reaches that part alone, with its buffers", () => {
  const model = owner();
  const part = new PartModel(model, "lens");
  const heard: unknown[] = [];
  part.on("change:_frames", () => heard.push("frames"));
  part.on("msg:custom", (...what) => heard.push(what));
  const frames = { "layer/0": { mime: "image/webp" } };
  const paths = [["_frames", "layer/0", "data"]];
  model.tell("msg:custom", { type: "part", part: "second", state: { status: "running" } }, []);
  model.tell("msg:custom", { type: "part", part: "lens", state: { _frames: frames }, paths }, [data(7)]);
  const [content, buffers] = [{ type: "frame", key: "layer/1" }, [data(8)]];
  model.tell("msg:custom", { type: "part", part: "lens", content }, buffers);
  model.tell("msg:custom", { type: "alive" }, []);
  assert.deepEqual(heard, ["frames", [content, buffers]]);
  const kept = (model.get("_parts") as any).lens; // the saved notebook has it
  assert.equal(kept._frames["layer/0"].data.getUint8(0), 7);
  assert.equal(kept.status, "done");
  part.dispose();
  model.tell("msg:custom", { type: "part", part: "lens", content }, buffers);
  assert.equal(heard.length, 2);
  assert.equal(model.listeners(), 0);
});

test("a state that comes anew changes every trait", () => {
  const model = owner();
  const part = new PartModel(model, "second");
  const heard: string[] = [];
  const listener = () => heard.push("status");
  part.on("change:status", listener);
  model.set("_parts", { lens: {}, second: { status: "done" } });
  assert.deepEqual([heard, part.get("status")], [["status"], "done"]);
  part.off("change:status", listener);
  model.set("_parts", { lens: {}, second: { status: "done" } });
  assert.equal(heard.length, 1);
});

test("buffers are put at any depth", () => {
  const state = putBuffers({ a: [{ b: null }], c: {} }, [["a", 0, "b"], ["c", "d"]], [data(1), data(2)]);
  assert.deepEqual([state.a[0].b.getUint8(0), state.c.d.getUint8(0)], [1, 2]);
});
