// What the DiffViewer says of itself.
import type { HelpText } from "./shared/help";

export const HELP: HelpText = {
  title: "What am I looking at?",
  paragraphs: [
    "Two models painted the same prompt from the same noise, once for every layer of the text encoder: raw, and " +
      "tuned. Where their pictures differ, the tuning made the difference.",
    "Side by side; a curtain to draw, raw to the left of it; blink, one after the other in one place; or the " +
      "difference of the pixels, on one scale for all layers. 2 × 2 swaps the parts: the encoder of one model with " +
      "the U-Net of the other shows which of them makes the change.",
    "The curve: how much the two differ at each layer. State cosine compares the encoder’s states, latent RMS what " +
      "the denoiser made of them, SSIM the pictures. Attribution: how much of the change the tuned encoder " +
      "makes alone, the tuned U-Net alone, and only both together; the three sum to 1.",
    "A word of the prompt: where the tuned model pays more (warm) or less (cool) attention to it than the raw one.",
  ],
  keys: [
    ["← →", "one layer back, on; on the curtain: draw it"],
    ["Home End", "first, last"],
    ["1 – 9", "attention to a word"],
    ["Enter", "in blink: the other picture"],
    ["Esc", "no word; close"],
    ["Space", "play, pause"],
    ["?", "this help"],
  ],
  marks: [
    ["done", "painted by both"],
    ["hollow", "not computed"],
    ["failed", "failed; its reason on hover"],
  ],
};
