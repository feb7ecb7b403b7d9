"""compare() and emergence_table() show every argument of the lens in their signatures, with the same defaults."""

from __future__ import annotations

import inspect

import pytest

from difflens_widgets import DiffusionLens, compare, emergence_table

NOT_JUDGED = {"seed", "snapshots", "keep_tokens", "attention"}  # emergence_table has seeds, and judges pictures only


@pytest.mark.parametrize(("function", "left_out"), [(compare, set()), (emergence_table, NOT_JUDGED)])
def test_the_arguments_of_the_lens_are_written_out(function, left_out) -> None:
    own = inspect.signature(function).parameters
    assert all(each.kind is not inspect.Parameter.VAR_KEYWORD for each in own.values())
    assert {"num_inference_steps", "guidance_scale", "cross_attention_kwargs", "on_step"} <= {*own}
    of_lens = inspect.signature(DiffusionLens.start).parameters.values()
    named = {each.name: each.default for each in of_lens if each.kind is inspect.Parameter.KEYWORD_ONLY}
    assert {name: own[name].default for name in named if name not in left_out} == {
        name: default for name, default in named.items() if name not in left_out
    }
