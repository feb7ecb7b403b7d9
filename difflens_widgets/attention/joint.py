"""Joint attention: in SD3 and FLUX the picture looks at the text and at itself in one softmax.

A map's values are shares of all of a pixel's attention, the picture's own keys included, and so the words of a prompt
get less than 1 together; where the rest goes is kept too, one map for each of `others`. The full matrix is never
stored: the softmax is exact, over all keys, for a few of the picture's queries at a time.

Text and image are taken to be joined as diffusers joins them, image first in SD3 and text first in FLUX, by a
processor of your own as well: the call itself does not tell.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from ..runs.tokens import Token, read_tokens
from .denoiser import AttentionLayer, Denoiser, Forward, Window, refuse_compiled, refuse_unreadable

_NATIVE = 'pipe.transformer.set_attention_backend("native")'


@dataclass(frozen=True)
class JointLayer(AttentionLayer):
    """The joint attention of one transformer block, such as "single_transformer_blocks.0.attn".

    Attributes
    ----------
    patch : how many latents a side one image token stands for
    processor : the name of diffusers' usual processor
    """

    patch: int
    processor: str

    @property
    def usual_way_out(self) -> str:
        """What puts diffusers' own processors back; where they are there, torch's arithmetic."""
        kind = type(self.module.processor)
        if hasattr(kind, "_attention_backend") and f"{kind.__module__}.{kind.__name__}" == self.processor:
            return _NATIVE
        return f"pipe.transformer.set_attn_processor({self.processor}())"

    def size(self, height: int, width: int) -> tuple[int, int]:
        """The resolution here, given that of the latents."""
        return height // self.patch, width // self.patch


class JointDenoiser(Denoiser):
    """A transformer with joint attention.

    Parameters
    ----------
    pipe : the stock pipeline
    text_encoder : str, optional
        The text encoder whose tokens have maps; default: the first that the denoiser looks at by tokens.

    Raises
    ------
    ValueError
        If there is no such encoder, or a module cannot be watched.
    """

    pipeline_class: ClassVar[str]
    encoders: ClassVar[tuple[str, ...]]  # those whose tokens are keys
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
        """How many latents a side one image token stands for."""

    @abstractmethod
    def _text_parts(self, text: int) -> tuple[slice, ...]:
        """Of `text` text keys, those of the chosen encoder's tokens, and then those of each other text."""

    def tokenize(self, prompt: str, forward: Forward) -> tuple[Token, ...]:
        """The tokens of the chosen encoder, padded to as many as this forward has keys for."""
        places = self._text_parts(forward.text or 0)[0]
        length = places.stop - places.start
        if length < 1:
            raise RuntimeError(
                f"attention: the denoiser is given {forward.text} text keys, and none of them is of "
                f"{self.encoder}'s tokens"
            )
        tokenizer = getattr(self.pipe, _tokenizer_of(self.encoder))
        if hasattr(self.pipe, "maybe_convert_prompt"):  # textual inversion: one word, several vectors
            prompt = self.pipe.maybe_convert_prompt(prompt, tokenizer)
        ids = tokenizer(prompt, padding="max_length", max_length=length, truncation=True).input_ids
        return read_tokens(tokenizer, ids)

    def window(self, layer: AttentionLayer, forward: Forward, tokens: int) -> Window:
        """The picture's queries; the keys of the tokens, of the picture, and of what other text there is."""
        pixels, text = math.prod(layer.size(*forward.grid)), forward.text or 0
        text_at, image_at = (0, text) if self.text_first else (pixels, 0)
        image = slice(image_at, image_at + pixels)
        own, *others = (slice(text_at + part.start, text_at + part.stop) for part in self._text_parts(text))
        return Window(image, own, (image, *others), (pixels + text,) * 2)

    def _check_encoder(self, encoder: str | None) -> str:
        name = type(self.pipe).__name__
        encoder = self.encoders[0] if encoder is None else encoder
        if encoder not in self.encoders:
            raise ValueError(
                f"text_encoder: the denoiser of {name} does not look at tokens of {encoder!r}; "
                f"what it looks at are those of {', '.join(map(repr, self.encoders))}"
            )
        for part in (_tokenizer_of(encoder), encoder):
            if getattr(self.pipe, part, None) is None:
                raise ValueError(f"text_encoder: {encoder} needs {part}, which this {name} was loaded without")
        return encoder


def _tokenizer_of(encoder: str) -> str:
    """The pipeline's name for the tokenizer of one of its text encoders."""
    return encoder.replace("text_encoder", "tokenizer")


class SD3Denoiser(JointDenoiser):
    """Stable Diffusion 3 and 3.5: each block joins image and text, in this order.

    The text keys are 77 places that the two CLIP encoders share, then T5's. The tokens of one of the encoders have
    maps; what goes to the other part is "other text".
    """

    pipeline_class = "StableDiffusion3Pipeline"
    encoders = ("text_encoder", "text_encoder_2", "text_encoder_3")
    processor = "diffusers.models.attention_processor.JointAttnProcessor2_0"
    text_first = False
    others = ("image", "other text")

    @staticmethod
    def _patch_of(transformer: Any) -> int:
        return transformer.config.patch_size

    def _text_parts(self, text: int) -> tuple[slice, ...]:
        clip = self.pipe.tokenizer_max_length
        parts = slice(0, clip), slice(clip, text)
        return parts if self.encoder != "text_encoder_3" else parts[::-1]

    def read(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Forward | None:
        """Guidance puts as many rows in front; a forward that skips layers (`skip_guidance_layers`) is an aid to it."""
        if kwargs.get("skip_layers") is not None:
            return None
        latents = args[0] if args else kwargs["hidden_states"]
        height, width = latents.shape[-2:]
        first = len(latents) // 2 if self.pipe.do_classifier_free_guidance else 0
        return Forward(len(latents), first, (height, width), kwargs["encoder_hidden_states"].shape[1])


class FluxDenoiser(JointDenoiser):
    """FLUX.1: text and image, in this order; at first by two streams of weights, then by one.

    The text keys are T5's; of CLIP the denoiser is given one vector only.
    """

    pipeline_class = "FluxPipeline"
    encoders = ("text_encoder_2",)
    processor = "diffusers.models.transformers.transformer_flux.FluxAttnProcessor"
    text_first = True
    others = ("image",)

    _timestep: Any = None  # the last one seen; the pipeline makes a new tensor for each step

    @staticmethod
    def _patch_of(transformer: Any) -> int:
        return 2  # the pipeline packs 2 × 2 latents before the transformer sees them

    def _text_parts(self, text: int) -> tuple[slice, ...]:
        return (slice(0, text),)

    def read(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Forward | None:
        """A step's first forward is the prompt's; the second (`true_cfg_scale`) is the negative prompt's."""
        if self.pipe.current_timestep is self._timestep:
            return None
        self._timestep = self.pipe.current_timestep
        rows, pixels, _ = (args[0] if args else kwargs["hidden_states"]).shape
        column = kwargs["img_ids"].reshape(-1, 3)[:, 2]
        height = int((column == 0).sum())
        width = pixels // height
        return Forward(rows, 0, (2 * height, 2 * width), kwargs["encoder_hidden_states"].shape[1])


def joint_denoiser(pipe: Any, text_encoder: str | None = None) -> JointDenoiser | None:
    """The denoiser of a pipeline with joint attention; None: it is of no such family."""
    names = [base.__name__ for base in type(pipe).__mro__]  # a subclass belongs to its parent's family
    for family in (SD3Denoiser, FluxDenoiser):
        if family.pipeline_class in names:
            return family(pipe, text_encoder)
    return None


def _refuse_other_arithmetic(transformer: Any) -> None:
    """Refuse what diffusers can be told to use in place of torch's attention, and what leaves some of it out."""
    if getattr(transformer, "is_cache_enabled", False):
        raise ValueError(
            "attention: the transformer has a cache, which leaves blocks out in some steps, so their maps would be "
            "empty; what helps: pipe.transformer.disable_cache()"
        )
    for name, module in transformer.named_modules():
        backend = getattr(getattr(module, "processor", None), "_attention_backend", None)
        called = getattr(backend, "value", backend)
        if called is not None and not called.lstrip("_").startswith("native"):
            raise ValueError(
                f"attention: {name} computes its attention by {called!r}, not by torch's scaled_dot_product_attention, "
                f"so nothing can be read there; what helps: {_NATIVE}"
            )
