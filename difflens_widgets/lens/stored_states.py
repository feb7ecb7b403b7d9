"""What a run keeps of the hidden states: float16, and for wide encoders only at the words of the prompt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..runs.tokens import Token

_WIDE = 1024
_LONG = 77  # CLIP's length: up to here, all positions of an encoder of any width are few
_LARGEST = torch.finfo(torch.float16).max


def stored_states(states: Tensor | None, tokens: Sequence[Token]) -> tuple[np.ndarray | None, dict[str, Any]]:
    """The states that a run keeps, and the settings that tell how.

    Encoders wider than 1024 with more than 77 positions keep the states of the words and the end token: all of them
    would be 100 MB for T5-XXL. States beyond float16's range, as language models have them, are divided by a power of
    two.

    Parameters
    ----------
    states : Tensor (layer, position, width), or None
        None: the run keeps no states.
    tokens : sequence of Token

    Returns
    -------
    states : float16 array (layer, kept position, width), or None
    settings : dict
        "state_positions" if not all are kept; "states_scale", the divisor, if it is not 1.
    """
    if states is None:
        return None, {}
    about: dict[str, Any] = {}
    if states.shape[-1] > _WIDE and states.shape[1] > _LONG:
        kept = [token.index for token in tokens if token.kind in ("word", "eos")] or [0]
        states = states[:, kept]
        about["state_positions"] = kept
    peak = float(states.abs().max())
    if math.isfinite(peak) and peak > _LARGEST:
        about["states_scale"] = float(2 ** math.ceil(math.log2(peak / _LARGEST)))
        states = states.float() / about["states_scale"]
    return states.half().cpu().numpy(), about
