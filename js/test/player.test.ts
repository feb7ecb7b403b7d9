// Player: with the test's own clock in place of timers.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { Player } from "../src/shared/player";

let due: { at: number; call: () => void }[] = [];
let now = 0;

beforeEach(() => {
  [due, now] = [[], 0];
  const set = (call: () => void, wait: number) => due.push({ at: now + wait, call });
  const clear = (timer: number) => (due = due.filter((_, index) => index + 1 !== timer));
  Object.assign(globalThis, { window: { setTimeout: set }, clearTimeout: clear });
});

function pass(ms: number): void {
  const end = now + ms;
  for (;;) {
    const next = due.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
    if (!next) break;
    now = next.at;
    due = due.filter((each) => each !== next);
    next.call();
  }
  now = end;
}

test("it goes on at once, and then so many times a second", () => {
  let steps = 0;
  const player = new Player(() => (steps++, true));
  player.play();
  assert.equal(steps, 1);
  pass(499);
  assert.equal(steps, 1);
  pass(1);
  assert.equal(steps, 2);
  player.setSpeed(8);
  pass(1000);
  assert.equal(steps, 10);
});

test("it pauses, does not play on, and tells its listeners", () => {
  let [steps, notified] = [0, 0];
  const player = new Player(() => (steps++, true));
  const off = player.listen(() => notified++);
  player.toggle();
  assert(player.playing);
  player.toggle();
  assert(!player.playing);
  player.pause(); // once more, which tells nobody
  pass(5000);
  assert.deepEqual([steps, notified], [1, 2]);
  off();
  player.setWay("step-");
  assert.deepEqual([player.way, notified], ["step-", 2]);
});

test("where there is nothing to go to it stops by itself", () => {
  let left = 3;
  const player = new Player(() => left-- > 0);
  player.play();
  pass(10_000);
  assert(!player.playing);
  assert.equal(due.length, 0);
  player.play();
  assert(!player.playing);
});

test("another speed does not start what is paused", () => {
  let steps = 0;
  const player = new Player(() => (steps++, true));
  player.setSpeed(4);
  pass(5000);
  assert.equal(steps, 0);
});
