// Which height a widget takes for that of the window.
import assert from "node:assert/strict";
import { test } from "node:test";
import { measureWindow } from "../src/shared/window";

/** Attach a widget to a page; returns the height that it sets, if it sets one. */
function taken(framed: boolean, inCell: boolean, said = ""): string | undefined {
  let height: string | undefined;
  const page = { style: { setProperty: (_: string, value: string) => void (height = value) } };
  const window = {} as { top?: unknown };
  window.top = framed ? {} : window;
  const getComputedStyle = () => ({ getPropertyValue: () => said });
  const document = { documentElement: page };
  Object.assign(globalThis, { window, document, getComputedStyle, screen: { availHeight: 1000 } });
  measureWindow({ closest: () => (inCell ? {} : null) } as unknown as Element);
  return height;
}

test("a frame that is as high as what is in it says nothing: most of the screen is taken", () => {
  assert.equal(taken(true, false), "850px");
});

test("where the window is known it stays", () => {
  assert.equal(taken(false, false), undefined);
  assert.equal(taken(true, true), undefined, "JupyterLab in a frame");
  assert.equal(taken(true, false, "912px"), undefined, "a page that says it");
});
