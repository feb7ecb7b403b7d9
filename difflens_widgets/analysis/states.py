"""The hidden states of a prompt's tokens, layer by layer: from a lens, without painting, or from a run.

`read_states` needs torch; everything else here does not.
"""

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
        True: as the denoiser receives them, after the final norm. False: the raw hidden states.
    """

    prompt: str
    tokens: tuple[Token, ...]
    states: np.ndarray
    normed: bool


HasStates = LensRun | TokenStates  # what the analyses of states take


def read_states(
    lens: DiffusionLens, prompt: str, *, normed: bool = False, lora_scale: float | None = None
) -> TokenStates:
    """Encode one prompt and return the states of all layers; nothing is painted.

    Parameters
    ----------
    lens : DiffusionLens
        Of a pipeline with several text encoders, only the one that the lens looks at is read.
    prompt : str
    normed : bool
        False: the hidden states, as `LensRun.states` has them (there in float16). True: as the denoiser receives them,
        after the encoder's final norm (SDXL applies none, so there both are the same).
    lora_scale : float, optional
        Strength of LoRA weights in the encoder; default 1.

    Raises
    ------
    TypeError
        If `prompt` is not a str.
    """
    if not isinstance(prompt, str):
        raise TypeError(f"prompt: expected str, got {type(prompt).__name__}: {prompt!r}")
    encoding = lens.encode(prompt, lora_scale=lora_scale)
    states = encoding.normed_states if normed else encoding.states
    return TokenStates(prompt, encoding.tokens, states.float().cpu().numpy(), normed)


def require_layers(run: HasStates) -> None:
    """Refuse a run whose "layers" are not computed one from another: that of a layer ablation.

    Raises
    ------
    ValueError
        If it is one.
    """
    method = run.settings.get("method", "lens") if isinstance(run, LensRun) else "lens"
    if method != "lens":
        raise ValueError(f"run: is one of the {method}, not of the lens; its layers do not build on each other")


def states_of(record: HasStates) -> np.ndarray:
    """Return the states of a run or of `TokenStates` in float64, (layer, token, width).

    Raises
    ------
    ValueError
        If there are none, or some are not finite.
    """
    if record.states is None:
        raise ValueError(f"the run of {record.prompt!r} has no states (yet)")
    scale = record.settings.get("states_scale", 1.0) if isinstance(record, LensRun) else 1.0
    states = np.asarray(record.states, dtype=np.float64) * scale
    if not np.isfinite(states).all():
        raise ValueError(
            f"some states of {record.prompt!r} are not finite: a run keeps them in float16; take read_states instead"
        )
    return states


def positions_of(record: HasStates, kinds: Kind | Iterable[Kind]) -> list[int]:
    """Return the positions of the tokens of these kinds, in ascending order.

    Raises
    ------
    ValueError
        If a kind is unknown, or the prompt has no such token.
    """
    requested: list[str] = [kinds] if isinstance(kinds, str) else list(kinds)
    for kind in requested:
        if kind not in KINDS:
            raise ValueError(f"kinds: {kind!r} is none of {', '.join(KINDS)}")
    positions = [token.index for token in record.tokens if token.kind in requested]
    if not positions:
        names = " or ".join(requested) or "(none given)"
        raise ValueError(f"kinds: {record.prompt!r} has no token of the kind {names}")
    return positions


def states_at(record: HasStates, positions: Iterable[int]) -> np.ndarray:
    """Return the states of these positions, as `states_of`.

    Raises
    ------
    ValueError
        If a run of a wide encoder does not hold one of them.
    """
    states = states_of(record)
    kept = record.state_positions if isinstance(record, LensRun) else range(states.shape[1])
    column = {position: index for index, position in enumerate(kept)}
    missing = [position for position in positions if position not in column]
    if missing:
        raise ValueError(
            f"the run of {record.prompt!r} holds no states of the positions {missing[:8]}: of a wide encoder it keeps "
            "the words and the end token; take read_states, which has all"
        )
    return states[:, [column[position] for position in positions]]


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Cosine over the last axis, -1..1, in float64; exactly 1 for equal vectors, NaN where a vector is zero."""
    # 1 - |u - v|² / 2 for directions u and v: unlike the dot product it has no rounding error where u equals v
    return np.clip(1 - ((_directions(a) - _directions(b)) ** 2).sum(-1) / 2, -1.0, 1.0)


def _directions(vectors: np.ndarray) -> np.ndarray:
    """Vectors of length 1, float64; NaN for those of length zero."""
    vectors = vectors.astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.divide(vectors, lengths, out=np.full_like(vectors, np.nan), where=lengths > 0)
