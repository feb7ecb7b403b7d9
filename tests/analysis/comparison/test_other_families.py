"""Two models of a family with a transformer, compared and swapped."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from difflens_widgets import DiffusionLens, DiffViewer, compare
from joint_pipelines import small_flux_pipeline

SMALL = {"height": 32, "width": 32, "num_inference_steps": 2, "layers": [0, 2]}


@pytest.fixture(scope="module")
def lenses() -> tuple[DiffusionLens, DiffusionLens]:
    raw, tuned = small_flux_pipeline(), small_flux_pipeline()
    torch.manual_seed(1)
    with torch.no_grad():
        for part in (tuned.text_encoder_2, tuned.transformer):
            for weight in part.parameters():
                weight.add_(0.1 * weight.std() * torch.randn_like(weight) if weight.ndim > 1 else 0)
    return DiffusionLens(raw, batch_size=2, model="raw"), DiffusionLens(tuned, batch_size=2, model="tuned")


def test_compare_with_attribution(lenses) -> None:
    comparison = compare(*lenses, "a red circle", attribution=True, **SMALL)
    shares = [comparison.metrics[f"attribution_{part}"] for part in ("encoder", "unet", "both")]
    np.testing.assert_allclose(np.sum(shares, axis=0), 1, atol=1e-6)
    assert set(comparison.swapped) == {("raw", "tuned"), ("tuned", "raw")}
    assert "transformer of" in comparison.swapped["raw", "tuned"].settings["model"]
    assert DiffViewer(comparison).status == "done"


def test_models_that_are_one() -> None:
    lens = DiffusionLens(small_flux_pipeline(), batch_size=2)
    other = DiffusionLens(type(lens.pipe)(**lens.pipe.components), batch_size=2)
    with pytest.raises(ValueError, match="its pipeline has the very modules of raw"):
        compare(lens, other, "a red circle", **SMALL)
