"""A view of a pipeline: a run works on it, so that the user's own pipeline does not change."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from diffusers.image_processor import VaeImageProcessor
from torch import Tensor

from ..runs.tokens import Token
from .encode_prompt import encode_prompt
from .encoder_session import EncoderProxy, EncoderSession, Source
from .family import Family, TextEncoder
from .lora_strength import with_own_strengths
from .own_tokenizer import own_tokenizer
from .tokenize import read_prompt


@dataclass(frozen=True)
class Encoding:
    """One prompt, encoded by the examined text encoder.

    Attributes
    ----------
    prompt : str
    tokens : tuple of Token
    states : Tensor (layer, position, width)
        The state after each block, before the final norm; layer 0 is the embeddings.
    normed_states : Tensor (layer, position, width)
        The same states as the denoiser gets them: after the final norm, if the family applies it.
    """

    prompt: str
    tokens: tuple[Token, ...]
    states: Tensor
    normed_states: Tensor


class PipelineView:
    """A pipeline with the user's modules, but its own scheduler, tokenizers and attributes.

    Proxies replace its text encoders: their output is edited row by row (`EncoderSession`). Meanwhile the user may call
    the original pipeline, or change its scheduler.

    Parameters
    ----------
    pipe : the user's pipeline
    family : its family
    encoder : the text encoder to examine

    Attributes
    ----------
    pipe : the copy, a pipeline to call
    session : what its text encoders return
    scheduler : a copy of the user's scheduler, made with the view
    """

    def __init__(self, pipe: Any, family: Family, encoder: TextEncoder) -> None:
        self.family, self.encoder, self._stock = family, encoder, family.stock_class(pipe)
        modules = {each.name: getattr(pipe, each.name, None) for each in family.encoders}
        self.session = EncoderSession(family, {name: module for name, module in modules.items() if module is not None})
        self.pipe = copy.copy(pipe)
        own = vars(self.pipe)  # not by setattr: the pipeline would write the change to its config
        self.scheduler = own["scheduler"] = own_scheduler(pipe.scheduler)
        own["maybe_free_model_hooks"] = pipe.maybe_free_model_hooks  # the user's offloading stays in use
        own["_progress_bar_config"] = {**getattr(pipe, "_progress_bar_config", {}), "disable": True}
        for name, module in self.session.encoders.items():
            own[name] = EncoderProxy(module, name, self.session)
        for name, tokenizer in vars(pipe).items():
            if name.startswith("tokenizer") and callable(tokenizer):
                own[name] = own_tokenizer(tokenizer)

    @cached_property
    def device(self) -> torch.device:
        """Where the pipeline computes, also with offloading; read once: diffusers looks at every part for it."""
        device: torch.device = self.pipe._execution_device
        return device

    def call(self, **arguments: Any) -> Any:
        """Call the stock pipeline, even if the user's class overrides `__call__`."""
        try:
            return self._stock.__call__(self.pipe, **arguments)
        finally:
            self.pipe.maybe_free_model_hooks()

    def tokenize(self, prompt: str, encoder: str | None = None) -> tuple[tuple[Token, ...], str]:
        """The tokens that an encoder reads, and the part of `prompt` that is cut off, or ""; runs no model.

        Parameters
        ----------
        prompt : str
        encoder : str, optional
            The component name of the encoder. Default: the examined one. Each encoder has its own positions.
        """
        declared = self.encoder if encoder is None else self.family.encoder(encoder)
        return read_prompt(self.pipe, declared, prompt)

    @torch.inference_mode()
    def encode(
        self, prompt: str, lora_scale: float | None = None, source: Source = "prompt", skips: Iterable[int] = ()
    ) -> Encoding:
        """Encode one prompt as the stock pipeline does, and check that it reads the states that the family declares.

        Parameters
        ----------
        prompt : str
        lora_scale : float, optional
            The strength of LoRA weights in the text encoders.
        source : Source
            The name under which the session keeps it.
        skips : iterable of int
            Also run the examined encoder without each of these blocks, 1 is the first.

        Raises
        ------
        RuntimeError
            If the pipeline reads other states of its text encoder than its family declares.
        """
        if lora_scale is not None:
            self._own_lora_strengths()
        self.session.begin_encoding(source, probe=True, skips={self.encoder.name: tuple(skips)})
        conditioning = self.encode_stock(prompt, lora_scale)
        found = self.session.encoded(self.encoder.name, source)
        if not _finite(conditioning) and self._reads_finite(source):
            raise RuntimeError(
                f"{type(self.pipe).__name__} reads its text encoder elsewhere than its family declares: this version "
                "of diffusers or a method of your own changed it; please report it"
            )
        return Encoding(prompt, self.tokenize(prompt)[0], found.states, found.read_states)

    def encode_alone(self, prompt: str, lora_scale: float | None = None) -> Encoding:
        """`encode`, when no image follows: then an offloaded encoder leaves the device again."""
        try:
            return self.encode(prompt, lora_scale)
        finally:
            self.pipe.maybe_free_model_hooks()

    @torch.inference_mode()
    def conditioning(self, prompt: str, lora_scale: float | None = None, source: Source = "prompt") -> Any:
        """What the stock pipeline's `encode_prompt` returns for a prompt, without guidance."""
        self.session.begin_encoding(source)
        return self.encode_stock(prompt, lora_scale)

    def encode_stock(self, prompt: str | list[str], lora_scale: float | None = None) -> Any:
        """What the pipeline's own `encode_prompt` returns for a prompt, with the arguments that its call would give."""
        return encode_prompt(self.pipe, prompt, device=self.device, lora_scale=lora_scale)

    def _reads_finite(self, source: Source) -> bool:
        read = [self.session.encoded(name, source).read_states[-1] for name in self.session.encoders]
        return all(bool(torch.isfinite(states).all()) for states in read)

    def _own_lora_strengths(self) -> None:
        """From now on the stock code scales the LoRA layers of this view; those of the user's modules stay."""
        own = vars(self.pipe)
        for name, encoder in self.session.encoders.items():
            own[name].encoder = self.session.encoders[name] = with_own_strengths(encoder)
        own[self.family.denoiser] = with_own_strengths(getattr(self.pipe, self.family.denoiser))

    def decode(self, latents: Tensor) -> np.ndarray:
        """Decode latents to pixels 0..1 (row, height, width, channel)."""
        pixels = self.family.decode(self.pipe, latents)
        return np.asarray(VaeImageProcessor.pt_to_numpy(VaeImageProcessor.denormalize(pixels)))

    def flags(self, pixels: np.ndarray) -> list[bool]:
        """Which decoded images (row, height, width, channel) the pipeline's safety checker would black out."""
        if not self.has_safety_checker:
            return [False] * len(pixels)
        dtype = getattr(self.pipe, self.family.denoiser).dtype
        copied = np.nan_to_num(pixels)  # the checker blacks out what it is given
        found = self.pipe.run_safety_checker(copied, self.device, dtype)[1]
        return list(map(bool, found))

    @property
    def has_safety_checker(self) -> bool:
        """Whether the pipeline checks its images, and blacks some out."""
        return getattr(self.pipe, "safety_checker", None) is not None and hasattr(self.pipe, "run_safety_checker")


def blocks_of(module: torch.nn.Module, encoder: TextEncoder) -> list[torch.nn.Module]:
    """The blocks of a text encoder that the stock image depends on, in order."""
    blocks = encoder.blocks_of(module)
    return blocks if encoder.pooled else blocks[: encoder.read_layers(len(blocks))[-1]]


def own_scheduler(scheduler: Any) -> Any:
    """A copy of a scheduler; every call of a pipeline resets its state.

    It is not made by `from_config`, which ignores some values that were set, such as DDIM's `clip_sample`.
    """
    return copy.deepcopy(scheduler)


def _finite(value: Any) -> bool:
    if isinstance(value, Tensor):
        return not value.is_floating_point() or bool(torch.isfinite(value).all())
    return all(map(_finite, value)) if isinstance(value, Iterable) and not isinstance(value, str) else True
