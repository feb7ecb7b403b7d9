"""Attention maps: where a denoiser looks at each token, captured during a call of the stock pipeline.

Capturing leaves the images unchanged to the bit. The modules, in the order of the work:

- `denoiser`: what capture must know about a denoiser. `unet` answers it for the cross-attention of SD 1.x, 2.x and
  SDXL, `transformer` for the families that declare how they attend to the text (FLUX, SD3, PixArt, ...).
- `sdpa_hook`: reads the queries and keys that an attention module gives to torch.
- `accumulator`: sums the attention probabilities over heads, layers and steps.
- `capture`: puts these together around one call of a pipeline; `lens` is its way into the runs of a lens.

`runs/maps` holds what does not need torch: the options, the plan of what is kept, and the maps as a record.

An attention map shows where the denoiser looks. It does not show why the image looks as it does.
"""
