"""A transformer's attention to the text: joint with the image's to itself, or across to the text alone.

In joint attention a pixel attends to the text and to the image in one softmax, so the words of a prompt sum to less
than 1. The remaining share is kept as well, in one map for each of `rest_names`. The full attention matrix is never
stored: the softmax is exact, over all keys, for a few of the image's queries at a time.

Where text and image are in the keys is what the family declares (`TextAttention`), and capture assumes that a processor
that the user wrote joins them in the same order: the SDPA call does not tell.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..models import Family, families
from ..models.own_tokenizer import own_tokenizer
from ..models.text_attention import TextAttention
from ..models.tokenize import read_typed
from ..runs.tokens import Token
from .denoiser import AttentionLayer, Denoiser, Forward, Window, refuse_compiled, refuse_unreadable

_NATIVE = 'pipe.transformer.set_attention_backend("native")'


@dataclass(frozen=True)
class TransformerLayer(AttentionLayer):
    """One attention module with text keys, such as "single_transformer_blocks.0.attn".

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


def declared_attention(pipe: Any, family: Family) -> TextAttention | None:
    """What the family of a pipeline declares of its attention; None: it has a U-Net, which needs no declaration.

    Raises
    ------
    ValueError
        If the attention cannot be captured.
    """
    if family.attention is None and (family.denoiser != "unet" or getattr(pipe, "vae", None) is None):
        declared = [name for name, each in families().items() if each.attention]
        raise ValueError(
            f"attention: that of {type(pipe).__name__} cannot be captured; leave it out. It can be captured in a U-Net "
            f"of Stable Diffusion, and in {', '.join(declared)}; in a family of your own if you declare its `attention`"
        )
    return family.attention


def transformer_layers(transformer: Any, declared: TextAttention) -> tuple[TransformerLayer, ...]:
    """Find the declared attention modules of a transformer, in the order in which they run.

    Raises
    ------
    ValueError
        If there is none, or if one is known not to be readable before it runs.
    """
    refuse_compiled(transformer, "the transformer")
    _refuse_other_arithmetic(transformer)
    patch = declared.patch or transformer.config.patch_size
    names: dict[Any, str] = {module: name for name, module in transformer.named_modules()}
    layers = [
        TransformerLayer(names[module], block, module.heads, module, patch, declared.processor)
        for block, module in declared.blocks_in(transformer).items()
    ]
    if not layers:
        raise ValueError(f"attention: {type(transformer).__name__} has no {' or '.join(declared.modules)}")
    refuse_unreadable(layers)
    return tuple(layers)


class TransformerDenoiser(Denoiser):
    """A transformer that attends to the text as its family declares.

    Parameters
    ----------
    pipe : diffusers.DiffusionPipeline
    family : Family
        One that declares its `attention`.
    text_encoder : str, optional
        The text encoder whose tokens get maps. Default: the first one whose tokens the denoiser attends to.
    images : int, optional
        How many images the call draws. Default: as the pipeline's own `do_classifier_free_guidance` tells.

    Raises
    ------
    ValueError
        If there is no such encoder, or a module cannot be captured.
    """

    def __init__(self, pipe: Any, family: Family, text_encoder: str | None = None, images: int | None = None) -> None:
        assert family.attention is not None
        self.declared, self.family, self._images = family.attention, family, images
        super().__init__(pipe, pipe.transformer, transformer_layers(pipe.transformer, family.attention))
        self.rest_names = rest_names(family.attention)
        self.encoder = self._check_encoder(text_encoder)
        self._step: Any = self  # the scheduler's index at the last captured forward

    def tokenize(self, prompt: str, forward: Forward) -> tuple[Token, ...]:
        """Tokenize a prompt as the chosen encoder reads it, padded to the number of its keys in this forward."""
        own = self._own(forward.text or 0)
        if own.stop - own.start < 1:
            raise RuntimeError(
                f"attention: the denoiser is given {forward.text} text keys, and none of them is of "
                f"{self.encoder}'s tokens"
            )
        tokenizer = getattr(self.pipe, self.family.encoder(self.encoder).tokenizer)
        return read_typed(self.pipe, own_tokenizer(tokenizer), prompt, own.stop - own.start)[0]

    def read(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Forward | None:
        """Tell what a forward computes; None: the negative prompt, or guidance that skips some of the layers."""
        if kwargs.get("skip_layers") is not None:
            return None
        latents = args[0] if args else kwargs["hidden_states"]
        first = 0
        if self.declared.prompt == "first forward":
            step = self.pipe.scheduler.step_index
            if step == self._step:
                return None
            self._step = step
        elif self.declared.prompt == "second half" and self._is_guided(len(latents)):
            first = len(latents) // 2
        names = inspect.signature(self.module.forward).parameters
        text = self.declared.num_keys(self.module, {**dict(zip(names, args, strict=False)), **kwargs})
        return Forward(len(latents), first, self._grid(latents, kwargs), text)

    def window(self, layer: AttentionLayer, forward: Forward, tokens: int) -> Window:
        """The image's queries; the keys of the tokens, of the image, and of the other text if there is some."""
        pixels, text = math.prod(layer.size(*forward.grid)), forward.text or 0
        own = self._own(text)
        positions = self._positions(tokens, own.stop - own.start)
        if self.declared.keys == "text":
            return Window(slice(0, pixels), own, (), (pixels, text), positions)
        padded = pixels + -pixels % self.declared.multiple
        text_at, image_at = (padded, 0) if self.declared.keys == "image first" else (0, text)
        image = slice(image_at, image_at + padded)
        other = slice(own.stop, text) if own.start == 0 else slice(0, own.start)
        of_text = [slice(text_at + part.start, text_at + part.stop) for part in (own, other)]
        rest = (image, of_text[1])[: len(self.rest_names)]
        return Window(slice(image_at, image_at + pixels), of_text[0], rest, (padded + text,) * 2, positions)

    def _own(self, text: int) -> slice:
        return self.declared.own(self.pipe, self.encoder, text) if self.declared.own else slice(0, text)

    def _positions(self, tokens: int, keys: int) -> Sequence[int] | None:
        positions = None if self.declared.positions is None else self.declared.positions(tokens, keys)
        if len(range(tokens) if positions is None else positions) != keys:
            raise RuntimeError(
                f"attention: {self.encoder} reads {tokens} positions of this prompt, and the denoiser is given "
                f"{keys} text keys; which is which is not known"
            )
        return positions

    def _grid(self, latents: Any, kwargs: dict[str, Any]) -> tuple[int, int]:
        """(height, width) of the latents; of a sequence of patches the forward is told where each one is."""
        if latents[0].ndim > 2:
            height, width = latents[0].shape[-2:]
            return height, width
        if "img_shapes" in kwargs:  # for each row the (frame, height, width) of one image
            shape = kwargs["img_shapes"][0]
            _, height, width = shape[0] if isinstance(shape, list) else shape
        else:
            ids, pixels = kwargs["img_ids"], latents.shape[1]
            column = ids.reshape(-1, ids.shape[-1])[:pixels, 2]
            height = int((column == 0).sum())
            width = pixels // height
        patch = self.declared.patch or 1
        return patch * height, patch * width

    def _is_guided(self, rows: int) -> bool:
        return rows > self._images if self._images else bool(self.pipe.do_classifier_free_guidance)

    def _check_encoder(self, encoder: str | None) -> str:
        name = type(self.pipe).__name__
        known = {each.name: each.tokenizer for each in self.family.examined}
        encoder = next(iter(known)) if encoder is None else encoder
        if encoder not in known:
            raise ValueError(
                f"text_encoder: the denoiser of {name} does not attend to tokens of {encoder!r}; "
                f"it attends to those of {', '.join(map(repr, known))}"
            )
        for part in (known[encoder], encoder):
            if getattr(self.pipe, part, None) is None:
                raise ValueError(f"text_encoder: {encoder} needs {part}, which this {name} was loaded without")
        return encoder


def rest_names(declared: TextAttention) -> tuple[str, ...]:
    """What else is in the softmax beside the tokens of the chosen encoder."""
    if declared.keys == "text":
        return ()
    return ("image", "other text") if declared.own else ("image",)


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
