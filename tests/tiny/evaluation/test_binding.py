"""Binding on the embedded model: its prompts, its positions, what a picture counts as, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from difflens_widgets import DiffusionLens
from difflens_widgets.analysis.intervals import wilson
from difflens_widgets.lens.patch_pairs import patch_pairs
from difflens_widgets.tiny.caption_checks import read_caption
from difflens_widgets.tiny.evaluation.binding import binding_table, color_swaps, main, outcome, places
from difflens_widgets.tiny.evaluation.binding_table import (
    FOLLOWED,
    KEPT,
    MISSING,
    MOVED,
    OTHER,
    OUTCOMES,
    POSITIONS,
    BindingTable,
    ColorSwap,
)
from difflens_widgets.tiny.judge import Reading, Seen
from difflens_widgets.tiny.scenes import HELD_OUT

QUICK = {"num_inference_steps": 1, "guidance_scale": 0}
CAT = ColorSwap("a red cat and a blue dog", "a green cat and a blue dog", "cat", "dog", "red", "green")


@pytest.fixture(scope="module")
def lens() -> DiffusionLens:
    return DiffusionLens.from_pretrained()


def test_prompt_and_source_differ_in_one_color_word() -> None:
    swaps = color_swaps(60)
    assert len(set(swaps)) == 60
    assert swaps[:20] == color_swaps(20)  # an experiment can grow
    assert swaps != color_swaps(60, seed=1)
    for swap in swaps:
        here, there = read_caption(swap.prompt), read_caption(swap.source)
        assert {**here.colors, swap.thing: swap.new} == there.colors
        assert (here.colors[swap.thing], {*here.colors}) == (swap.old, {swap.thing, swap.other})
        assert swap.new not in {*here.colors.values(), here.background}  # or it would be there without a patch
        assert here.background == there.background
        differ = [pair for pair in zip(swap.prompt.split(), swap.source.split(), strict=True) if len(set(pair)) == 2]
        assert differ == [(swap.old, swap.new)]
        assert not {(color, kind) for kind, color in there.colors.items()} & HELD_OUT
        assert [swap.thing, swap.other][:: 1 if swap.which == "first" else -1] == [*here.colors]
    first = [swap.which == "first" for swap in swaps]
    assert 20 < sum(first) < 40


def test_there_is_at_least_one_prompt() -> None:
    with pytest.raises(ValueError, match="prompts: 0 is too few"):
        color_swaps(0)


def test_the_positions_are_where_they_are_said_to_be(lens: DiffusionLens) -> None:
    for swap in color_swaps(40):
        prompt, source = lens.tokenize(swap.prompt), lens.tokenize(swap.source)
        tokens = prompt[0]
        patched = patch_pairs(places(swap, tokens), prompt, source).values()
        found = dict(zip(POSITIONS, patched, strict=True))
        assert all(mine == theirs for pairs in patched for mine, theirs in pairs)
        texts = {name: [tokens[mine].text for mine, _ in pairs] for name, pairs in found.items()}
        assert "".join(texts["colour word"]) == swap.old
        assert "".join(texts["thing word"]) == swap.thing
        assert "".join(texts["other thing word"]) == swap.other
        assert {tokens[mine].kind for mine, _ in found["end token"]} == {"eos"}
        assert {tokens[mine].kind for mine, _ in found["padding"]} == {"pad"}
        behind = [mine for name in POSITIONS for mine, _ in found[name] if mine >= found["colour word"][0][0]]
        assert sorted(behind) == list(range(behind[0], len(tokens)))  # each from the color word on, once
        assert (found["other thing word"][0][0] in behind) == (swap.which == "first")


def test_what_a_picture_counts_as() -> None:
    def read(**colors: str) -> str:
        return outcome(CAT, Reading("white", {kind: Seen(color, 1, 0, 0, 0) for kind, color in colors.items()}))

    assert read(cat="green", dog="blue") == FOLLOWED
    assert read(cat="green", dog="green") == FOLLOWED
    assert read(cat="red", dog="blue") == KEPT
    assert read(cat="red") == KEPT
    assert read(cat="red", dog="green") == MOVED
    assert read(dog="green") == MOVED
    assert read(cat="pink", dog="blue") == OTHER
    assert read(dog="blue") == MISSING


def table_of(*runs: dict[str, str]) -> BindingTable:
    outcomes = {(CAT, seed): run for seed, run in enumerate(runs)}
    return BindingTable((0, 6), tuple(range(len(runs))), (CAT,), outcomes, "a judge", {"model": "tiny"})


def run_of(stock: str, **marks: str) -> dict[str, str]:
    return {"prompt": stock[0], "source": stock[1], **dict.fromkeys(POSITIONS, "kk"), **marks}


def test_shares_are_counted_with_their_intervals(tmp_path: Path) -> None:
    table = table_of(
        run_of("kf", **{"colour word": "fk", "padding": "wx"}),
        run_of("kf", **{"colour word": "ff"}),
        run_of("kx", **{"colour word": "kk"}),
        run_of("of", **{"colour word": "fk"}),
    )
    assert np.allclose(table.shares("colour word"), [(0.75, *wilson(3, 4)), (0.25, *wilson(1, 4))])
    assert np.allclose(table.shares("padding", MOVED)[:, 0], [0.25, 0])
    assert np.allclose(table.shares("prompt", KEPT), [(0.75, *wilson(3, 4))])
    assert np.allclose(table.shares("source"), [(0.75, *wilson(3, 4))])
    assert (table.number(), table.number(clean=True)) == (4, 2)
    assert np.allclose(table.shares("colour word", clean=True)[:, 0], [1, 0.5])
    for position in POSITIONS:
        assert np.allclose(sum(table.shares(position, mark)[:, 0] for mark in OUTCOMES), 1)
    assert (table.number("first"), table.number("second")) == (4, 0)
    assert np.allclose(table.shares("colour word", which="first"), table.shares("colour word"))
    with pytest.raises(ValueError, match="which: 'third' is none of 'first', 'second'"):
        table.number("third")
    with pytest.raises(ValueError, match="position: 'end' is none of 'prompt', 'source', 'colour word'"):
        table.shares("end")
    again = BindingTable.load(table.save(tmp_path / "table.json"))
    assert (str(again), again.swaps, again.outcomes) == (str(table), table.swaps, table.outcomes)


def test_nothing_is_right_without_a_patch() -> None:
    table = table_of(run_of("xx"))
    assert np.isnan(table.shares("padding", clean=True)[0, 0])
    assert tuple(table.shares("padding", clean=True)[0, 1:]) == (0, 1)
    assert "n = 0" in str(table)
    assert "–" in str(table)


def test_a_color_word_patched_at_the_embeddings_is_the_source(lens: DiffusionLens) -> None:
    # the two prompts differ nowhere else, so nothing else can be patched there
    table = binding_table(lens, color_swaps(1), seeds=[0], layers=[0], num_inference_steps=4)
    (found,) = table.outcomes.values()
    assert found["colour word"] == found["source"]
    assert {found[position] for position in POSITIONS[1:]} == {found["prompt"]}
    assert table.settings["num_inference_steps"] == 4


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": []}, "seeds: expected different ones, at least one, got"),
        ({"seeds": [1, 1]}, "seeds: expected different ones"),
        ({"layers": [13]}, "layers"),
        ({"seed": 3}, "seed: this experiment takes none; give seeds="),
        ({"keep_tokens": "cat"}, "keep_tokens"),
        ({"nothing": 3}, "nothing"),
    ],
)
def test_arguments_that_cannot_work(lens: DiffusionLens, wrong: dict, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        binding_table(lens, color_swaps(1), **{**QUICK, **wrong})


def test_no_prompts(lens: DiffusionLens) -> None:
    with pytest.raises(ValueError, match="prompts: expected different ones"):
        binding_table(lens, [], **QUICK)


def test_the_command_prints_the_table_and_goes_on(tmp_path: Path, capsys) -> None:
    out, figure = tmp_path / "table.json", tmp_path / "table.png"
    arguments = ["--steps", "1", "--guidance-scale", "0", "--layers", "12", "--out", str(out)]
    assert main(["--prompts", "1", "--seeds", "1", *arguments]) == 0
    first = capsys.readouterr().out
    table = BindingTable.load(out)
    assert (table.layers, table.seeds, table.number()) == ((12,), (0,), 1)
    assert str(table) in first
    assert "1 steps · guidance 0 · 1 prompts × 1 seeds" in first

    killed = json.loads(out.read_text("utf-8"))  # what was read is gone on with, not painted again
    killed["prompts"][0]["outcomes"][0]["padding"] = "w"
    out.write_text(json.dumps(killed), "utf-8")
    assert main(["--prompts", "2", "--seeds", "1", *arguments, "--figure", str(figure)]) == 0
    assert figure.read_bytes().startswith(b"\x89PNG")
    grown = BindingTable.load(out)
    assert (grown.number(), grown.swaps[0]) == (2, table.swaps[0])
    assert grown.outcomes[grown.swaps[0], 0]["padding"] == "w"

    capsys.readouterr()
    assert main(["--prompts", "1", "--seeds", "1", *arguments]) == 2
    assert "has 1 runs that are not requested now" in capsys.readouterr().err
    assert main(["--prompts", "2", "--seeds", "1", *arguments, "--steps", "2"]) == 2
    assert "is of a different experiment (num_inference_steps: 1 there, 2 now)" in capsys.readouterr().err
    assert main(["--prompts", "0"]) == 2
    assert "prompts: 0 is too few" in capsys.readouterr().err


def test_a_file_that_is_no_finished_experiment(tmp_path: Path) -> None:
    path = table_of(run_of("kf")).save(tmp_path / "table.json")
    content = json.loads(path.read_text("utf-8"))
    content["prompts"][0]["outcomes"] = [None]
    path.write_text(json.dumps(content), "utf-8")
    with pytest.raises(ValueError, match="not finished, 1 runs are missing"):
        BindingTable.load(path)
    for other in ("[]", "{", '{"binding_schema": 99}', '{"emergence_schema": 2}'):
        path.write_text(other, "utf-8")
        with pytest.raises(ValueError, match="no table of binding"):
            BindingTable.load(path)
