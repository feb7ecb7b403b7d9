// The help of the LayerSlider.
import type { HelpText } from "./shared/help";

export const HELP: HelpText = {
  title: "What am I looking at?",
  paragraphs: [
    "The prompt went through the text encoder once. Each picture is painted from what the encoder held after one " +
      "layer, with its final norm applied. Layer 0 is the bare token embeddings; the last layer gives the model's " +
      "usual picture. Where a block is called skipped, the encoder worked to its end without that block.",
    "All pictures start from the same noise: where they differ, the text encoder made the difference.",
    "Steps, beside the picture: what the model predicted on its way. Grid: each row keeps one token of the prompt. " +
      "red ← blue at block 7: after block 7, “red” got the state of “blue” in the source prompt, and the later blocks " +
      "worked on with it. +2 at block 7: twice a direction was added there.",
  ],
  keys: [
    ["← →", "one layer back, on"],
    ["↑ ↓", "one step on, back; in the grid: tokens"],
    ["Home End", "first, last"],
    ["1 – 9", "one token"],
    ["Esc", "whole prompt; close"],
    ["Space", "play, pause"],
    ["?", "this help"],
  ],
  marks: [
    ["done", "painted"],
    ["preview", "preview, not finished"],
    ["running", "being painted"],
    ["hollow", "not computed"],
    ["failed", "failed; its reason on hover"],
  ],
};
