"""The experiment on the embedded model: its prompts, its tasks, and the command."""

from __future__ import annotations

from pathlib import Path

import pytest

from difflens_widgets import EmergenceTable
from difflens_widgets.tiny.caption_checks import read_caption
from difflens_widgets.tiny.evaluation.emergence import common_and_rare, main, object_prompts, scene_prompts, tasks
from difflens_widgets.tiny.scenes import ANIMALS, COLORS, HELD_OUT, KINDS


def test_common_kinds_are_drawn_most_and_rare_ones_least() -> None:
    common, rare = common_and_rare()
    assert min(KINDS[kind] for kind in common) == max(KINDS.values())
    assert max(KINDS[kind] for kind in rare) == min(KINDS.values())
    assert sum(kind in ANIMALS for kind in common) == sum(kind in ANIMALS for kind in rare) == 2


def test_common_and_rare_prompts_differ_in_the_kind_alone() -> None:
    common, rare = object_prompts(60)
    assert len({*common, *rare}) == 120
    kinds = dict(zip(*common_and_rare(), strict=True))
    for one, other in zip(common, rare, strict=True):
        a, b = read_caption(one), read_caption(other)
        (kind,), (other_kind,) = a.things, b.things
        assert kinds[kind] == other_kind
        assert (a.colors[kind], a.background) == (b.colors[other_kind], b.background)
        assert a.background in COLORS
        assert a.background != a.colors[kind]
        assert not {(a.colors[kind], kind), (b.colors[other_kind], other_kind)} & HELD_OUT
    assert object_prompts(60, seed=1) != (common, rare)
    assert object_prompts(20)[0] == common[:20]  # an experiment can grow


@pytest.mark.parametrize("number", [0, 10_000])
def test_there_are_so_many_prompts(number) -> None:
    with pytest.raises(ValueError, match=f"prompts: {number} is outside 1"):
        object_prompts(number)


@pytest.mark.parametrize("task", ["pair", "relation"])
def test_two_things_have_two_colors(task) -> None:
    prompts = scene_prompts(task, 60)
    assert len(set(prompts)) == 60
    assert prompts[:20] == scene_prompts(task, 20)
    assert prompts != scene_prompts(task, 60, seed=1)
    for prompt in prompts:
        claim = read_caption(prompt)
        assert len(set(claim.colors.values())) == 2
        assert claim.background in COLORS  # as in the prompts of one thing
        assert bool(claim.relation) == (task == "relation")
        assert not {(color, kind) for kind, color in claim.colors.items()} & HELD_OUT


def test_every_judge_can_judge_every_prompt_of_its_task() -> None:
    asked = tasks(40)
    assert len({prompt for task in asked for prompt in task.prompts}) == 160  # painted once, for seven tasks
    for task in asked:
        assert len(task.prompts) >= 40
        for prompt in task.prompts:
            assert task.judge.judge([], prompt) == []


def test_the_command_prints_the_table_and_goes_on(tmp_path: Path, capsys) -> None:
    out, figure = tmp_path / "table.json", tmp_path / "table.png"
    arguments = ["--seeds", "1", "--steps", "1", "--guidance-scale", "0", "--layers", "0,12", "--out", str(out)]
    assert main(["--prompts", "1", *arguments]) == 0
    written = out.read_bytes()
    first = capsys.readouterr().out
    assert main(["--prompts", "1", *arguments, "--figure", str(figure)]) == 0
    assert capsys.readouterr().out == first
    assert out.read_bytes() == written
    assert figure.read_bytes().startswith(b"\x89PNG")
    table = EmergenceTable.load(out)
    assert (table.layers, table.seeds, table.settings["num_inference_steps"]) == ((0, 12), (0,), 1)
    assert table.settings["guidance_scale"] == 0
    assert {task: len(prompts) for task, prompts in table.prompts.items()} == {
        "common kind": 1,
        "rare kind": 1,
        "one colour": 2,
        "hue alone": 2,
        "background": 2,
        "two colours": 1,
        "relation": 1,
    }
    assert str(table) in first
    assert "1 steps · guidance 0 · 1 prompts of each kind × 1 seeds" in first
    assert main(["--prompts", "1", *arguments, "--steps", "2"]) == 2
    assert "is of a different experiment (num_inference_steps: 1 there, 2 now)" in capsys.readouterr().err
    assert main(["--model", str(tmp_path)]) == 2
    assert "not a diffusers pipeline folder" in capsys.readouterr().err
