// FrameStore and BitmapCache: pictures are decoded when they are shown, and few of them stay decoded.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { MOST_PIXELS, THUMB_SIDE } from "../src/shared/bitmaps";
import { FrameStore } from "../src/shared/store";
import { bytesOf, Decoder, frame, settle } from "./helpers";

let decoder: Decoder;
beforeEach(() => {
  decoder = new Decoder();
  decoder.install();
});

test("a long training is taken in without decoding a picture", async () => {
  const store = new FrameStore();
  for (let each = 0; each < 650; each++) await store.offer(`epoch/${each}`, frame([1, each % 256]));
  assert.equal(decoder.decoded, 0);
  assert(store.get("epoch/649")!.final);
  assert.equal(store.size, undefined);
});

test("all thumbs of a matrix are decoded once, and few bitmaps stay", async () => {
  const store = new FrameStore();
  const limit = MOST_PIXELS / (512 * 512);
  for (let each = 0; each < 650; each++) await store.offer(`epoch/${each}`, frame([1, each % 256, each >> 8]));
  const drawn = await Promise.all(
    Array.from({ length: 650 }, async (_, each) => {
      const bitmap = (await store.get(`epoch/${each}`)!.load()) as any;
      return bitmap.closed ? "closed" : bitmap.bytes[1] + 256 * bitmap.bytes[2];
    }),
  );
  assert.deepEqual(drawn, Array.from({ length: 650 }, (_, each) => each));
  assert.equal(decoder.decoded, 650);
  assert.equal(decoder.open, limit);
  assert(decoder.mostOpen <= limit + 8, `${decoder.mostOpen} bitmaps were open`);
  assert(decoder.mostRunning <= 8, `${decoder.mostRunning} were decoded at a time`);
});

test("thumbs are small, and hundreds of them stay decoded", async () => {
  const store = new FrameStore();
  for (let each = 0; each < 300; each++) await store.offer(`epoch/${each}`, frame([1, each % 256, each >> 8]));
  const thumbs = () => Promise.all(Array.from({ length: 300 }, (_, each) => store.get(`epoch/${each}`)!.thumb()));
  const first = await thumbs();
  assert.deepEqual(new Set(first.map((bitmap) => bitmap!.width)), new Set([THUMB_SIDE]));
  assert.equal(decoder.decoded, 301); // one of full size, which told the size
  assert.deepEqual(await thumbs(), first);
  assert.equal(decoder.decoded, 301);
  assert.equal((await store.get("epoch/7")!.load())!.width, 512);
  await store.offer("epoch/7", frame([2]));
  store.dispose();
  assert.equal(decoder.open, 0);
});

test("small pictures are their own thumbs", async () => {
  const store = new FrameStore();
  decoder.size = 64;
  await store.offer("a", frame([1]));
  assert.equal(await store.get("a")!.thumb(), await store.get("a")!.load());
});

test("a broken picture does not keep the thumbs of the others back", async () => {
  const store = new FrameStore();
  await store.offer("a", frame([0]));
  await store.offer("b", frame([1]));
  assert.deepEqual(await Promise.all([store.get("a")!.thumb(), store.get("b")!.thumb()].map(async (each) => !!(await each))), [false, true]);
});

test("the bound is one of pixels: large pictures are fewer", async () => {
  const store = new FrameStore();
  decoder.size = 1024;
  for (let each = 0; each < 40; each++) {
    await store.offer(String(each), frame([1, each]));
    await store.get(String(each))!.load();
  }
  assert.equal(decoder.open, 16);
});

test("even a picture that is larger than the bound is shown", async () => {
  const store = new FrameStore();
  decoder.size = 8192;
  await store.offer("a", frame([1]));
  assert(await store.get("a")!.load());
  assert.equal(decoder.open, 1);
});

test("what was used last stays decoded, and what was closed is decoded again", async () => {
  const store = new FrameStore();
  for (let each = 0; each < 64; each++) {
    await store.offer(String(each), frame([1, each]));
    await store.get(String(each))!.load();
  }
  await store.get("0")!.load();
  await store.offer("more", frame([1]));
  await store.get("more")!.load();
  assert.equal(decoder.decoded, 65);
  await store.get("0")!.load(); // still there
  assert.equal(decoder.decoded, 65);
  const again = await store.get("1")!.load(); // made room
  assert.deepEqual(bytesOf(again), [1, 1]);
  assert.equal(decoder.decoded, 66);
  assert.equal(decoder.open, 64);
});

test("two views that show one picture decode it once", async () => {
  const store = new FrameStore();
  await store.offer("a", frame([1]));
  const [one, other] = await Promise.all([store.get("a")!.load(), store.get("a")!.load()]);
  assert.equal(one, other);
  assert.equal(decoder.decoded, 1);
});

test("the size is known with the first decoded picture, and listeners are notified", async () => {
  const store = new FrameStore();
  let notified = 0;
  store.listen(() => notified++);
  await store.offer("a", frame([1]));
  assert.equal(notified, 1);
  await store.get("a")!.load();
  assert.equal(notified, 2);
  assert.deepEqual(store.size, { width: 512, height: 512 });
});

test("a preview on screen stays until the next one is decoded", async () => {
  const store = new FrameStore();
  await store.offer("a", frame([1], { final: false, step: 2 }));
  const first = store.get("a")!;
  await first.load();
  decoder.held = [];
  const offered = store.offer("a", frame([2], { final: false, step: 4 }));
  await settle();
  assert.equal(store.get("a"), first);
  decoder.finish();
  await offered; // the kernel hears of it only now
  assert.equal(store.get("a")!.step, 4);
  assert.equal(decoder.open, 1);
});

test("of what nobody looks at only the newest is decoded, when it is shown", async () => {
  const store = new FrameStore();
  for (let step = 1; step < 9; step++) await store.offer("a", frame([step], { final: false, step }));
  assert.deepEqual(bytesOf(await store.get("a")!.load()), [8]);
  assert.equal(decoder.decoded, 1);
});

test("while one is decoded a newer one overtakes it", async () => {
  const store = new FrameStore();
  await store.offer("a", frame([1], { final: false, step: 1 }));
  await store.get("a")!.load();
  decoder.held = [];
  const late = store.offer("a", frame([2], { final: false, step: 2 }));
  await settle();
  const newest = store.offer("a", frame([3], { final: false, step: 3 }));
  await settle();
  decoder.finish();
  await Promise.all([late, newest]);
  assert.equal(store.get("a")!.step, 3);
  assert.equal(decoder.open, 1);
});

test("no preview replaces a finished picture, and the same one is not taken twice", async () => {
  const store = new FrameStore();
  await store.offer("a", frame([1, 2]));
  const finished = store.get("a");
  await store.offer("a", frame([3], { final: false }));
  await store.offer("a", frame([4, 5]));
  assert.equal(store.get("a"), finished);
  await store.offer("a", frame([6, 7, 8])); // another one: a run was painted again
  assert(store.get("a") !== finished);
});

test("a picture that cannot be decoded is none, and another may try", async () => {
  const store = new FrameStore();
  const warn = console.warn;
  console.warn = () => {};
  try {
    await store.offer("a", frame([0, 1]));
    assert.equal(await store.get("a")!.load(), undefined);
    assert.equal(store.get("a"), undefined);
    await store.offer("a", frame([1, 1]));
    const good = store.get("a")!;
    assert(await good.load());
    await store.offer("a", frame([0, 1, 1])); // broken: the one before stays
    assert.equal(store.get("a"), good);
  } finally {
    console.warn = warn;
  }
});

test("a later run takes all away, and a late frame of the earlier one is ignored", async () => {
  const store = new FrameStore();
  await store.offer("a", frame([1], { run: 1 }));
  await store.offer("maps/3", frame([1], { run: 1, mime: "application/octet-stream" }));
  await store.get("a")!.load();
  const former = store.get("a")!;
  assert(store.begin(2));
  assert.deepEqual([store.get("a"), store.others.size, store.size, decoder.open], [undefined, 0, undefined, 0]);
  assert(!store.begin(1));
  await store.offer("b", frame([1], { run: 1 }));
  assert.equal(store.get("b"), undefined);
  assert.equal(await former.load(), undefined);
});

test("what is being decoded when all goes is closed", async () => {
  const store = new FrameStore();
  decoder.held = [];
  await store.offer("a", frame([1]));
  const loading = store.get("a")!.load();
  await settle();
  store.dispose();
  decoder.finish();
  assert.equal(await loading, undefined);
  assert.equal(decoder.open, 0);
  await store.offer("b", frame([1]));
  assert.equal(store.get("b"), undefined);
});

test("a part of a larger message is decoded, and no more of it", async () => {
  const store = new FrameStore();
  const message = Uint8Array.from([9, 9, 1, 2, 3, 9]).buffer;
  await store.offer("a", frame([], { data: new DataView(message, 2, 3) }));
  assert.deepEqual(bytesOf(await store.get("a")!.load()), [1, 2, 3]);
});

test("what is no picture is kept as it came", async () => {
  const store = new FrameStore();
  const entry = frame([1, 2], { mime: "application/octet-stream" });
  await store.offer("maps/3", entry);
  assert.equal(store.others.get("maps/3"), entry);
  assert.equal(store.get("maps/3"), undefined);
});
