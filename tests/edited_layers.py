"""What the text encoders return to the pipeline for given edits, and layers that are spoilt on purpose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch

from difflens_widgets import DiffusionLens
from difflens_widgets.lens.edits import Edit, Layer
from difflens_widgets.models.encoder_pass import map_tensors
from difflens_widgets.models.encoder_session import EncoderSession, Source


@torch.inference_mode()
def conditioning(lens: DiffusionLens, prompt: str, edits: Sequence[Edit]) -> tuple[torch.Tensor, ...]:
    """What the stock pipeline's own `encode_prompt` makes of edited encoders: its embeddings, pooled ones too."""
    view = lens.view()
    view.encode(prompt)
    view.encode("", source="empty")
    view.session.begin(edits)
    options: dict[str, Any] = {"num_images_per_prompt": 1, "do_classifier_free_guidance": False}
    found = view.pipe.encode_prompt([prompt] * len(edits), device=view.pipe._execution_device, **options)
    return tuple(part for part in found if part is not None)


def layer_embeds(lens: DiffusionLens, prompt: str) -> torch.Tensor:
    """The embeddings that each layer conditions on, (layer, position, width)."""
    return conditioning(lens, prompt, [Layer(lens.text_encoder, layer) for layer in lens.layers])[0]


def spoil_layer(monkeypatch: pytest.MonkeyPatch, number: int, source: Source = "prompt") -> None:
    """Let the encoder return NaN for one layer of the prompt, or of the empty prompt."""
    edited = Layer._edited

    def spoilt(self: Layer, session: EncoderSession, of: Source) -> Any:
        output = edited(self, session, of)
        return map_tensors(lambda t: t * torch.nan, output) if (self.layer, of) == (number, source) else output

    monkeypatch.setattr(Layer, "_edited", spoilt)
