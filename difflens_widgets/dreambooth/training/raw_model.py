"""The model as it was before the training, whose predictions the prior rows may be trained on (`prior_target`).

Images that the model generated say what it did a few times, each with its own noise; its prediction says what it would
do. So nothing pulls at what has not changed, and few images are not learnt by heart. This is learning without
forgetting (Li and Hoiem 2016) for a denoiser.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from .trainable import encode_once


class RawModel:
    """The raw U-Net, and its text encoder's states of the prompts that it will be asked about."""

    def __init__(self, pipe: Any, input_ids: Tensor, *, keep_unet: bool) -> None:
        """To be made before anything is trained, or a checkpoint loaded.

        Parameters
        ----------
        pipe : StableDiffusionPipeline
        input_ids : int Tensor (prompts, tokens)
        keep_unet : bool
            Copy the U-Net; without it, its LoRA layers are switched off while it predicts.
        """
        self._unet = copy.deepcopy(pipe.unet).eval().requires_grad_(False) if keep_unet else pipe.unet
        self._lora = not keep_unet
        self._states = encode_once(pipe.text_encoder, input_ids)

    @torch.no_grad()
    def predict(self, noisy: Tensor, timesteps: Tensor, prompts: Tensor) -> Tensor:
        """Predict what the raw model predicts.

        Parameters
        ----------
        noisy : Tensor (rows, C, h, w)
        timesteps : int Tensor (rows,)
        prompts : int Tensor (rows,)
            Which of the prompts each row has.

        Returns
        -------
        Tensor (rows, C, h, w)
        """
        with self._without_lora():
            return self._unet(noisy, timesteps, self._states[prompts]).sample

    @contextmanager
    def _without_lora(self) -> Iterator[None]:
        if not self._lora:
            yield
            return
        self._unet.disable_adapters()
        try:
            yield
        finally:
            self._unet.enable_adapters()
