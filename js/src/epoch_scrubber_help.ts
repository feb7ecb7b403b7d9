// The help text of the EpochScrubber.
import type { HelpText } from "./shared/help";

export const HELP: HelpText = {
  title: "What am I looking at?",
  paragraphs: [
    "While a model is fine-tuned, images of the same prompts are generated again and again from the same noise. Each " +
      "column is one epoch, 0 is the model before training; each row is a layer of the text encoder, 0 the bare " +
      "embeddings. Where two images of a row differ, training made the difference.",
    "Color by drift: how much a place has changed since epoch 0, by the encoder's states, the latents, or the image " +
      "(1 − SSIM). Dark is unchanged; the bright end is the number in the legend, one scale for all prompts.",
    "A flag marks the epoch and the layer at which something began to go wrong: a class prompt that turns into the " +
      "subject, or a control prompt that has nothing to do with it and changes all the same.",
    "The loss stands above, over the same epochs. It says little about whether the subject is learned: look.",
  ],
  keys: [
    ["← →", "one epoch back, on"],
    ["↑ ↓", "one layer up, down"],
    ["Home End", "first, last epoch"],
    ["1 – 9", "prompt"],
    ["Space", "play, pause"],
    ["?", "this help"],
  ],
  marks: [
    ["done", "generated"],
    ["running", "being generated"],
    ["hollow", "not generated"],
  ],
};
