"""`difflens patch` and `difflens steer`, run as a user runs them."""

from __future__ import annotations

from pathlib import Path

import pytest
from diffusers import DDIMScheduler

from difflens_widgets import DiffusionLens, LensRun
from difflens_widgets.cli.commands import main
from difflens_widgets.cli.interventions import parse_pairs
from pipelines import small_pipeline


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("models") / "small"
    small_pipeline(DDIMScheduler).save_pretrained(path)
    return str(path)


def test_patch_writes_a_picture_per_layer_and_pair(model: str, tmp_path: Path, capsys) -> None:
    out, page = tmp_path / "out", tmp_path / "page.html"
    arguments = ["patch", "a red circle", "--source", "a blue circle", "--tokens", "red=blue, circle=circle"]
    options = ["--model", model, "--layers", "0,2", "--steps", "2", "--seed", "3", "--device", "cpu"]
    assert main([*arguments, *options, "--out", str(out), "--html", str(page)]) == 0
    pictures = {f"layer_{layer:03d}_row_{row:02d}.png" for layer in (0, 2) for row in (0, 1)}
    assert {path.name for path in out.iterdir()} == {*pictures, "unchanged.png", "grid.png", "run.lens"}
    run = LensRun.load(out / "run.lens")
    assert (run.method, run.layers, run.seed, list(run.variants)) == (
        "patch",
        (0, 2),
        3,
        ["red ← blue", "circle ← circle"],
    )
    asked = DiffusionLens.from_pretrained(model).patch(
        "a red circle",
        source="a blue circle",
        tokens={"red": "blue", "circle": "circle"},
        layers=[0, 2],
        num_inference_steps=2,
        seed=3,
    )
    assert all(run.token_images[key].tobytes() == image.tobytes() for key, image in asked.token_images.items())
    assert capsys.readouterr().out.splitlines() == [str(out.resolve()), str(page.resolve())]


def test_patch_of_the_output_and_of_all(model: str, tmp_path: Path) -> None:
    arguments = ["patch", "a red circle", "--source", "a blue circle", "--tokens", "all", "--output", "--steps", "1"]
    assert main([*arguments, "--model", model, "--out", str(tmp_path)]) == 0
    run = LensRun.load(tmp_path / "run.lens")
    assert (run.method, list(run.variants)) == ("output patch", ["all positions"])


def test_steer_takes_negative_strengths(model: str, tmp_path: Path) -> None:
    arguments = ["steer", "a red circle", "--plus", "blue", "--minus", "red", "--strengths", "-1", "0.5", "2"]
    assert main([*arguments, "--model", model, "--layers", "2", "--steps", "1", "--out", str(tmp_path)]) == 0
    run = LensRun.load(tmp_path / "run.lens")
    assert (run.method, run.settings["strengths"], run.settings["direction"]) == (
        "steer",
        [-1, 0.5, 2],
        ["blue", "red"],
    )
    assert len(list(tmp_path.glob("layer_002_row_*.png"))) == 3


def test_without_a_target_a_page_is_written(model: str, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    direction = ["--plus", "blue", "--minus", "red", "--layers", "2", "--steps", "1"]
    assert main(["steer", "a red circle", "--model", model, *direction]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'difflens-steer.html'}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["difflens-steer.html"]


def test_pairs() -> None:
    assert [parse_pairs(each) for each in ("all", "different")] == ["all", "different"]
    assert parse_pairs("red=blue, a cat = the dog") == [("red", "blue"), ("a cat", "the dog")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tokens", "red", "--out", "OUT"], "--tokens: 'red' is no pair such as"),
        (["--tokens", "red=", "--out", "OUT"], "--tokens: 'red=' is no pair"),
        (
            ["--tokens", "pink=blue", "--out", "OUT"],
            "difflens: --tokens, in the prompt: 'pink' is not in the prompt; its words are",
        ),
    ],
)
def test_what_cannot_work(model: str, arguments: list[str], message: str, tmp_path: Path, capsys) -> None:
    given = [str(tmp_path / "out") if each == "OUT" else each for each in arguments]
    assert main(["patch", "a red circle", "--source", "a blue circle", "--model", model, *given]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
