"""RunRecord: the result of one lens run, as data; `LensRun` adds saving and drawing. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from PIL import Image

from .events import Status
from .maps.maps import LensAttention
from .tokens import PromptPart, Token, TokenKey
from .variant import Variant

_UNCHANGED = {"patch": "unpatched", "output patch": "unpatched", "steer": "not steered"}

BLACKED_OUT = "blacked out by the safety checker"


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
        method ("lens", "ablation", "text ablation", "patch", "output patch" or "steer"), quality ("exact" or "draft"),
        num_inference_steps, snapshots (the requested steps), guidance_scale, negative_prompt (None: not given), height,
        width, scheduler, scheduler_config, model, text_encoder, model_hash (of the weights in force, or "unhashed,
        because ..."), latents_hash (of the start latents), generator_hash (of the noise that follows), dtype,
        batch_size (the most images at once), rows_per_call (how many it were, padding included), batch_invariant,
        compiled (whether the denoiser was), versions. A patch has its source, steering its strengths and direction, a
        text ablation the blocks in without_text. cut_off, if the prompt is too long: what is not read of it.
        unknown_words, if the model can tell: those that it was never trained on. from_cache, if there are any: the
        layers, and [layer, token], whose images were generated before.
    states : float16 array (num_layers, positions, width)
        The hidden states of the examined text encoder, before the final layer norm, at `state_positions`; divided by
        `settings["states_scale"]` where they are beyond float16's range. None for a text ablation.
    images : dict of layer → PIL.Image
        From the first layer to the last, once the run has ended; before, in the order in which they were painted.
    latents : dict of layer → float32 array (channels, height, width)
        The final latents, in the pipeline's scale.
    snapshots : dict of (layer, step) → PIL.Image
        The model's predictions at the requested denoising steps; 0 is the first step.
    failures : dict of layer → str
        Why a layer has no image.
    token_masks : dict of token → tuple of int
        The rows of images besides `images`, in the requested order. The per-token lens: the positions that each keeps
        besides the start token; a token is the position of a word's first sub-word token, or a `PromptPart`. Patch and
        steering: the label of each variant, such as "red ← blue" or "+2", and the positions that it patches.
    token_images : dict of (layer, token) → PIL.Image
        The images with only that token kept, or of that variant. `images` are those of the whole prompt, and without a
        variant: for a patch and for steering the stock image, the same for all layers.
    token_failures : dict of (layer, token) → str
    flagged : set of layer
    flagged_snapshots : set of (layer, step)
    flagged_tokens : set of (layer, token)
        Images that are black because the pipeline's safety checker blacked them out. All snapshots of a flagged layer
        are black too; its latents are not changed.
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
    flagged: set[int] = field(default_factory=set)
    flagged_snapshots: set[tuple[int, int]] = field(default_factory=set)
    flagged_tokens: set[tuple[int, TokenKey]] = field(default_factory=set)
    attention: LensAttention | None = None
    status: Status = "running"
    message: str = ""

    @property
    def state_positions(self) -> tuple[int, ...]:
        """The positions that `states` holds: all, or only those of the words and the end token of a wide encoder."""
        return tuple(self.settings.get("state_positions") or range(len(self.tokens)))

    @property
    def method(self) -> str:
        """What the run asks: "lens", "ablation", "text ablation", "patch", "output patch" or "steer"."""
        return str(self.settings.get("method", "lens"))

    @property
    def variants(self) -> tuple[Variant, ...]:
        """The rows of a patch or of steering, such as "red ← blue" or "+2": keys of `token_images`."""
        return tuple(token for token in self.token_masks if isinstance(token, Variant))

    def name_of(self, layer: int, token: TokenKey | None = None) -> str:
        """The name of an image: "layer 7", "layer 7 with token 3 kept", "block 7 skipped", "red ← blue at block 7".

        That of a draft says so: "layer 7 (draft)".
        """
        return self._exact_name_of(layer, token) + " (draft)" * (self.settings.get("quality") == "draft")

    def _exact_name_of(self, layer: int, token: TokenKey | None) -> str:
        if self.method in _UNCHANGED:
            return _UNCHANGED[self.method] if token is None else f"{token} {self.place_of(layer)}"
        if token is None:
            return self.place_of(layer)
        return f"{self.place_of(layer)} with {token if isinstance(token, PromptPart) else f'token {token}'} kept"

    def place_of(self, layer: int) -> str:
        """The name of a layer: "layer 7", "layer 7 in slot 0 alone", "block 7 skipped", "no text in up_blocks.1"."""
        if self.method in ("patch", "steer"):
            return f"at block {layer}" if layer else "at the embeddings"
        if self.method == "output patch":
            return "in the output"
        if self.method == "ablation":
            return f"block {layer} skipped" if layer else "nothing skipped"
        if self.method == "text ablation":
            blocks = self.settings.get("without_text")
            if isinstance(blocks, list) and 0 < layer <= len(blocks):  # a file may hold any value
                return f"no text in {blocks[layer - 1]}"
            return "text in all blocks"
        slots = self.settings.get("slots", "cut")
        where = {"cut": "", "all": " in all slots (off-distribution)"}.get(slots, f" in slot {slots} alone")
        return f"layer {layer}{where}"

    @property
    def caption(self) -> Mapping[str, Any]:
        """The prompt and settings in the caption of an image."""
        names = ("quality", "num_inference_steps", "guidance_scale", "model")
        return {"prompt": self.prompt, "seed": self.seed, **{name: self.settings.get(name) for name in names}}
