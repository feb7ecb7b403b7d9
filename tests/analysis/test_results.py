"""Results hold arrays, so they compare and hash by identity: `==` never fails, and a set or a dict takes them."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from difflens_widgets import EmergenceTable, layer_change, layer_cka
from difflens_widgets.analysis.encoder_attention import EncoderAttention
from difflens_widgets.analysis.similarity import Pairs, SimilarityReport
from difflens_widgets.analysis.states import TokenStates
from drawn_comparisons import drawn_comparison
from drawn_runs import drawn_run


def results() -> list[object]:
    run = drawn_run()
    pairs = Pairs((("a", "b"),), np.ones((1, 2)))
    return [
        layer_cka([run, run], debiased=True),
        layer_change(run),
        pairs,
        SimilarityReport(np.ones(2), pairs, pairs, pairs, ("a", "b"), ("a", "b"), "mean", normed=True, model="tiny"),
        EmergenceTable((0,), (0,), {"t": ("a",)}, {"t": np.ones((1, 1, 1), bool)}, {"t": "J"}, {}),
        EncoderAttention("a", run.tokens, np.ones((1, 1, 2, 2), np.float32)),
        TokenStates("a", run.tokens, np.ones((1, 2, 3), np.float32), normed=False),
        drawn_comparison(),
    ]


@pytest.mark.parametrize("result", results(), ids=lambda result: type(result).__name__)
def test_results_compare_and_hash_by_identity(result) -> None:
    twin = copy.copy(result)
    assert result == result
    assert result != twin
    assert len({result, twin, result}) == 2
