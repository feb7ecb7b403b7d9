"""Joint attention: in SD3 and FLUX the image attends to the text and to itself in one softmax.

A map's values are shares of all of a pixel's attention, to the image's own keys too, so the words of a prompt sum to
less than 1. The remaining share is kept as well, in one map for each of `rest_names`. The full attention matrix is
never stored: the softmax is exact, over all keys, for a few of the image's queries at a time.

Capture assumes that text and image are joined in diffusers' order, image first in SD3 and text first in FLUX, also by a
processor that the user wrote: the SDPA call does not tell.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from ..models.own_tokenizer import own_tokenizer
from ..models.tokenize import read_typed
from ..runs.tokens import Token
from .denoiser import AttentionLayer, Denoiser, Forward, Window, refuse_compiled, refuse_unreadable

_NATIVE = 'pipe.transformer.set_attention_backend("native")'


@dataclass(frozen=True)
class JointLayer(AttentionLayer):
    """The joint attention of one transformer block, such as "single_transformer_blocks.0.attn".

    Attributes
    ----------
    patch : int
        Height and width, in latents, of the patch that one image token stands for.
    processor : str
        The full name of diffusers' default processor.
    """

    patch: int
    processor: str

    @property
    def default_fix_hint(self) -> str:
        """The call that brings back diffusers' default processors or, where they are in use, torch's attention."""
        kind = type(self.module.processor)
        if hasattr(kind, "_attention_backend") and f"{kind.__module__}.{kind.__name__}" == self.processor:
            return _NATIVE
        return f"pipe.transformer.set_attn_processor({self.processor}())"

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Give this layer's (height, width), for latents of `height` × `width`."""
        return height // self.patch, width // self.patch


class JointDenoiser(Denoiser):
    """A transformer with joint attention.

    Parameters
    ----------
    pipe : diffusers.DiffusionPipeline
    text_encoder : str, optional
        The text encoder whose tokens get maps. Default: the first one whose tokens the denoiser attends to.

    Attributes
    ----------
    pipeline_class : str
        The name of the family's pipeline class.
    encoders : tuple of str
        The text encoders whose tokens are keys.
    processor : str
        The full name of diffusers' default attention processor.
    text_first : bool
        Whether the text's keys come before the image's.

    Raises
    ------
    ValueError
        If there is no such encoder, or a module cannot be captured.
    """

    pipeline_class: ClassVar[str]
    encoders: ClassVar[tuple[str, ...]]
    processor: ClassVar[str]
    text_first: ClassVar[bool]

    def __init__(self, pipe: Any, text_encoder: str | None = None) -> None:
        transformer = pipe.transformer
        refuse_compiled(transformer, "the transformer")
        _refuse_other_arithmetic(transformer)
        patch = self._patch_of(transformer)
        modules = {
            f"{blocks}.{index}": block.attn
            for blocks in ("transformer_blocks", "single_transformer_blocks")
            for index, block in enumerate(getattr(transformer, blocks, ()))
        }
        layers = [
            JointLayer(f"{block}.attn", block, module.heads, module, patch, self.processor)
            for block, module in modules.items()
        ]
        refuse_unreadable(layers)
        super().__init__(pipe, transformer, layers)
        self.encoder = self._check_encoder(text_encoder)

    @staticmethod
    @abstractmethod
    def _patch_of(transformer: Any) -> int:
        """Height and width, in latents, of the patch that one image token stands for."""

    @abstractmethod
    def _text_parts(self, text: int) -> tuple[slice, ...]:
        """Split `text` text keys: first the tokens of `encoder`, then each of the other texts."""

    def tokenize(self, prompt: str, forward: Forward) -> tuple[Token, ...]:
        """Tokenize a prompt as the chosen encoder reads it, padded to the number of its keys in this forward."""
        positions = self._text_parts(forward.text or 0)[0]
        length = positions.stop - positions.start
        if length < 1:
            raise RuntimeError(
                f"attention: the denoiser is given {forward.text} text keys, and none of them is of "
                f"{self.encoder}'s tokens"
            )
        tokenizer = getattr(self.pipe, _tokenizer_of(self.encoder))
        return read_typed(self.pipe, own_tokenizer(tokenizer), prompt, length)[0]

    def window(self, layer: AttentionLayer, forward: Forward, tokens: int) -> Window:
        """The image's queries; the keys of the tokens, of the image, and of the other text if there is some."""
        pixels, text = math.prod(layer.size(*forward.grid)), forward.text or 0
        text_at, image_at = (0, text) if self.text_first else (pixels, 0)
        image = slice(image_at, image_at + pixels)
        own, *other = (slice(text_at + part.start, text_at + part.stop) for part in self._text_parts(text))
        return Window(image, own, (image, *other), (pixels + text,) * 2)

    def _check_encoder(self, encoder: str | None) -> str:
        name = type(self.pipe).__name__
        encoder = self.encoders[0] if encoder is None else encoder
        if encoder not in self.encoders:
            raise ValueError(
                f"text_encoder: the denoiser of {name} does not attend to tokens of {encoder!r}; "
                f"it attends to those of {', '.join(map(repr, self.encoders))}"
            )
        for part in (_tokenizer_of(encoder), encoder):
            if getattr(self.pipe, part, None) is None:
                raise ValueError(f"text_encoder: {encoder} needs {part}, which this {name} was loaded without")
        return encoder


def _tokenizer_of(encoder: str) -> str:
    """The pipeline's attribute with the tokenizer of a text encoder."""
    return encoder.replace("text_encoder", "tokenizer")


class SD3Denoiser(JointDenoiser):
    """Stable Diffusion 3 and 3.5: each block joins image and text, in this order.

    The text keys are 77 positions that the two CLIP encoders share, then those of T5. The tokens of one encoder have
    maps; the share of the other part is the rest "other text".
    """

    pipeline_class = "StableDiffusion3Pipeline"
    encoders = ("text_encoder", "text_encoder_2", "text_encoder_3")
    processor = "diffusers.models.attention_processor.JointAttnProcessor2_0"
    text_first = False
    rest_names = ("image", "other text")

    @staticmethod
    def _patch_of(transformer: Any) -> int:
        return transformer.config.patch_size

    def _text_parts(self, text: int) -> tuple[slice, ...]:
        clip = self.pipe.tokenizer_max_length
        parts = slice(0, clip), slice(clip, text)
        return parts if self.encoder != "text_encoder_3" else parts[::-1]

    def read(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Forward | None:
        """Tell what a forward computes: with guidance, the first half of the rows has the negative prompt.

        A forward that skips layers (`skip_guidance_layers`) belongs to the guidance, and is not captured.
        """
        if kwargs.get("skip_layers") is not None:
            return None
        latents = args[0] if args else kwargs["hidden_states"]
        height, width = latents.shape[-2:]
        first = len(latents) // 2 if self.pipe.do_classifier_free_guidance else 0
        return Forward(len(latents), first, (height, width), kwargs["encoder_hidden_states"].shape[1])


class FluxDenoiser(JointDenoiser):
    """FLUX.1: text and image, in this order; first blocks with separate weights for both, then with common ones.

    The text keys are T5's. Of CLIP the denoiser gets one pooled vector, which no query attends to.
    """

    pipeline_class = "FluxPipeline"
    encoders = ("text_encoder_2",)
    processor = "diffusers.models.transformers.transformer_flux.FluxAttnProcessor"
    text_first = True
    rest_names = ("image",)

    _timestep: Any = None  # of the forward before; the pipeline makes a new tensor in each step

    @staticmethod
    def _patch_of(transformer: Any) -> int:
        return 2  # the pipeline itself packs 2 × 2 latents into one token

    def _text_parts(self, text: int) -> tuple[slice, ...]:
        return (slice(0, text),)

    def read(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Forward | None:
        """Tell what a step's first forward computes; a second one (`true_cfg_scale`) has the negative prompt."""
        if self.pipe.current_timestep is self._timestep:
            return None
        self._timestep = self.pipe.current_timestep
        rows, pixels, _ = (args[0] if args else kwargs["hidden_states"]).shape
        column = kwargs["img_ids"].reshape(-1, 3)[:, 2]
        height = int((column == 0).sum())
        width = pixels // height
        return Forward(rows, 0, (2 * height, 2 * width), kwargs["encoder_hidden_states"].shape[1])


def joint_denoiser(pipe: Any, text_encoder: str | None = None) -> JointDenoiser | None:
    """Make the denoiser of a pipeline with joint attention; None: the pipeline is of no such family."""
    names = [base.__name__ for base in type(pipe).__mro__]  # a subclass is of its parent's family
    for family in (SD3Denoiser, FluxDenoiser):
        if family.pipeline_class in names:
            return family(pipe, text_encoder)
    return None


def _refuse_other_arithmetic(transformer: Any) -> None:
    """Raise a ValueError for diffusers' options that replace torch's attention or skip some of it."""
    if getattr(transformer, "is_cache_enabled", False):
        raise ValueError(
            "attention: the transformer has a cache, which skips blocks in some steps, so their maps would be empty; "
            "what helps: pipe.transformer.disable_cache()"
        )
    for name, module in transformer.named_modules():
        backend = getattr(getattr(module, "processor", None), "_attention_backend", None)
        backend_name = getattr(backend, "value", backend)
        if backend_name is not None and not backend_name.lstrip("_").startswith("native"):
            raise ValueError(
                f"attention: {name} computes its attention by {backend_name!r}, not by torch's "
                "scaled_dot_product_attention, "
                f"so nothing can be read there; what helps: {_NATIVE}"
            )
