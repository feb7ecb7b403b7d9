"""The `difflens` command, run as a user runs it."""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import diffusers
import pytest
import torch
from diffusers import DDIMScheduler
from safetensors.torch import save_file

from difflens_widgets import Comparison, LensRun
from difflens_widgets.cli import commands as cli
from difflens_widgets.cli.tutorials import copy_tutorials, find_result
from family_pipelines import small_z_image_pipeline
from joint_pipelines import small_flux_pipeline
from pipelines import small_pipeline
from tuned_models import perturbed


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("models") / "small"
    small_pipeline(DDIMScheduler).save_pretrained(path)
    return str(path)


def test_lens_writes_a_picture_per_layer_and_the_record(model, tmp_path, capsys) -> None:
    out, page = tmp_path / "out", tmp_path / "page.html"
    arguments = ["lens", "a red circle", "--model", model, "--layers", "0:5:2", "--seed", "3", "--steps", "2"]
    assert cli.main([*arguments, "--out", str(out), "--html", str(page), "--device", "cpu"]) == 0
    names = {path.name for path in out.iterdir()}
    assert names == {"layer_000.png", "layer_002.png", "layer_004.png", "grid.png", "film.gif", "run.lens"}
    run = LensRun.load(out / "run.lens")
    assert (run.prompt, run.layers, run.seed, run.settings["num_inference_steps"]) == ("a red circle", (0, 2, 4), 3, 2)
    assert "a red circle" in page.read_text(encoding="utf-8")
    assert capsys.readouterr().out.splitlines() == [str(out.resolve()), str(page.resolve())]


def test_a_folder_that_is_written_again_has_no_pictures_of_the_former_run(model, tmp_path) -> None:
    arguments = ["lens", "--model", model, "--steps", "1", "--out", str(tmp_path)]
    kept = tmp_path / "layer_notes.png"
    kept.write_bytes(b"mine")
    assert cli.main([*arguments, "a red circle", "--layers", "0:5"]) == 0
    assert cli.main([*arguments, "a dog", "--layers", "4"]) == 0
    assert sorted(path.name for path in tmp_path.glob("layer_*")) == ["layer_004.png", kept.name]


@pytest.mark.parametrize("make", [small_flux_pipeline, small_z_image_pipeline])
def test_lens_on_other_families(make, tmp_path) -> None:
    if make is small_z_image_pipeline and not hasattr(diffusers, "ZImagePipeline"):
        pytest.skip("this diffusers has no ZImagePipeline")
    make().save_pretrained(tmp_path / "model")
    arguments = ["lens", "a red circle", "--model", str(tmp_path / "model"), "--layers", "1,2", "--steps", "1"]
    size = ["--height", "32", "--width", "64", "--guidance-scale", "2"]
    assert cli.main([*arguments, *size, "--keep-tokens", "red", "--out", str(tmp_path / "out")]) == 0
    run = LensRun.load(tmp_path / "out" / "run.lens")
    assert sorted(run.images) == [1, 2]
    assert run.images[2].size == (64, 32)
    assert len(run.token_images) == 2


def test_lens_looks_at_single_tokens(model, tmp_path) -> None:
    arguments = [
        "lens",
        "a red circle",
        "--model",
        model,
        "--layers",
        "4",
        "--steps",
        "2",
        "--keep-tokens",
        "red,circle",
    ]
    assert cli.main([*arguments, "--out", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.glob("*_token_*")} == {"layer_004_token_002.png", "layer_004_token_003.png"}


def test_lens_asks_for_an_ablation(model, tmp_path) -> None:
    arguments = ["lens", "a red circle", "--model", model, "--layers", "0,2", "--steps", "2", "--ablation"]
    assert cli.main([*arguments, "--out", str(tmp_path)]) == 0
    assert LensRun.load(tmp_path / "run.lens").settings["method"] == "ablation"


def test_a_draft_takes_fewer_steps(model, tmp_path, capsys) -> None:
    arguments = ["lens", "a red circle", "--model", model, "--layers", "4", "--steps", "10", "--draft"]
    assert cli.main([*arguments, "--out", str(tmp_path)]) == 0
    settings = LensRun.load(tmp_path / "run.lens").settings
    assert (settings["quality"], settings["num_inference_steps"]) == ("draft", 3)
    assert cli.main(["bench", "attention", "--draft"]) == 2
    assert "--draft: only `difflens bench lens` compares drafts" in capsys.readouterr().err


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """LoRA weights for the model, as diffusers saves them."""
    from diffusers.utils import convert_state_dict_to_diffusers
    from peft import LoraConfig, get_peft_model_state_dict

    pipe = small_pipeline(DDIMScheduler)
    torch.manual_seed(0)
    for part, modules in ((pipe.unet, ["to_q", "to_v"]), (pipe.text_encoder, ["q_proj"])):
        part.add_adapter(LoraConfig(r=2, lora_alpha=8, target_modules=modules, init_lora_weights=False))
    weights = [
        convert_state_dict_to_diffusers(get_peft_model_state_dict(part)) for part in (pipe.unet, pipe.text_encoder)
    ]
    folder = tmp_path_factory.mktemp("loras") / "xon"
    pipe.save_lora_weights(folder, unet_lora_layers=weights[0], text_encoder_lora_layers=weights[1])
    return folder


@pytest.mark.parametrize("kind", ["model", "folder", "file"])
def test_compare_writes_pictures_measures_and_the_record(model, lora, tmp_path, capsys, kind) -> None:
    tuned = {"model": tmp_path / "tuned", "folder": lora, "file": lora / "pytorch_lora_weights.safetensors"}[kind]
    if kind == "model":
        perturbed(small_pipeline(DDIMScheduler)).save_pretrained(tuned)
    out = tmp_path / "out"
    arguments = ["compare", model, str(tuned), "a red circle", "--layers", "0,4", "--seed", "3", "--steps", "2"]
    assert cli.main([*arguments, "--attribution", "--out", str(out), "--device", "cpu"]) == 0
    pictures = [f"layer_00{k}_{run}.png" for k in (0, 4) for run in ("raw", "tuned", "tuned-raw", "raw-tuned")]
    assert {path.name for path in out.iterdir()} == {*pictures, "grid.png", "metrics.png", "comparison.lenses"}
    comparison = Comparison.load(out / "comparison.lenses")
    assert (comparison.prompt, comparison.raw.seed, comparison.layers) == ("a red circle", 3, (0, 4))
    assert (comparison.metrics["latent_rms"] > 0).all()
    assert (comparison.metrics["state_cosine"] < 1).any()
    name = {"model": "tuned", "folder": "small + xon", "file": "small + xon"}[kind]
    assert [run.settings["model"] for run in (comparison.raw, comparison.tuned)] == ["small", name]
    head, first, second, path = capsys.readouterr().out.splitlines()
    assert head.split() == ["layer", *comparison.metrics]
    for line, layer, row in ((first, 0, 0), (second, 4, 1)):
        found = [float(number) for number in line.split()]
        assert found == pytest.approx([layer, *(values[row] for values in comparison.metrics.values())], abs=1e-4)
    assert path == str(out.resolve())


def test_compare_refuses_what_is_no_tuned_model(model, lora, tmp_path, capsys) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    pickled = tmp_path / "lora.bin"
    pickled.write_bytes(b"x")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"x" * 100)
    other = tmp_path / "other.safetensors"
    save_file({"one.lora_A.weight": torch.zeros(2, 2)}, other)
    for tuned, message in [
        (empty, "neither a diffusers pipeline (it has no model_index.json) nor a folder with LoRA weights"),
        (pickled, "only .safetensors files are read"),
        (broken, "not a sound .safetensors file"),
        (other, "LoRA"),
        (tmp_path / "nowhere", "no such file or folder"),
    ]:
        assert cli.main(["compare", model, str(tuned), "a dog", "--steps", "2", "--layers", "4"]) == 2, tuned
        error = capsys.readouterr().err
        assert message in error
        assert str(tuned) in error
        assert "Traceback" not in error


def test_without_a_target_a_page_is_written(model, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["lens", "a dog", "--model", model, "--layers", "4", "--steps", "1"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'difflens-lens.html'}\n"
    assert [path.name for path in tmp_path.iterdir()] == ["difflens-lens.html"]


def test_what_the_model_does_not_know_of_a_prompt_is_said(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts.txt").write_text("a cat\na dragon\n")
    dragon = "difflens: the model was never trained on “dragon”: what it makes of it means nothing\n"
    for arguments, words in [
        (["lens", "a dragon"], dragon),
        (["lens", "a cat", "--negative-prompt", "a dragon"], dragon),
        (["lens", ""], "difflens: the prompt is empty: this is what the model paints without one\n"),
        (["lens", "a cat"], ""),
        (["patch", "a cat", "--source", "a dragon", "--tokens", "all"], dragon),
        (["steer", "a cat", "--plus", "a dragon", "--minus", "a cat"], dragon),
        (["sweep", "prompts.txt", "--out", "sweep"], dragon),
    ]:
        assert cli.main([*arguments, "--layers", "12", "--steps", "1"]) == 0
        said = [line for line in re.split("[\r\n]", capsys.readouterr().err) if line.startswith("difflens: the ")]
        assert "".join(f"{line}\n" for line in said) == words


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["lens", "a", "pink", "cat"], "pink cat; put the prompt into quotes, as in"),
        (["patch", "a", "cat", "--source", "b", "--tokens", "all"], "arguments: cat; put the prompt into quotes"),
        (["lens", "a cat", "--keep-tokens", "cat", "dog"], "unrecognized arguments: dog\n"),
        (["lens", "a cat", "--layres", "3"], "--layres 3; did you mean --layers?"),
        (["sweep", "a.txt", "b.txt", "--out", "x"], "arguments: b.txt\n"),
        (["lense", "a cat"], "did you mean lens?\n"),
        (["a red cat"], 'did you mean difflens lens "a red cat"?\n'),
        (["steer", "--plus", "a", "--minus", "b", "--strengths", "1", "a cat"], "put the prompt before this option\n"),
        (["--layers=3", "demo"], "unrecognized arguments: --layers=3"),
    ],
    ids=str,
)
def test_what_was_meant_is_said(tmp_path, monkeypatch, capsys, arguments, hint) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        cli.main(arguments)
    assert hint in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
    assert cli._parser().parse_args(["lens", "a cat", "--step=3"]).steps == 3  # an abbreviation


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["lens", "a dog", "--layers", "0:99", "--out", "x"], "difflens: --layers: 5 is outside 0..4"),
        (["lens", "a dog", "--steps", "0", "--out", "x"], "difflens: --steps: 0 must be at least 1"),
        (
            ["lens", "a dog", "--text-encoder", "text_encoder_2", "--out", "x"],
            "--text-encoder: StableDiffusionPipeline has 'text_encoder'",
        ),
        (
            ["lens", "a dog", "--keep-tokens", "cat", "--out", "x"],
            "'cat' is not in the prompt; its words are: 'a', 'dog'",
        ),
        (["lens", "a dog", "--model", "./nowhere", "--out", "x"], "no such file or folder"),
        (["steer", "a dog", "--plus", " ", "--minus", "a cat", "--out", "x", "--strengths", "nan"], "--strengths: "),
        (["lens", "a dog", "--html", "no/page.html"], "difflens: cannot save the page: "),
    ],
    ids=str,
)
def test_bad_input_is_one_line_and_status_2(model, tmp_path, monkeypatch, capsys, arguments, message) -> None:
    monkeypatch.chdir(tmp_path)
    if "--model" not in arguments:
        arguments = [*arguments, "--model", model]
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not Path("x").exists()


@pytest.mark.parametrize(
    ("text", "layers"), [("0:13", range(13)), ("0:13:3", range(0, 13, 3)), ("5", [5]), ("0,4,12", [0, 4, 12])]
)
def test_layers(text, layers) -> None:
    assert cli.parse_layers(text) == layers


@pytest.mark.parametrize("text", ["a", "1:2:3:4", ":", "0:13:0", ""])
def test_layers_that_are_none(text) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"is none of 0:13"):
        cli.parse_layers(text)


def test_without_a_command_there_is_help(capsys) -> None:
    assert cli.main([]) == 2
    assert "paint what each layer of the text encoder sees" in capsys.readouterr().err


def test_module_and_version() -> None:
    command = [sys.executable, "-m", "difflens_widgets", "--version"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "difflens 0.1.0\n"


def test_tutorials_are_copied_and_never_overwritten(tmp_path) -> None:
    folder = copy_tutorials(tmp_path / "tutorials")
    first = folder / "01_first_light.ipynb"
    first.write_text("mine")
    results = folder / "results" / "dreambooth.json"  # drawn by the notebooks beside it
    assert json.loads(results.read_text())["dreambooth_schema"] == 2
    copy_tutorials(folder)
    assert first.read_text() == "mine"


def test_lab_passes_on_what_is_jupyterlabs(tmp_path) -> None:
    version = pytest.importorskip("jupyterlab").__version__
    command = [sys.executable, "-m", "difflens_widgets", "lab", "--folder", str(tmp_path / "mine"), "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert said == f"tutorials: {tmp_path / 'mine'}\n{version}\n"
    assert (tmp_path / "mine" / "00_start_here.ipynb").is_file()
    with pytest.raises(SystemExit):
        cli.main(["demo", "--no-browser", "--port", "1"])


def test_results_of_tutorials_are_found_from_anywhere_and_ones_own_come_first(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert json.loads(find_result("dreambooth.json").read_text())["dreambooth_schema"] == 2
    with pytest.raises(FileNotFoundError, match=r"name: no result 'none.json'; there are binding.json, dreambooth"):
        find_result("none.json")
    own = tmp_path / "results" / "dreambooth.json"
    own.parent.mkdir()
    own.write_text("{}")
    assert find_result("dreambooth.json").read_text() == "{}"
