"""Emergence: of single runs, of experiments over prompts and seeds, and the table they give."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from PIL import Image

from difflens_widgets import DiffusionLens, EmergenceTable, EmergenceTask, SceneJudge, emergence, emergence_table
from difflens_widgets.analysis.emergence import first_to_stay
from difflens_widgets.analysis.intervals import median_interval, wilson
from difflens_widgets.analysis.sweep.engine import processes
from difflens_widgets.tiny.drawing import draw
from difflens_widgets.tiny.scenes import sample_scene
from drawn_runs import SETTINGS, drawn_run
from edited_layers import spoil_layer
from pipelines import small_pipeline

QUICK = {"num_inference_steps": 1, "guidance_scale": 0}
PROMPTS = ["a red circle", "a blue dog"]


class Bright:
    """Says yes where the picture is brighter than the prompt is long: a judge whose answers can be worked out."""

    def __init__(self, limit: float = 100.0) -> None:
        self.description = f"Bright({limit})"
        self.limit, self.asked = limit, []

    def judge(self, images: Sequence[Image.Image], prompt: str) -> list[bool]:
        self.asked.append((len(images), prompt))
        return [float(np.asarray(image).mean()) > self.limit + len(prompt) for image in images]


@pytest.fixture(scope="module")
def lens() -> DiffusionLens:
    return DiffusionLens(small_pipeline(DDIMScheduler), batch_size=5)


@pytest.fixture
def painted(lens, monkeypatch) -> list[tuple[str, int]]:
    """The runs that were painted."""
    seen = []
    jobs = lens._jobs

    def watched(prompt, **options):
        if isinstance(prompt, str):
            seen.append((prompt, options.get("seed")))
        return jobs(prompt, **options)

    monkeypatch.setattr(lens, "_jobs", watched)
    return seen


def grays(levels: dict[int, int]) -> dict[int, Image.Image]:
    return {layer: Image.new("RGB", (8, 8), (level,) * 3) for layer, level in levels.items()}


# one run


@pytest.mark.parametrize(
    ("marks", "layer"),
    [("0000", None), ("1111", 0), ("0011", 2), ("1011", 2), ("1110", None), ("0001", 3), ("1", 0), ("", None)],
)
def test_first_to_stay(marks, layer) -> None:
    assert first_to_stay({index: mark == "1" for index, mark in enumerate(marks)}) == layer
    backwards = {index: mark == "1" for index, mark in reversed([*enumerate(marks)])}
    assert first_to_stay(backwards) == layer


def test_a_run_is_judged_layer_by_layer() -> None:
    run = drawn_run("dog", depth=5, images=grays({4: 200, 0: 200, 1: 10, 3: 200, 2: 10}))
    judge = Bright()
    assert emergence(run, judge) == (3, {0: True, 1: False, 2: False, 3: True, 4: True})
    assert judge.asked == [(5, "dog")]
    assert emergence(run, Bright(5)).layer == 0
    assert emergence(run, Bright(250)).layer is None


def test_of_some_layers_the_first_of_these() -> None:
    run = drawn_run("dog", depth=5, layers=(4, 0, 2), images=grays({4: 200, 0: 10, 2: 200}))
    assert emergence(run, Bright()) == (2, {0: False, 2: True, 4: True})


def test_a_layer_that_failed_is_not_right() -> None:
    run = drawn_run("dog", depth=3, images=grays({0: 200, 2: 200}), failures={1: "not finite"})
    assert emergence(run, Bright()) == (2, {0: True, 1: False, 2: True})


def test_the_scene_judge_reads_the_embedded_models_pictures() -> None:
    right, wrong = (sample_scene(np.random.default_rng(seed), "object", explicit=True) for seed in (3, 4))
    images = {0: draw(wrong), 1: draw(right), 2: draw(right)}
    run = drawn_run(right.caption, depth=3, images=images)
    assert emergence(run, SceneJudge()) == (1, {0: False, 1: True, 2: True})


def test_there_is_no_default_judge() -> None:
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'judge'"):
        emergence(drawn_run(depth=3))


@pytest.mark.parametrize(
    ("fields", "judge", "message"),
    [
        (
            {"images": grays({0: 1}), "status": "stopped"},
            Bright(),
            r"is stopped; no picture yet of the layers \[1, 2\]",
        ),
        ({"layers": (0, 1)}, Bright(), "the last layer, 2, was not requested"),
        ({"settings": {**SETTINGS, "method": "ablation"}}, Bright(), "is one of the ablation"),
        ({"prompt": "a castle"}, SceneJudge("kinds"), "is no caption of the embedded model's world"),
    ],
    ids=str,
)
def test_runs_that_cannot_be_judged(fields, judge, message) -> None:
    with pytest.raises(ValueError, match=message):
        emergence(drawn_run(**{"depth": 3, **fields}), judge)


def test_a_judge_answers_for_every_picture() -> None:
    class Lazy:
        def judge(self, images, prompt):
            return [True]

    with pytest.raises(ValueError, match="judge: Lazy answered 1 times for 3 pictures"):
        emergence(drawn_run(depth=3), Lazy())


# an experiment


def by_hand(lens: DiffusionLens, judge: Bright, prompts: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
    """(prompt, seed, layer), picture by picture."""

    def of_run(prompt: str, seed: int) -> list[bool]:
        images = lens(prompt, seed=seed, **QUICK).images
        return [judge.judge([images[layer]], prompt)[0] for layer in lens.layers]

    return np.array([[of_run(prompt, seed) for seed in seeds] for prompt in prompts])


def limit_between(lens: DiffusionLens) -> float:
    """One that some pictures pass."""
    levels = [np.asarray(image).mean() for p in PROMPTS for image in lens(p, **QUICK).images.values()]
    return float(np.median(levels)) - 11


def test_an_experiment_judges_what_the_lens_paints(lens, painted) -> None:
    judge, other = Bright(limit_between(lens)), Bright(0)
    tasks = [EmergenceTask("both", PROMPTS, judge), EmergenceTask("one", PROMPTS[1:], other)]
    painted.clear()
    table = emergence_table(lens, tasks, seeds=[4, 0], **QUICK)
    assert painted == [(prompt, seed) for prompt in PROMPTS for seed in (4, 0)]  # once, for both tasks
    assert (table.layers, table.seeds) == (tuple(range(5)), (4, 0))
    assert table.prompts == {"both": tuple(PROMPTS), "one": ("a blue dog",)}
    assert table.judges == {"both": judge.description, "one": "Bright(0)"}
    assert table.settings["num_inference_steps"] == 1
    assert len(table.settings["model_hash"]) == 16
    expected = by_hand(lens, judge, PROMPTS, [4, 0])
    assert 0 < expected.mean() < 1, "else nothing is shown"
    np.testing.assert_array_equal(table.verdicts["both"], expected)
    assert table.verdicts["one"].shape == (1, 2, 5)
    assert table.verdicts["one"].all()


def test_layers_seeds_and_options_reach_the_lens(lens, painted) -> None:
    judge = Bright()
    task = EmergenceTask("both", PROMPTS[:1], judge)
    assert emergence_table(lens, [task], **QUICK).seeds == (0, 1, 2)
    table = emergence_table(
        lens, [task], seeds=[7], layers=[4, 0], num_inference_steps=2, guidance_scale=3.0, negative_prompt="star"
    )
    assert table.layers == (0, 4)
    assert painted[-1] == ("a red circle", 7)
    chosen = {name: table.settings[name] for name in ("num_inference_steps", "guidance_scale", "negative_prompt")}
    assert chosen == {"num_inference_steps": 2, "guidance_scale": 3.0, "negative_prompt": "star"}


def test_a_stopped_experiment_goes_on_where_it_was(lens, painted, tmp_path: Path) -> None:
    path = tmp_path / "table.json"

    class Stops(Bright):
        def judge(self, images, prompt):
            if images and len(self.asked) == 3:
                raise KeyboardInterrupt
            return super().judge(images, prompt)

    with pytest.raises(KeyboardInterrupt):
        emergence_table(lens, [EmergenceTask("both", PROMPTS, Stops())], seeds=[0, 1], path=path, **QUICK)
    assert len(painted) == 2
    with pytest.raises(ValueError, match=r"table\.json: not finished, 3 runs of the task 'both' are missing"):
        EmergenceTable.load(path)
    painted.clear()
    table = emergence_table(lens, [EmergenceTask("both", PROMPTS, Bright())], seeds=[0, 1], path=path, **QUICK)
    assert painted == [("a red circle", 1), ("a blue dog", 0), ("a blue dog", 1)]
    whole = emergence_table(lens, [EmergenceTask("both", PROMPTS, Bright())], seeds=[0, 1], **QUICK)
    assert_same(table, whole)
    assert_same(EmergenceTable.load(path), whole)
    assert list(tmp_path.iterdir()) == [path]

    painted.clear()  # more seeds, prompts and tasks: only what is new is painted
    tasks = [EmergenceTask("both", [*PROMPTS, "a cat"], Bright()), EmergenceTask("new", ["a blue dog"], Bright(0))]
    emergence_table(lens, tasks, seeds=[0, 1], path=path, **QUICK)
    assert painted == [("a blue dog", 0), ("a blue dog", 1), ("a cat", 0), ("a cat", 1)]
    painted.clear()
    emergence_table(lens, tasks, seeds=[0, 1], path=path, **QUICK)
    assert not painted


def test_a_file_of_a_different_experiment_is_refused_and_left_alone(lens, painted, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    task = EmergenceTask("both", PROMPTS, Bright())
    emergence_table(lens, [task], seeds=[0, 1], path=path, **QUICK)
    before = path.read_bytes()
    painted.clear()
    changes = [
        ({"num_inference_steps": 2}, "num_inference_steps: 1 there, 2 now"),
        ({"layers": [0, 4]}, r"layers: \[0, 1, 2, 3, 4\] there, \[0, 4\] now"),
        ({"tasks": [EmergenceTask("both", PROMPTS, Bright(5))]}, r"judge of 'both': 'Bright\(100.0\)' there"),
        ({"seeds": [0]}, "has 2 verdicts that are not requested now"),
        ({"tasks": [EmergenceTask("both", PROMPTS[:1], Bright())]}, "has 2 verdicts that are not requested now"),
    ]
    for change, message in changes:
        with pytest.raises(ValueError, match=f"table.json: .*{message}"):
            emergence_table(lens, **{"tasks": [task], "seeds": [0, 1], "path": path, **QUICK, **change})
    weight = lens.pipe.unet.conv_out.weight
    trained = weight.detach().clone()
    with torch.no_grad():
        weight.mul_(1.01)
        with pytest.raises(ValueError, match="model_hash"):
            emergence_table(lens, [task], seeds=[0, 1], path=path, **QUICK)
        weight.copy_(trained)
    assert not painted
    assert path.read_bytes() == before


def test_other_libraries_are_no_hindrance_and_other_files_are(lens, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    task = EmergenceTask("both", PROMPTS, Bright())
    emergence_table(lens, [task], seeds=[0], path=path, **QUICK)
    content = json.loads(path.read_text())
    content["settings"]["versions"]["torch"] = "1.0"
    path.write_text(json.dumps(content))
    emergence_table(lens, [task], seeds=[0], path=path, **QUICK)
    for text in ("{}", "[1]", "no json"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"table\.json: no table of emergence"):
            emergence_table(lens, [task], seeds=[0], path=path, **QUICK)


def test_a_run_without_any_picture_stops_it_and_one_layer_does_not(caplog, monkeypatch) -> None:
    lens = DiffusionLens(small_pipeline(DDIMScheduler), batch_size=1)
    with monkeypatch.context() as spoilt:
        spoil_layer(spoilt, 1)
        task = EmergenceTask("all", PROMPTS[:1], Bright(-100))
        with caplog.at_level(logging.WARNING):
            table = emergence_table(lens, [task], seeds=[0], **QUICK)
    assert table.verdicts["all"][0, 0].tolist() == [True, False, True, True, True]
    assert "layer 1 of 'a red circle' from seed 0 counts as not right: " in caplog.text
    for layer in range(5):
        spoil_layer(monkeypatch, layer)
    with pytest.raises(RuntimeError, match=r"no pictures of 'a red circle' from seed 0: .*not finite"):
        emergence_table(lens, [task], seeds=[0], **QUICK)


def test_threads_share_the_lens(lens, tmp_path: Path) -> None:
    tasks = [EmergenceTask("all", PROMPTS, Bright()), EmergenceTask("one", PROMPTS[:1], Bright(-100))]
    here = emergence_table(lens, tasks, seeds=[0, 1], **QUICK)
    with ThreadPoolExecutor(3) as executor:
        there = emergence_table(lens, tasks, seeds=[0, 1], executor=executor, path=tmp_path / "t.json", **QUICK)
    assert_same(there, here)
    assert_same(EmergenceTable.load(tmp_path / "t.json"), here)


def test_what_other_processes_cannot_do_is_refused(lens, painted) -> None:
    arguments = {"tasks": [EmergenceTask("a", PROMPTS, Bright())], "seeds": [0], **QUICK}
    with pytest.raises(ValueError, match="give a function that returns the lens in place of it"):
        emergence_table(lens, executor=processes(2), **arguments)
    with pytest.raises(TypeError, match="on_step: is not called from the other processes"):
        emergence_table(DiffusionLens.from_pretrained, executor=processes(2), on_step=print, **arguments)
    assert not painted


@pytest.mark.slow
def test_processes_judge_what_this_process_judges(tmp_path: Path) -> None:
    lens = DiffusionLens.from_pretrained(device="cpu")
    tasks = [EmergenceTask("kinds", PROMPTS, SceneJudge("kinds"))]
    options = {"seeds": [0, 1], "num_inference_steps": 4, "layers": [0, 12]}
    there = emergence_table(lens, tasks, executor=processes(2), path=tmp_path / "t.json", **options)
    assert_same(there, emergence_table(lens, tasks, **options))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"lens": 3}, TypeError, "lens: expected a DiffusionLens, or a function that returns one, got int"),
        ({"executor": 3}, TypeError, "executor: expected a concurrent.futures.Executor"),
        ({"tasks": []}, ValueError, "tasks: empty"),
        ({"tasks": [EmergenceTask("a", PROMPTS, Bright())] * 2}, ValueError, "tasks: 'a' is the name of 2 tasks"),
        ({"tasks": [EmergenceTask("a", [], Bright())]}, ValueError, "tasks: 'a' needs a list of prompts"),
        ({"tasks": [EmergenceTask("a", "a dog", Bright())]}, ValueError, "tasks: 'a' needs a list of prompts"),
        ({"tasks": [EmergenceTask("a", ["dog"] * 2, Bright())]}, ValueError, "tasks: 'a' has a prompt twice"),
        ({"tasks": [EmergenceTask("a", ["a castle"], SceneJudge("kinds"))]}, ValueError, "'a castle' is no caption"),
        ({"seeds": 3}, TypeError, r"seeds: expected several, such as range\(3\)"),
        ({"seeds": []}, ValueError, "seeds: expected different ones"),
        ({"seeds": [1, 1]}, ValueError, r"seeds: expected different ones, at least one, got \[1, 1\]"),
        ({"seeds": [-1]}, ValueError, "seeds: -1 must be at least 0"),
        ({"layers": [0, 3]}, ValueError, "layers: the last, 4, must be among them"),
        ({"layers": [0, 9]}, ValueError, r"layers: 9 is outside 0\.\.4"),
        ({"num_inference_steps": 0}, ValueError, "num_inference_steps: 0 must be at least 1"),
        ({"step": 1}, TypeError, "step"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_before_anything_is_painted(lens, painted, change, error, message) -> None:
    given = {"lens": lens, "tasks": [EmergenceTask("a", PROMPTS, Bright())], "seeds": [0], **QUICK, **change}
    with pytest.raises(error, match=message):
        emergence_table(**given)
    assert not painted


# the table

MARKS = [["0011", "0011"], ["0001", "1011"], ["0000", "1110"]]


def small_table(marks: Sequence[Sequence[str]] = MARKS) -> EmergenceTable:
    verdicts = np.array([[[mark == "1" for mark in run] for run in row] for row in marks])
    return EmergenceTable(
        (0, 2, 4, 6),
        (0, 1),
        {"$kind": ("a", "b", "c"), "colour": ("a", "b", "c")},
        {"$kind": verdicts, "colour": np.ones_like(verdicts)},
        {"$kind": "J", "colour": "J"},
        {"model": "tiny", "num_inference_steps": 4, "guidance_scale": 7.5},
    )


def assert_same(a: EmergenceTable, b: EmergenceTable) -> None:
    for name in ("layers", "seeds", "prompts", "judges", "settings"):
        assert getattr(a, name) == getattr(b, name), name
    assert a.verdicts.keys() == b.verdicts.keys()
    for task, verdicts in a.verdicts.items():
        np.testing.assert_array_equal(verdicts, b.verdicts[task])


def test_shares_emergence_counts_and_median() -> None:
    table = small_table()
    rights = [2, 1, 4, 4]  # of six
    np.testing.assert_allclose(table.shares("$kind"), [(right / 6, *wilson(right, 6)) for right in rights])
    never = np.inf
    assert table.emergence("$kind").tolist() == [[4, 4], [6, 4], [never, never]]
    assert table.counts("$kind") == {0: 0, 2: 0, 4: 3, 6: 1, None: 2}
    assert table.median("$kind") == median_interval(table.emergence("$kind"))
    assert table.median("$kind").value == 5
    assert table.median("colour") == (0, 0, 0)


def test_the_text_has_every_number() -> None:
    text = str(small_table())
    lines = [line.split() for line in text.splitlines()]
    assert ["4", "67", "[30,", "90]", "100", "[61,", "100]"] in lines
    assert ["never", "2", "0"] in lines
    assert ["runs", "6", "6"] in lines
    median = next(line for line in lines if line[:1] == ["median"])
    assert median[1] == "5"
    assert median[-3:] == ["0", "[0,", "0]"]
    assert all(len(line) <= 120 for line in text.splitlines())


def test_a_table_is_saved_and_loaded(tmp_path: Path) -> None:
    table = small_table()
    assert_same(EmergenceTable.load(table.save(tmp_path / "a.json")), table)


def test_a_table_of_version_1_opens_in_the_words_of_today(tmp_path: Path) -> None:
    path = small_table().save(tmp_path / "a.json")
    content = json.loads(path.read_text())
    old = {"model": "tiny", "steps": 4, "question": "lens", "encoder": 1, "chunk": 7, "guidance_scale": 7.5}
    path.write_text(json.dumps({**content, "emergence_schema": 1, "settings": old}))
    table = EmergenceTable.load(path)
    today = {"num_inference_steps": 4, "method": "lens", "text_encoder": "text_encoder", "batch_size": 7}
    assert table.settings == {"model": "tiny", "guidance_scale": 7.5, **today}
    assert json.loads(table.save(path).read_text())["emergence_schema"] == 2
    path.write_text(json.dumps({**content, "emergence_schema": 3}))
    with pytest.raises(ValueError, match="or of another version than 1 and 2"):
        EmergenceTable.load(path)


def test_the_figure_says_what_it_shows() -> None:
    figure = small_table().plot()
    assert [axes.get_title() for axes in figure.axes] == ["$kind (n = 6)", "colour (n = 6)"]
    axes = figure.axes[0]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [100 * right / 6 for right in (2, 1, 4, 4)])
    assert [bar.get_height() for bar in axes.patches] == pytest.approx([0, 0, 50, 100 / 6])
    assert axes.lines[1].get_xdata()[0] == 5
    assert axes.get_ylabel() == "runs (%)"
    caption = " ".join(figure.texts[-1].get_text().split())
    assert "tiny, 4 steps, guidance 7.5 · 2 seeds a prompt · bands: 95 % Wilson intervals" in caption
    assert figure._repr_png_().startswith(b"\x89PNG")
    never = small_table([["0000", "0000"]] * 3).plot().axes[0]
    assert len(never.lines) == 1


@pytest.mark.parametrize("method", ["shares", "emergence", "counts", "median"])
def test_an_unknown_task_is_named(method) -> None:
    with pytest.raises(ValueError, match="task: 'size' is none of '\\$kind', 'colour'"):
        getattr(small_table(), method)("size")
