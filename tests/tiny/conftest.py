"""The shipped weights, loaded once, and the pictures they paint, painted once, for all tests that measure them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from PIL import Image

from difflens_widgets import DiffusionLens
from difflens_widgets.tiny.evaluation.score import paint
from difflens_widgets.tiny.judge import Judge

Painter = Callable[..., list[Image.Image]]


@pytest.fixture(scope="session")
def lens() -> DiffusionLens:
    """The embedded model. Tests must leave it as it is."""
    return DiffusionLens.from_pretrained(device="cpu")


@pytest.fixture(scope="session")
def two_rows(pipe: Any) -> DiffusionLens:
    """The embedded model for runs of one or two layers: by default a batch is filled to seven rows."""
    return DiffusionLens(pipe, batch_size=2)


@pytest.fixture(scope="session")
def pipe(lens: DiffusionLens) -> Any:
    return lens.pipe


@pytest.fixture(scope="session")
def judge() -> Judge:
    return Judge.load()


@pytest.fixture(scope="session")
def painted(pipe: Any) -> Painter:
    """`painted(captions, steps, guidance_scale)`: the stock pipeline's pictures, as `score.paint` gives them."""
    known: dict[tuple[Any, ...], list[Image.Image]] = {}

    def get(captions: Sequence[str], steps: int = 20, guidance_scale: float = 4.0) -> list[Image.Image]:
        key = (*captions, steps, guidance_scale)
        if key not in known:
            known[key] = paint(pipe, captions, steps=steps, guidance_scale=guidance_scale)
        return known[key]

    return get
