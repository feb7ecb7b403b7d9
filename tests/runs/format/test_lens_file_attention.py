"""Attention maps in .lens files: bit by bit, and as strictly read as the rest."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from diffusers import DDIMScheduler

from difflens_widgets import AttentionOptions, DiffusionLens, PromptPart
from difflens_widgets.runs.events import LayerImage
from difflens_widgets.runs.maps.maps import AttentionMaps, BlockMaps, LensAttention
from difflens_widgets.runs.run import LensRun
from drawn_runs import TOKENS, assert_same, assert_same_attention, attention_run, drawn_attention, drawn_run, tokens_of
from lens_archives import refused, rewrite_record, unpack
from pipelines import small_pipeline
from stock import PROMPT

ENTRY = "attention.safetensors"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    return attention_run().save(tmp_path / "a.lens")


# what comes back


@pytest.mark.parametrize("aggregator", ["mean", "daam"])
@pytest.mark.parametrize("steps", [(), (0,), (1, 3)], ids=str)
@pytest.mark.parametrize("tokens", [TOKENS, tokens_of("a pink cat")], ids=["padded", "full"])
def test_it_comes_back_bit_by_bit(tmp_path, aggregator, steps, tokens) -> None:
    run = attention_run(tokens=tokens, attention=drawn_attention(tokens, (2, 0), steps, aggregator))
    loaded = LensRun.load(run.save(tmp_path / "a.lens"))
    assert_same(loaded, run)
    assert loaded.attention.layers == (0, 2)


def test_the_layout_is_as_documented(saved: Path) -> None:
    tensors = safetensors.numpy.load(unpack(saved)[ENTRY])
    assert {name: (maps.dtype, maps.shape) for name, maps in tensors.items()} == {
        f"{layer}/{name}": (np.dtype("float32"), shape)
        for layer in (0, 2)
        for name, shape in {
            "down_blocks.0": (6, 8, 4),
            "down_blocks.0/steps": (2, 6, 4, 2),
            "mid_block": (6, 2, 1),
            "mid_block/steps": (2, 6, 2, 1),
        }.items()
    }
    assert json.loads(unpack(saved)["run.json"])["attention"]["maps"][1]["layer"] == 2


@pytest.fixture(scope="module")
def lens() -> DiffusionLens:
    return DiffusionLens(small_pipeline(DDIMScheduler), batch_size=2)


QUICK = {"layers": [1, 4], "num_inference_steps": 3, "guidance_scale": 4.0, "height": 32, "width": 48}


@pytest.mark.parametrize("aggregator", ["mean", "daam"])
@pytest.mark.parametrize("budget", [64.0, 0.045], ids=["whole", "pooled"])
def test_what_a_lens_captured_is_read_as_it_was(lens, tmp_path, aggregator, budget) -> None:
    run = lens(PROMPT, attention=AttentionOptions(aggregator, steps=[0, 2], budget_mb=budget), **QUICK)
    assert bool(run.attention.plan.note) == (budget < 1)
    loaded = LensRun.load(run.save(tmp_path / "a.lens"))
    assert_same(loaded, run)
    mask = np.zeros((32, 48), dtype=bool)
    mask[5:20, 10:33] = True
    for word in ("red", "blue background", 0, PromptPart.PADDING, PromptPart.PROMPT):
        for place in (
            {},
            {"block": run.attention.blocks[1]},
            {"step": 2},
            {"layer": 1, "block": run.attention.blocks[:2]},
        ):
            assert np.array_equal(loaded.attention.heatmap(word, **place), run.attention.heatmap(word, **place))
            assert loaded.attention.mass_in_mask(mask, word, **place) == run.attention.mass_in_mask(mask, word, **place)
    with pytest.raises(ValueError, match="step: 1 was not kept"):
        loaded.attention.heatmap("red", step=1)


def test_an_ablations_attention_is_kept_too(lens, tmp_path) -> None:
    run = lens.ablate(PROMPT, attention=True, **{**QUICK, "layers": [0, 3]})
    assert_same(LensRun.load(run.save(tmp_path / "a.lens")), run)
    assert run.attention.layers == (0, 3)


def test_a_run_saved_while_it_goes_on_has_the_layers_painted_so_far(lens, tmp_path) -> None:
    job = lens._jobs(PROMPT, attention=True, **{**QUICK, "layers": None})[0]
    seen: list[tuple[int, ...]] = []

    def listen(event: object) -> None:
        if isinstance(event, LayerImage):
            seen.append(LensRun.load(job.run.save(tmp_path / "a.lens")).attention.layers)

    job.subscribe(listen)
    run = job.wait()
    assert [len(layers) for layers in seen] == [1, 2, 3, 4, 5]
    assert_same(LensRun.load(run.save(tmp_path / "a.lens")), run)


def test_saving_while_a_thread_adds_maps(tmp_path) -> None:
    layers = tuple(range(300))
    every = drawn_attention(TOKENS, layers, ())
    run = drawn_run("a pink cat", depth=300, tokens=TOKENS, images={}, snapshots={}, latents={}, states=None)
    run.attention = LensAttention(every.plan)
    painter = threading.Thread(target=lambda: [run.attention.add(layer, every[layer]) for layer in layers])
    painter.start()
    for _ in range(3):
        loaded = LensRun.load(run.save(tmp_path / "a.lens"))
        assert loaded.attention.layers == layers[: len(loaded.attention)]
    painter.join()
    assert_same_attention(LensRun.load(run.save(tmp_path / "a.lens")).attention, every)


def test_attention_without_a_painted_layer_comes_back(tmp_path) -> None:
    run = attention_run(attention=drawn_attention(TOKENS, ()).copy())
    run.attention.plan = replace(run.attention.plan, pictures=3)
    path = run.save(tmp_path / "a.lens")
    assert ENTRY not in unpack(path)
    assert_same(LensRun.load(path), run)


def test_a_layer_whose_scheduler_ended_early_has_fewer_steps(tmp_path) -> None:
    run = attention_run()
    whole = run.attention[2]
    run.attention.add(2, AttentionMaps(whole.plan, whole.total, {3: whole.by_step[3]}))
    loaded = LensRun.load(run.save(tmp_path / "a.lens"))
    assert (loaded.attention[0].steps, loaded.attention[2].steps) == ((1, 3), (3,))
    assert_same(loaded, run)


def test_maps_that_are_views_are_saved_as_they_look(tmp_path) -> None:
    run = attention_run()
    before = run.attention[0]
    turned = {name: np.asfortranarray(maps) for name, maps in before.total.maps.items()}
    run.attention.add(0, AttentionMaps(before.plan, BlockMaps(turned, 8), before.by_step))
    assert_same(LensRun.load(run.save(tmp_path / "a.lens")), attention_run())


def test_what_is_read_may_be_written_to(saved: Path) -> None:
    attention = LensRun.load(saved).attention
    attention[0].total.maps["mid_block"][:] = 0
    attention[2].by_step[1].maps["mid_block"][:] = 0
    assert attention.heatmap("cat", layer=2, block="mid_block", step=3).any()


def test_reading_needs_no_torch(saved: Path) -> None:
    program = (
        "import sys\n"
        "for name in ('torch', 'diffusers', 'transformers', 'accelerate'): sys.modules[name] = None\n"
        "from difflens_widgets import LensRun\n"
        "print(LensRun.load(sys.argv[1]).attention.heatmap('cat', step=1).shape)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(saved)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "(8, 4)"), done.stderr


# versions


def as_version_1(minor: int, attention: bool) -> Any:
    """Rewrite a record in the words of version 1.`minor`, with its attention or without."""

    def older(record: dict[str, Any]) -> None:
        record["version"] = [1, minor]
        kinds = {"bos": "start", "eos": "end"}
        for token in record["tokens"]:
            token["joined"] = token.pop("is_continuation")
            token["kind"] = kinds.get(token["kind"], token["kind"])
        record["kept"] = [{"token": mask["token"], "places": mask["positions"]} for mask in record.pop("token_masks")]
        old = {"num_inference_steps": "steps", "method": "question", "batch_size": "chunk", "text_encoder": "encoder"}
        record["settings"] = {old.get(name, name): value for name, value in record["settings"].items()}
        if not attention:
            del record["attention"]
            return
        del record["attention"]["rest"]
        for block in record["attention"]["blocks"]:
            for old_name, name in (("halved", "pool_factor"), ("step_halved", "step_pool_factor")):
                block[old_name] = block.pop(name).bit_length() - 1  # version 1 has exponents

    return older


def test_a_file_of_version_1_1_has_none(tmp_path: Path) -> None:
    path = attention_run(attention=None).save(tmp_path / "a.lens")
    rewrite_record(path, as_version_1(1, attention=False))
    assert_same(LensRun.load(path), attention_run(attention=None))


def test_a_file_of_version_1_2_is_read(saved: Path) -> None:
    rewrite_record(saved, as_version_1(2, attention=True))
    assert_same(LensRun.load(saved), attention_run())


@pytest.mark.parametrize("halved", [-1, 12, 16, 10**9, 1.0, True, None, "1"], ids=str)
def test_exponents_that_version_1_2_never_wrote_are_refused(saved: Path, halved: Any) -> None:
    def edit(record: dict[str, Any]) -> None:
        as_version_1(2, attention=True)(record)
        record["attention"]["blocks"][0]["halved"] = halved

    rewrite_record(saved, edit)
    refused(saved, "'pool_factor' is")


def test_what_else_is_in_the_softmax_comes_back(tmp_path: Path) -> None:
    """Of joint attention."""
    before = drawn_attention(TOKENS, (0, 2), ())
    attention = LensAttention(replace(before.plan, rest_names=("image", "other text")))
    for layer in before:
        total = before[layer].total
        more = {name: np.concatenate([maps, maps[:2]]) for name, maps in total.maps.items()}
        attention.add(layer, AttentionMaps(attention.plan, BlockMaps(more, total.forwards)))
    run = attention_run(attention=attention)
    loaded = LensRun.load(run.save(tmp_path / "a.lens"))
    assert_same(loaded, run)
    assert np.array_equal(loaded.attention[2].rest("other text"), attention[2].heatmap(1))


def test_maps_in_a_file_that_says_it_is_older_are_not_part_of_its_run(saved: Path) -> None:
    rewrite_record(saved, as_version_1(1, attention=True))
    refused(saved, "entry 'attention.safetensors' is not part of its run")


def test_a_later_minor_version_is_read(saved: Path) -> None:
    def later(record: dict[str, Any]) -> None:
        record["version"] = [2, 7]
        record["attention"]["colour"] = "viridis"

    rewrite_record(saved, later)
    assert_same(LensRun.load(saved), attention_run())


def test_a_later_major_version_is_refused(saved: Path) -> None:
    rewrite_record(saved, lambda record: record.update(version=[3, 0]))
    refused(saved, "a newer difflens_widgets is needed")
