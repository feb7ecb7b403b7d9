"""RunRecord: what one lens run gave, as data; `LensRun` adds saving and drawing. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from .events import Status
from .maps.maps import LensAttention
from .tokens import Token, TokenKey


@dataclass(eq=False)  # compared and hashed by identity
class RunRecord:
    """Everything one lens run gave; also while it is still running, and after it was stopped.

    Attributes
    ----------
    prompt : str
    tokens : tuple of Token
        The text encoder's input, start, end and padding included.
    layers : tuple of int
        The layers asked for, in the order asked. 0 is the embedding, `num_layers - 1` the last block.
    num_layers : int
        How many layers there are: 13 for SD 1.x; the last one's picture is the stock pipeline's.
    seed : int
        All layers start from this seed's latents and get its noise.
    settings : dict
        method ("lens" or "ablation"), num_inference_steps, snapshots (those asked for), guidance_scale, negative_prompt
        (None: not given), height, width, scheduler, model, text_encoder, model_hash, dtype, batch_size, versions.
    states : float16 array (num_layers, tokens, width)
        The lensed text encoder's hidden states, before the final layer norm.
    images : dict of layer → PIL.Image
    latents : dict of layer → float32 array (channels, height, width)
        The final latents, as the pipeline scales them.
    snapshots : dict of (layer, step) → PIL.Image
        What the model predicted on the way, for the steps asked for; 0 is the first.
    failures : dict of layer → str
        Why a layer has no picture.
    token_masks : dict of token → tuple of int
        The per-token lens: what was asked for, in the order asked, and the places kept for it besides the start
        token. A token is the index of a word's first piece in `tokens`, or a `PromptPart`; empty where nothing
        was asked.
    token_images : dict of (layer, token) → PIL.Image
        The pictures with only that token kept; `images` are those of the whole prompt.
    token_failures : dict of (layer, token) → str
    attention : LensAttention or None
        Where each word is looked at in each layer's picture, where that was asked for.
    status : "running", "done", "stopped" or "failed"
    message : str
        Why it failed.
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

    def name_of(self, layer: int) -> str:
        """What a layer's picture is called: "layer 7"; of a `LayerAblation` "block 7 skipped", or "nothing skipped"."""
        if self.settings.get("method") != "ablation":
            return f"layer {layer}"
        return f"block {layer} skipped" if layer else "nothing skipped"

    @property
    def caption(self) -> Mapping[str, Any]:
        """The facts that a picture of this run is labelled with."""
        names = ("num_inference_steps", "guidance_scale", "model")
        return {"prompt": self.prompt, "seed": self.seed, **{name: self.settings.get(name) for name in names}}
