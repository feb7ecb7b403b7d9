"""Where the text encoder's own tokens look: self-attention, exact, for every block and head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..attention.probe import Call, heard
from ..lens.sharing import run_in_worker
from ..models import checks
from ..models.view import Encoding
from ..runs.tokens import Token

if TYPE_CHECKING:
    from ..lens.diffusion_lens import DiffusionLens


@dataclass(frozen=True, eq=False)  # compared and hashed by identity
class EncoderAttention:
    """The self-attention of a text encoder for one prompt.

    Attributes
    ----------
    prompt : str
    tokens : tuple of Token
        The encoder's input, start, end and padding included.
    weights : float32 array (block, head, token, token)
        `weights[k - 1, head, i, j]`: how much token i looks at token j in block k, the one that makes the lens' layer
        k of layer k - 1. The last axis sums to 1; CLIP's tokens look at nothing behind them (j > i is 0).
    """

    prompt: str
    tokens: tuple[Token, ...]
    weights: npt.NDArray[np.float32]

    def block(self, number: int) -> npt.NDArray[np.float32]:
        """Block `number`, 1 the first, as (head, token, token).

        Raises
        ------
        ValueError
            If there is no such block; layer 0, the embeddings, has none before it.
        """
        index = checks.as_int("block", number)
        if not 1 <= index <= len(self.weights):
            raise ValueError(
                f"block: there is no number {index}; this text encoder has the blocks 1..{len(self.weights)}"
            )
        return self.weights[index - 1]

    def __repr__(self) -> str:
        blocks, heads = self.weights.shape[:2]
        return f"EncoderAttention({self.prompt!r}, {blocks} blocks, {heads} heads)"


def encoder_attention(lens: DiffusionLens, prompt: str) -> EncoderAttention:
    """Which tokens each token of a prompt looks at in the lensed text encoder.

    One encode, as the stock pipeline does it; 7 MB for SD 1.x (12 blocks, 12 heads, 77 × 77 tokens), 63 MB for
    SDXL's second encoder.

    Parameters
    ----------
    lens : DiffusionLens
        Its encoder is read, and only the blocks that the stock picture depends on.
    prompt : str

    Raises
    ------
    TypeError
        If the prompt is no str.
    RuntimeError
        If a block does not call torch's `scaled_dot_product_attention`, so that nothing can be read there.
    """
    checks.prompts([prompt], None)
    modules = {f"block {number}": block.get_submodule("self_attn") for number, block in enumerate(lens.blocks, 1)}
    weights: dict[str, npt.NDArray[np.float32]] = {}

    def listen(name: str, call: Call) -> None:
        if name not in weights:  # the first encode is the stock one
            weights[name] = call.probabilities(0).cpu().numpy()

    def end(name: str) -> None:
        if name not in weights:
            raise RuntimeError(
                f"attention: {name} of the text encoder does not call torch's scaled_dot_product_attention, so nothing "
                'can be read there; what helps: its set_attn_implementation("sdpa")'
            )

    def watched() -> Encoding:
        with heard(modules, listen, end):
            return lens.view().encode(prompt)

    encoding = run_in_worker(lens.pipe, watched)
    return EncoderAttention(prompt, encoding.tokens, np.stack([weights[name] for name in modules]))
