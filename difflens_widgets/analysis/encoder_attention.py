"""Self-attention of the text encoder: the exact weights of every block and head."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..attention.sdpa_hook import SdpaCall, capture_sdpa
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
        The encoder's input, with start token, end token and padding.
    weights : float32 array (block, head, token, token)
        `weights[k - 1, head, i, j]`: how much token i attends to token j in block k, which computes layer k of the lens
        from layer k - 1. The last axis sums to 1. CLIP is causal: a token attends to no later one (0 for j > i).
    """

    prompt: str
    tokens: tuple[Token, ...]
    weights: npt.NDArray[np.float32]

    def block(self, number: int) -> npt.NDArray[np.float32]:
        """Return the weights of block `number` (the first is 1), (head, token, token).

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
    """Read how much each token of a prompt attends to each other one in the text encoder that the lens looks at.

    It takes one forward of the encoder, as in the stock pipeline. The result has 7 MB for SD 1.x (12 blocks, 12 heads,
    77 × 77 tokens), 63 MB for SDXL's second encoder.

    Parameters
    ----------
    lens : DiffusionLens
        Only the blocks that the stock picture depends on are read.
    prompt : str

    Raises
    ------
    TypeError
        If `prompt` is not a str.
    RuntimeError
        If a block does not call torch's `scaled_dot_product_attention`, so that nothing can be read there.
    """
    checks.prompts([prompt], None)
    modules = {f"block {number}": block.get_submodule("self_attn") for number, block in enumerate(lens.blocks, 1)}
    weights: dict[str, npt.NDArray[np.float32]] = {}

    def listen(name: str, call: SdpaCall) -> None:
        if name not in weights:  # the first forward is the stock one
            weights[name] = call.probabilities(0).cpu().numpy()

    def end(name: str) -> None:
        if name not in weights:
            raise RuntimeError(
                f"attention: {name} of the text encoder does not call torch's scaled_dot_product_attention, so nothing "
                'can be read there; what helps: its set_attn_implementation("sdpa")'
            )

    def watched() -> Encoding:
        with capture_sdpa(modules, listen, end):
            return lens.view().encode(prompt)

    encoding = run_in_worker(lens.pipe, watched)
    return EncoderAttention(prompt, encoding.tokens, np.stack([weights[name] for name in modules]))
