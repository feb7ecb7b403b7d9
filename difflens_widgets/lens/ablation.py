"""Layer ablation: the picture when one block of the text encoder is skipped. Not what the lens asks, but beside it."""

from __future__ import annotations

from typing import Any

from ..models import AblatedConditioning
from .diffusion_lens import DiffusionLens


class LayerAblation(DiffusionLens):
    """What a block of the text encoder does for the picture: it is skipped, and all the others work.

    The lens stops the encoder after block k; the ablation leaves block k out and goes on. A picture that stays the same
    says that the others can do without this block for this prompt, not that it does nothing.

    Called and started as a `DiffusionLens` is, with the same arguments. In the run that comes back "layer" 0 is the
    stock picture, with nothing skipped, and "layer" k the one without block k; `run.states[k]` is the encoder's last
    state then. Noise, seed and negative prompt are the same for all. `lens.ablate` makes one of a lens.

    Parameters
    ----------
    pipe, batch_size, model, text_encoder
        As for `DiffusionLens`. SDXL: the other encoder keeps all its blocks. The second encoder's last block, which
        works on the pooled vector only, can be skipped as well.

    Examples
    --------
    >>> lens = DiffusionLens.from_pretrained()
    >>> run = lens.ablate("a pink cat on a blue background", layers=[0, 4, 8])
    >>> run.images[4]  # without block 4  # doctest: +SKIP
    """

    def __init__(
        self, pipe: Any, *, batch_size: int | None = None, model: str | None = None, text_encoder: str | None = None
    ) -> None:
        super().__init__(pipe, batch_size=batch_size, model=model, text_encoder=text_encoder)
        self._conditioning = AblatedConditioning(self._conditioning)
