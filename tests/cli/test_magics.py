"""The magics, in a real IPython shell."""

from __future__ import annotations

import pytest
from diffusers import DDIMScheduler
from IPython.core.error import UsageError
from IPython.core.interactiveshell import InteractiveShell

from difflens_widgets import LayerSlider, Microscope
from difflens_widgets.cli import magics
from pipelines import small_pipeline


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("models") / "small"
    small_pipeline(DDIMScheduler).save_pretrained(path)
    return f"--model {path} --device cpu --steps 2"


@pytest.fixture
def shell():
    shell = InteractiveShell()
    shell.run_line_magic("load_ext", "difflens_widgets")
    yield shell
    magics._lens.cache_clear()


def run_of(widget: LayerSlider):
    job = widget._job
    return widget._shown if job is None else job.result(60)


def test_a_line_paints_its_prompt(shell, model) -> None:
    slider = shell.run_line_magic("lens", f"a dog's red circle --layers 0:5:2 --seed 3 {model}")
    assert isinstance(slider, LayerSlider)
    assert "red circle" in slider.prompt
    run = run_of(slider)
    assert (run.layers, run.seed, run.settings["num_inference_steps"]) == ((0, 2, 4), 3, 2)
    again = shell.run_line_magic("lens", f'{model} --keep-tokens red --layers 4 "a red circle"')
    assert list(run_of(again).token_masks) == [2]
    assert magics._lens.cache_info().misses == 1  # the model was loaded once


def test_a_cell_paints_a_prompt_a_line(shell, model, monkeypatch) -> None:
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    assert shell.run_cell_magic("lens", f"{model} --layers 4", "a red circle\n\n  a blue square\n") is None
    assert [slider.prompt for slider in shown] == ["a red circle", "a blue square"]
    assert [sorted(run_of(slider).images) for slider in shown] == [[4], [4]]


def test_without_a_prompt_there_is_a_box_for_it(shell, model) -> None:
    widget = shell.run_line_magic("lens", model)
    assert isinstance(widget, Microscope)
    assert widget.prompt == ""
    widget.close()


@pytest.mark.parametrize(
    ("line", "cell", "words"),
    [
        ("a cat --sed 3", None, "unrecognized arguments: --sed.*; did you mean --seed"),
        ("a cat --sed 3", None, r"\nusage: %lens \["),
        ("a cat --steps 0", None, "^%lens: --steps: 0 must be at least 1"),
        ("a cat --layers cat", None, "is none of 0:13, 0:13:3, 5 or 0,4,12"),
        ("", "\n \n", "write a prompt on each line of the cell"),
        ("a cat", "a dog", "unrecognized arguments: a cat"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(shell, line, cell, words) -> None:
    with pytest.raises(UsageError, match=words):
        shell.run_line_magic("lens", line) if cell is None else shell.run_cell_magic("lens", line, cell)


def test_help_is_printed(shell, capsys) -> None:
    assert shell.run_line_magic("lens", "--help") is None
    assert "--keep-tokens" in capsys.readouterr().out
