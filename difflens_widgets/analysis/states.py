"""The states of a prompt's tokens, layer by layer: read from a lens without painting, or taken from a record."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..runs.run import LensRun
from ..runs.tokens import Kind, Token

if TYPE_CHECKING:
    from ..lens.diffusion_lens import DiffusionLens

KINDS: tuple[Kind, ...] = ("bos", "word", "eos", "pad")


@dataclass(frozen=True, eq=False)  # compared and hashed by identity
class TokenStates:
    """The states of one prompt.

    Attributes
    ----------
    prompt : str
    tokens : tuple of Token
    states : float32 array (layer, token, width)
        Layer 0 is the embeddings.
    normed : bool
        Whether they are as the denoiser is given them, or the raw hidden states.
    """

    prompt: str
    tokens: tuple[Token, ...]
    states: np.ndarray
    normed: bool


HasStates = LensRun | TokenStates  # what the measures take


def read_states(
    lens: DiffusionLens, prompt: str, *, normed: bool = False, lora_scale: float | None = None
) -> TokenStates:
    """Encode one prompt and keep the states of all layers; nothing is painted.

    Parameters
    ----------
    lens : DiffusionLens
    prompt : str
    normed : bool
        False: the hidden states, as `LensRun.states` has them (there in float16). True: as the denoiser is given
        them, after the encoder's own final norm (SDXL has none, so there it makes no difference). Of two encoders
        only the one that is looked at is read.
    lora_scale : float, optional
        The strength of LoRA weights in the encoder; by default 1.

    Raises
    ------
    TypeError
        If `prompt` is no str.
    """
    if not isinstance(prompt, str):
        raise TypeError(f"prompt: expected str, got {type(prompt).__name__}: {prompt!r}")
    encoding = lens.encode(prompt, lora_scale=lora_scale)
    states = encoding.normed_states if normed else encoding.states
    return TokenStates(prompt, encoding.tokens, states.float().cpu().numpy(), normed)


def require_layers(run: HasStates) -> None:
    """Refuse a run whose "layers" do not follow one another, such as that of a layer ablation."""
    question = run.settings.get("method", "lens") if isinstance(run, LensRun) else "lens"
    if question != "lens":
        raise ValueError(f"run: is one of the {question}, not of the lens; its layers do not build on each other")


def states_of(record: HasStates) -> np.ndarray:
    """The states of a record in float64, checked.

    Raises
    ------
    ValueError
        If it has none, or some are not finite.
    """
    if record.states is None:
        raise ValueError(f"the run of {record.prompt!r} has no states (yet)")
    states = np.asarray(record.states, dtype=np.float64)
    if not np.isfinite(states).all():
        raise ValueError(
            f"some states of {record.prompt!r} are not finite: a run keeps them in float16; take read_states instead"
        )
    return states


def places_of(record: HasStates, kinds: Kind | Iterable[Kind]) -> list[int]:
    """Where the tokens of these kinds stand.

    Raises
    ------
    ValueError
        If a kind is unknown, or the prompt has none of them.
    """
    asked: list[str] = [kinds] if isinstance(kinds, str) else list(kinds)
    for kind in asked:
        if kind not in KINDS:
            raise ValueError(f"kinds: {kind!r} is none of {', '.join(KINDS)}")
    places = [token.index for token in record.tokens if token.kind in asked]
    if not places:
        raise ValueError(f"kinds: {record.prompt!r} has no token of the kind {' or '.join(asked) or '(none given)'}")
    return places


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine over the last axis, -1..1, in float64; NaN where one of the vectors is zero."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    lengths = np.linalg.norm(a, axis=-1) * np.linalg.norm(b, axis=-1)
    dots = (a * b).sum(-1)
    return np.clip(np.divide(dots, lengths, out=np.full_like(lengths, np.nan), where=lengths > 0), -1.0, 1.0)
