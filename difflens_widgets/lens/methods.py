"""What a run asks: the edit of each of its pictures. The lens, the ablation, the patch, and steering."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from ..models.view import Encoding, PipelineView
from ..runs.tokens import TokenKey
from ..runs.variant import Variant
from .edits import Edit, Layer, OutputPatch, Patch, SkipBlock, Slots, Steer
from .text_blocks import without_text

Rows = Sequence[tuple[int, TokenKey | None]]
"""The (layer, token) of each row of a batch."""
Pairs = tuple[tuple[int, int], ...]
"""(position in the prompt, position in the source) of each state that a patch exchanges."""


@dataclass(frozen=True)
class Method(ABC):
    """What the pictures of a run are.

    Attributes
    ----------
    name : str
        `run.settings["method"]`.
    one_truth : bool
        Whether the picture without a variant is the stock picture for all layers, and is painted once.
    encoder : str
        The examined text encoder.
    num_layers : int
        Number of all layers, requested or not.
    """

    name: ClassVar[str]
    one_truth: ClassVar[bool] = False
    encoder: str
    num_layers: int

    @property
    def variants(self) -> Mapping[TokenKey, tuple[int, ...]]:
        """The rows of pictures beside the one without a variant, and the positions that each changes."""
        return {}

    @property
    def settings(self) -> dict[str, Any]:
        """What the record keeps of this method, in types that JSON has."""
        return {"method": self.name}

    @property
    def skips(self) -> Sequence[int]:
        """The blocks without which the prompt is encoded too."""
        return ()

    def begin(self, view: PipelineView, lora_scale: float | None) -> Tensor | None:
        """Encode what is needed beside the prompt; what it returns is `begun` for `edit` and `denoiser`."""
        return None

    @abstractmethod
    def edit(self, layer: int, variant: TokenKey | None, begun: Tensor | None) -> Edit:
        """The edit of the picture of a layer and a variant."""

    def states(self, view: PipelineView, encoding: Encoding) -> Tensor | None:
        """The states that the record keeps, (layer, position, width)."""
        return encoding.states

    def denoiser(self, view: PipelineView, begun: Tensor | None) -> Callable[[Rows], AbstractContextManager[object]]:
        """A context for each call of the pipeline, in which the denoiser is changed for its rows."""
        return lambda rows: nullcontext()


@dataclass(frozen=True)
class Lens(Method):
    """Layer k: the picture of the state after block k."""

    name = "lens"
    slots: Slots = "cut"

    def edit(self, layer: int, variant: TokenKey | None, begun: Tensor | None) -> Edit:
        """The state after block `layer`."""
        return Layer(self.encoder, layer, self.slots)


@dataclass(frozen=True)
class Ablation(Method):
    """Layer k: the picture of the encoder without block k; 0: the stock picture."""

    name = "ablation"

    @property
    def skips(self) -> Sequence[int]:
        """Each block."""
        return range(1, self.num_layers)

    def edit(self, layer: int, variant: TokenKey | None, begun: Tensor | None) -> Edit:
        """The encoder without block `layer`."""
        return SkipBlock(self.encoder, layer)

    def states(self, view: PipelineView, encoding: Encoding) -> Tensor:
        """The encoder's last state without each block."""
        skipped = [view.session.encoded(self.encoder, skip=block or None) for block in range(self.num_layers)]
        return torch.stack([found.states[-1] for found in skipped])


@dataclass(frozen=True)
class TextAblation(Method):
    """Layer k: the picture if block `blocks[k - 1]` of the denoiser does not read the text; 0: the stock picture."""

    name = "text ablation"
    stock_layer: int
    blocks: tuple[str, ...]

    @property
    def settings(self) -> dict[str, Any]:
        """With the names of the blocks."""
        return {"method": self.name, "without_text": list(self.blocks)}

    def begin(self, view: PipelineView, lora_scale: float | None) -> Tensor:
        """What the denoiser gets for the empty prompt, (1, position, width)."""
        return view.conditioning("", lora_scale, "empty")[0]

    def edit(self, layer: int, variant: TokenKey | None, begun: Tensor | None) -> Edit:
        """The stock output."""
        return Layer(self.encoder, self.stock_layer)

    def states(self, view: PipelineView, encoding: Encoding) -> None:
        """None: no layer of the encoder is examined."""

    def denoiser(self, view: PipelineView, begun: Tensor | None) -> Callable[[Rows], AbstractContextManager[object]]:
        """The block of each row reads the empty prompt."""
        assert begun is not None

        def context(rows: Rows) -> AbstractContextManager[object]:
            left_out = [self.blocks[layer - 1] if layer else None for layer, _ in rows]
            return without_text(view.pipe.unet, begun, left_out)

        return context


@dataclass(frozen=True)
class Patching(Method):
    """Layer k: at block k the states of some positions are the source prompt's; one variant for each pair of words."""

    one_truth = True
    source: str
    pairs: Mapping[Variant, Pairs]
    output: bool = False

    @property
    def name(self) -> str:  # type: ignore[override]
        """The name: "patch" or "output patch"."""
        return "output patch" if self.output else "patch"

    @property
    def variants(self) -> Mapping[TokenKey, tuple[int, ...]]:
        """One for each pair."""
        return {variant: tuple(mine for mine, _ in pairs) for variant, pairs in self.pairs.items()}

    @property
    def settings(self) -> dict[str, Any]:
        """With the source and its positions, one list for each variant."""
        origins = [[theirs for _, theirs in pairs] for pairs in self.pairs.values()]
        return {"method": self.name, "source": self.source, "source_positions": origins}

    def begin(self, view: PipelineView, lora_scale: float | None) -> Tensor | None:
        """Encode the source."""
        view.encode(self.source, lora_scale, "source")
        return None

    def edit(self, layer: int, variant: TokenKey | None, begun: Tensor | None) -> Edit:
        """The exchange of one pair, or the stock output."""
        if not isinstance(variant, Variant):
            return Layer(self.encoder, self.num_layers - 1)
        pairs = self.pairs[variant]
        return OutputPatch(self.encoder, pairs) if self.output else Patch(self.encoder, layer, pairs)


@dataclass(frozen=True)
class Steering(Method):
    """Layer k: a direction is added to the states after block k; one variant for each strength.

    Attributes
    ----------
    prompts : tuple of str, or None
        The two prompts whose difference the direction is.
    given : Tensor (layer or 1, position or 1, width), or None
        The direction itself.
    mask : Tensor (position, 1)
        1 where a direction that is the same for all positions is added.
    """

    name = "steer"
    one_truth = True
    strengths: Mapping[Variant, float]
    prompts: tuple[str, str] | None
    given: Tensor | None
    mask: Tensor

    @property
    def variants(self) -> Mapping[TokenKey, tuple[int, ...]]:
        """One for each strength; they change no word in particular."""
        return dict.fromkeys(self.strengths, ())

    @property
    def settings(self) -> dict[str, Any]:
        """With the strengths and the prompts of the direction (None: a tensor was given)."""
        prompts = None if self.prompts is None else list(self.prompts)
        return {"method": self.name, "strengths": list(self.strengths.values()), "direction": prompts}

    def begin(self, view: PipelineView, lora_scale: float | None) -> Tensor:
        """The direction, (layer or 1, position, width)."""
        direction = self.given
        if self.prompts is not None:
            plus, minus = self.prompts
            direction = _mean(view.encode(plus, lora_scale, "plus")) - _mean(view.encode(minus, lora_scale, "minus"))
        assert direction is not None
        return direction * self.mask if direction.shape[1] == 1 else direction

    def edit(self, layer: int, variant: TokenKey | None, begun: Tensor | None) -> Edit:
        """The direction with one strength, or the stock output."""
        if not isinstance(variant, Variant):
            return Layer(self.encoder, self.num_layers - 1)
        assert begun is not None
        direction = begun[layer if len(begun) > 1 else 0]
        return Steer(self.encoder, layer, self.strengths[variant], direction)


def _mean(encoding: Encoding) -> Tensor:
    """The mean state of the words and the end token at each layer, (layer, 1, width)."""
    read = [token.index for token in encoding.tokens if token.kind in ("word", "eos")]
    return encoding.states[:, read].float().mean(dim=1, keepdim=True).cpu()
