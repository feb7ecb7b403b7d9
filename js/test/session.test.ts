// Sessions: one for each model, whatever faces of it a host hands out; what they tell the kernel, and when.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { nextLayer } from "../src/shared/layers";
import { Session } from "../src/shared/session";
import { widget } from "../src/shared/widget";
import { Decoder, frame, modelOf, settle } from "./helpers";

beforeEach(() => {
  new Decoder().install();
  const ResizeObserver = class {
    observe() {}
    disconnect() {}
  };
  Object.assign(globalThis, { window: globalThis, ResizeObserver });
});

/** An element outside JupyterLab. */
const element = () => ({ closest: () => null, isConnected: true }) as unknown as HTMLElement;

const layersModel = (values: object = {}) =>
  modelOf({ status: "done", layer: 2, layers: [0, 1, 2], _run: 0, _frames: {}, _acknowledged: 0, ...values });

function define() {
  const shown: [session: Session<any>, el: unknown][] = [];
  const disposed: unknown[] = [];
  const factory = widget<any>(
    (model) => new Session<any>(model, nextLayer("layer"), () => "lens"),
    (session) => ({
      attach: (el) => void shown.push([session, el]),
      dispose: () => void disposed.push(session),
    }),
  );
  return { factory, shown, disposed };
}

/** As JupyterLab, Colab and marimo do: other proxies for `initialize` and `render`, marimo's with another manager. */
const proxy = (model: object) => ({ ...model, widget_manager: { get_model: () => null } }) as any;

test("initialize and render share a session, though they get different proxies with different managers", () => {
  const { factory, shown, disposed } = define();
  const model = layersModel();
  const definition = factory();
  const end = definition.initialize({ model: proxy(model) });
  const [one, other] = [element(), element()];
  const away = definition.render({ model: proxy(model), el: one! } as any);
  definition.render({ model: proxy(model), el: other! } as any);
  assert.equal(shown[0]![0], shown[1]![0]);
  assert.deepEqual(shown.map(([, el]) => el), [one, other]);
  away();
  assert.equal(disposed.length, 1);
  end();
  assert.equal(model.listeners(), 0);
  assert.throws(() => definition.render({ el: one! }), /not initialized/);
});

test("models of one module have sessions of their own", () => {
  const { factory, shown } = define();
  const both = [layersModel(), layersModel()].map((model) => {
    const definition = factory();
    const end = definition.initialize({ model: proxy(model) });
    definition.render({ el: {} as HTMLElement });
    return end;
  });
  assert(shown[0]![0] !== shown[1]![0]);
  for (const end of both) end();
});

test("a host that initializes again, as after new code, has a new session and the old one is ended", () => {
  const { factory, shown } = define();
  const [model, definition] = [layersModel(), factory()];
  const former = definition.initialize({ model: proxy(model) });
  const later = definition.initialize({ model: proxy(model) });
  former();
  definition.render({ el: {} as HTMLElement });
  assert.equal(shown.length, 1);
  later();
  assert.equal(model.listeners(), 0);
});

test("what the user drags is set at once, and sent to the kernel ten times a second", async () => {
  const model = layersModel();
  const session = new Session<any>(model, () => false, () => "lens");
  const before = model.saved;
  for (let layer = 0; layer < 3; layer++) {
    session.set("layer", layer);
    assert.equal(model.get("layer"), layer);
  }
  assert.equal(model.saved - before, 1);
  await new Promise((after) => setTimeout(after, 150));
  assert.equal(model.saved - before, 2);
  session.set("layer", 2); // as it is: nothing to tell
  assert.equal(model.saved - before, 2);
  session.dispose();
});

test("frames are acknowledged once they can be shown, and finished ones stay in the saved state", async () => {
  const model = layersModel({ status: "running" });
  const session = new Session<any>(model, () => false, () => "lens");
  const say = (n: number, final: boolean, bytes: number[]) => {
    const { data } = frame(bytes);
    const message = { type: "frame", n, key: "layer/1", mime: "image/webp", step: n, final, run: 0 };
    model.tell("msg:custom", message, [data]);
  };
  say(1, false, [1]);
  say(2, true, [1, 2]);
  await settle();
  assert.equal(model.get("_acknowledged"), 2);
  assert.deepEqual(Object.keys(model.get("_frames") as object), ["layer/1"]);
  assert.equal(session.store.get("layer/1")!.step, 2);
  say(1, false, [1]);
  await settle();
  assert.equal(model.get("_acknowledged"), 2); // never back
  session.dispose();
});

test("layers are played round and round, over those that are not there", async () => {
  const frames = { "layer/0": frame([1]), "layer/3": frame([1]) };
  const model = layersModel({ layer: 0, layers: [0, 1, 2, 3], _frames: frames });
  const session = new Session<any>(model, nextLayer("layer"), () => "lens");
  const next = nextLayer<any>("layer");
  assert(next(session));
  assert.equal(model.get("layer"), 3);
  assert(next(session));
  assert.equal(model.get("layer"), 0);
  session.player.way = "layer-";
  assert(next(session));
  assert.equal(model.get("layer"), 3);
  assert(!nextLayer<any>("tuned")(session));
  session.dispose();
});

test("another run pauses what plays", () => {
  const model = layersModel();
  const session = new Session<any>(model, () => true, () => "lens");
  session.player.play();
  model.set("_run", 1);
  assert(!session.player.playing);
  session.dispose();
});
