"""The embedding of one token, trained by itself: the first half of pivotal tuning (Gal et al. 2022, Roich et al. 2021).

The embedding is a parameter of its own. While the text encoder runs in training it takes the place of the token's row
in the embedding table; `write` puts it into the table, for validation and for saving.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..rare_tokens import pieces_of


class TokenEmbedding(nn.Module):
    """The embedding of a token as a trainable float32 vector (width,)."""

    def __init__(self, table: nn.Embedding, token_id: int) -> None:
        """Begin with the row of `table`, the token embeddings of the text encoder."""
        super().__init__()
        self.token_id = token_id
        self.vector = nn.Parameter(table.weight[token_id].detach().float().clone())

    @classmethod
    def of(cls, pipe: Any, word: str) -> TokenEmbedding:
        """The embedding of a word that is one token; see `token_id_of`."""
        return cls(pipe.text_encoder.get_input_embeddings(), token_id_of(pipe.tokenizer, word))

    @contextmanager
    def used_by(self, text_encoder: Any) -> Iterator[None]:
        """Within the block the text encoder reads this vector instead of the row in its table."""

        def replace(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            return torch.where((inputs[0] == self.token_id)[..., None], self.vector.to(output.dtype), output)

        hook = text_encoder.get_input_embeddings().register_forward_hook(replace)
        try:
            yield
        finally:
            hook.remove()

    @torch.no_grad()
    def write(self, text_encoder: Any) -> None:
        """Copy the vector into the table of the text encoder."""
        text_encoder.get_input_embeddings().weight.data[self.token_id] = self.vector


def token_id_of(tokenizer: Any, word: str) -> int:
    """The id of a word that is one token.

    Raises
    ------
    ValueError
        If the tokenizer splits it.
    """
    ids = tokenizer(word, add_special_tokens=False).input_ids
    if len(ids) != 1:
        pieces = " + ".join(pieces_of(tokenizer, word))
        raise ValueError(
            f"train_token_embedding: {word!r} is not one token but {len(ids)} ({pieces}); "
            "choose a single one as unique_identifier, for example with rare_tokens(pipe, class_word)"
        )
    return int(ids[0])
