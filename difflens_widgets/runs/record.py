"""RunRecord: the result of one lens run, as data; `LensRun` adds saving and drawing. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from .events import Status
from .maps.maps import LensAttention
from .tokens import Token, TokenKey


@dataclass(eq=False)  # equality and hash are those of the object itself
class RunRecord:
    """The result of one lens run, also while it is running and after it was stopped.

    Attributes
    ----------
    prompt : str
    tokens : tuple of Token
        The text encoder's input, with start, end and padding tokens.
    layers : tuple of int
        In the requested order. 0 is the embeddings, `num_layers - 1` the layer of the stock image.
    num_layers : int
        Number of all layers, requested or not: 13 for SD 1.x.
    seed : int
        All layers start from this seed's latents and get its noise.
    settings : dict
        method ("lens" or "ablation"), quality ("exact" or "draft"), num_inference_steps, snapshots (the requested
        steps), guidance_scale, negative_prompt (None: not given), height, width, scheduler, model, text_encoder,
        model_hash, dtype, batch_size (the most images at once), rows_per_call (how many it were, padding included),
        batch_invariant, versions.
    states : float16 array (num_layers, positions, width)
        The hidden states of the examined text encoder, before the final layer norm, at `state_positions`; divided by
        `settings["states_scale"]` where they are beyond float16's range.
    images : dict of layer → PIL.Image
    latents : dict of layer → float32 array (channels, height, width)
        The final latents, in the pipeline's scale.
    snapshots : dict of (layer, step) → PIL.Image
        The model's predictions at the requested denoising steps; 0 is the first step.
    failures : dict of layer → str
        Why a layer has no image.
    token_masks : dict of token → tuple of int
        The per-token lens: the requested items in the requested order, and the positions that each keeps besides the
        start token. A token is the position of a word's first sub-word token, or a `PromptPart`.
    token_images : dict of (layer, token) → PIL.Image
        The images with only that token kept; `images` are those of the whole prompt.
    token_failures : dict of (layer, token) → str
    attention : LensAttention or None
        The attention to each word in each layer's image, if requested.
    status : "running", "done", "stopped" or "failed"
    message : str
        Why the run failed.
    """

    prompt: str
    tokens: tuple[Token, ...]
    layers: tuple[int, ...]
    num_layers: int
    seed: int
    settings: dict[str, Any]
    states: np.ndarray | None = None
    images: dict[int, Image.Image] = field(default_factory=dict)
    latents: dict[int, np.ndarray] = field(default_factory=dict)
    snapshots: dict[tuple[int, int], Image.Image] = field(default_factory=dict)
    failures: dict[int, str] = field(default_factory=dict)
    token_masks: dict[TokenKey, tuple[int, ...]] = field(default_factory=dict)
    token_images: dict[tuple[int, TokenKey], Image.Image] = field(default_factory=dict)
    token_failures: dict[tuple[int, TokenKey], str] = field(default_factory=dict)
    attention: LensAttention | None = None
    status: Status = "running"
    message: str = ""

    @property
    def state_positions(self) -> tuple[int, ...]:
        """The positions that `states` holds: all, or only those of the words and the end token of a wide encoder."""
        return tuple(self.settings.get("state_positions") or range(len(self.tokens)))

    def name_of(self, layer: int) -> str:
        """The name of a layer's image: "layer 7", "layer 7 in slot 0 alone", or for an ablation "block 7 skipped".

        That of a draft says so: "layer 7 (draft)".
        """
        draft = " (draft)" if self.settings.get("quality") == "draft" else ""
        if self.settings.get("method") != "ablation":
            slots = self.settings.get("slots", "cut")
            where = {"cut": "", "all": " in all slots (off-distribution)"}.get(slots, f" in slot {slots} alone")
            return f"layer {layer}{where}{draft}"
        return (f"block {layer} skipped" if layer else "nothing skipped") + draft

    @property
    def caption(self) -> Mapping[str, Any]:
        """The prompt and settings in the caption of an image."""
        names = ("quality", "num_inference_steps", "guidance_scale", "model")
        return {"prompt": self.prompt, "seed": self.seed, **{name: self.settings.get(name) for name in names}}
