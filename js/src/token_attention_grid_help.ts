// What the TokenAttentionGrid says of itself.
import type { HelpText } from "./shared/help";

export const HELP: HelpText = {
  title: "What am I looking at?",
  paragraphs: [
    "While the model draws, each pixel attends to the tokens of the prompt, and its attention to all of them sums to 1 " +
      "(in FLUX, SD 3 and their like to the picture too: the words have the smaller part). A map shows which part of it goes to a word, at each place of the picture: dark is none, bright is the number in " +
      "the legend. The picture under a map is gray, so color means attention only.",
    "Rows: the text encoder's layers, each with its own picture; the denoiser's blocks; or denoising steps. Blocks and " +
      "steps are those of the layer on screen. All words share one range; start, end and padding, which often get " +
      "most of the attention, have another.",
    "Maps tell where the model looks, which is not the same as why the picture is as it is.",
  ],
  keys: [
    ["← →", "one layer back, on; in the grid: words"],
    ["↑ ↓", "rows"],
    ["Home End", "first, last"],
    ["1 – 9", "select a word"],
    ["Shift ← →", "select a second word"],
    ["Esc", "select no word; close"],
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
