"""The pictures stay the same to the bit, and the maps are right: against probabilities stored by another way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, HeunDiscreteScheduler
from diffusers.models.attention_processor import AttnProcessor2_0
from peft import LoraConfig

from difflens_widgets import AttentionOptions, DiffusionLens, PromptPart, capture_attention
from difflens_widgets.attention.accumulator import AttentionAccumulator
from difflens_widgets.lens.batch import BatchRow, next_rows
from pipelines import small_pipeline, small_sd2_pipeline, small_sdxl_pipeline
from stock import PROMPT
from stored_attention import daam, daam_modules, store_all

QUICK = {"num_inference_steps": 3, "guidance_scale": 4.0, "seed": 3}
GRID = (8, 8)


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


def with_lora(pipe: Any) -> Any:
    adapter = LoraConfig(r=2, target_modules=["to_q", "to_k", "to_v"], init_lora_weights=False)
    pipe.unet.add_adapter(adapter)
    return pipe


class LoudProcessor(AttnProcessor2_0):
    """A user's own: what attention gives counts twice."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return 2 * super().__call__(*args, **kwargs)


def with_processor(pipe: Any) -> Any:
    pipe.unet.set_attn_processor(LoudProcessor())
    return pipe


PIPELINES = {
    "sd1": lambda: small_pipeline(DDIMScheduler),
    "sd1-heun": lambda: small_pipeline(HeunDiscreteScheduler),
    "sd1-lora": lambda: with_lora(small_pipeline(DDIMScheduler)),
    "sd1-processor": lambda: with_processor(small_pipeline(DDIMScheduler)),
    "sd2": lambda: small_sd2_pipeline(DDIMScheduler),
    "sdxl": lambda: small_sdxl_pipeline(EulerDiscreteScheduler),
}


@pytest.fixture(scope="module", params=PIPELINES)
def lens(request: pytest.FixtureRequest) -> DiffusionLens:
    return DiffusionLens(PIPELINES[request.param](), batch_size=2)


@pytest.fixture(scope="module")
def sd1() -> DiffusionLens:
    return DiffusionLens(small_pipeline(DDIMScheduler), batch_size=2)


def assert_shares(lens: DiffusionLens, run: Any) -> None:
    """All tokens' maps and the padding's together are 1 at each pixel, everywhere."""
    positions = range(sum(token.kind != "pad" for token in run.tokens))
    for layer in run.layers:
        for block in (None, *run.attention.blocks):
            for step in (None, *run.attention.steps):
                requested = {"layer": layer, "block": block, "step": step}
                rows = [run.attention.heatmap(word, **requested) for word in (*positions, PromptPart.PADDING)]
                assert min(row.min() for row in rows) >= 0
                np.testing.assert_allclose(np.sum(rows, axis=0), 1, atol=1e-5)


# the pictures


@pytest.mark.parametrize("attention", ["mean", "daam"])
def test_pictures_are_the_same_to_the_bit(lens, attention) -> None:
    processors = dict(lens.pipe.unet.attn_processors)
    plain = lens(PROMPT, **QUICK)
    run = lens(PROMPT, attention=AttentionOptions(attention, steps="all"), **QUICK)
    for layer in lens.layers:
        assert run.images[layer].tobytes() == plain.images[layer].tobytes()
        assert np.array_equal(run.latents[layer], plain.latents[layer])
    assert run.attention.layers == tuple(lens.layers)
    assert plain.attention is None
    assert lens.pipe.unet.attn_processors == processors
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in lens.pipe.unet.modules())


@pytest.mark.parametrize(
    "options", [{"guidance_scale": 1.0}, {"height": 24, "width": 56}, {"keep_tokens": "circle"}], ids=str
)
def test_also_with_other_arguments_and_several_prompts(sd1, options) -> None:
    prompts, options = ["a red dog", PROMPT], {"layers": [1, 4], **QUICK, **options}
    if "keep_tokens" in options:
        prompts = [PROMPT]
    plain = sd1(prompts, **options)
    seen = sd1(prompts, attention=AttentionOptions(steps=[0, 2]), **options)
    for prompt, before, after in zip(prompts, plain, seen, strict=True):
        assert all(after.images[layer].tobytes() == before.images[layer].tobytes() for layer in (1, 4))
        assert all(image.tobytes() == after.token_images[at].tobytes() for at, image in before.token_images.items())
        assert after.attention.words == tuple(prompt.split())
        assert after.attention.heatmap("red").shape == (options.get("height", 32) // 4, options.get("width", 32) // 4)
        assert after.attention.heatmap("red", block="mid_block").shape == (
            (4, 4) if "height" not in options else (3, 7)
        )
        assert_shares(sd1, after)


def test_on_the_embedded_model() -> None:
    tiny = DiffusionLens.from_pretrained(device="cpu")
    prompt, options = "a pink cat on a blue background", {"layers": [3, 12], "num_inference_steps": 2, "seed": 1}
    plain = tiny(prompt, **options)
    run = tiny(prompt, attention=True, **options)
    assert all(run.images[layer].tobytes() == plain.images[layer].tobytes() for layer in (3, 12))
    assert_shares(tiny, run)


def test_shares_sum_to_one(lens) -> None:
    run = lens(PROMPT, attention=AttentionOptions(steps=[0, 1]), layers=[0, 2], **QUICK)
    assert [name.split(".")[0] for name in run.attention.blocks] == ["down_blocks", "mid_block", "up_blocks"]
    assert_shares(lens, run)


# what the maps are


@pytest.fixture(scope="module", params=["sd1", "sd1-heun", "sd2", "sdxl"])
def stored(request: pytest.FixtureRequest):
    """A lens with a storing processor on each module, and what these stored of one chunk of layers 2 and 1."""
    lens = DiffusionLens(PIPELINES[request.param](), batch_size=2)
    processors = store_all(lens.pipe.unet)
    with torch.inference_mode():
        runs = {}
        for name, aggregator, mid_block in (
            ("daam", "daam", None),
            ("daam with the middle block", "daam", True),
            ("mean without the middle block", "mean", False),
            ("mean", "mean", None),
        ):
            for processor in processors.values():
                processor.stored.clear()
            options = AttentionOptions(aggregator, steps="all", mid_block=mid_block)
            runs[name] = lens(PROMPT, layers=[1, 2], attention=options, **QUICK)
        conditional = {name: np.stack(one.stored)[:, 2:] for name, one in processors.items()}
    return lens, runs, conditional


def rows_of(lens: DiffusionLens) -> dict[int, int]:
    """Where in the chunk of two each layer stands."""
    rows = next_rows([BatchRow(1), BatchRow(2)], 2, None, lens.num_layers)
    return {row.layer: index for index, row in rows.items()}


def side(pixels: int) -> tuple[int, int]:
    return (int(np.sqrt(pixels)),) * 2


WORDS = {"circle": [3], 1: [1], "blue": [6], "red circle": [2, 3]}


def assert_daam(attention: Any, layer: int, probabilities: list[np.ndarray], row: int, **requested: Any) -> None:
    """The words' maps are those of DAAM's definition, of these layers' probabilities."""
    expected = daam(probabilities, row, GRID, [side(of_layer.shape[-2]) for of_layer in probabilities])
    for word, positions in WORDS.items():
        reference = expected[positions].mean(0)
        ours = attention.heatmap(word, layer=layer, **requested)
        # float32 against float64; threads add up in another order
        assert np.abs(ours - reference).max() / reference.max() <= 3e-6


def test_daam_is_the_published_definition(stored) -> None:
    """With the modules that DAAM's code looks at by default: not those of the middle block."""
    lens, runs, probabilities = stored
    attention = runs["daam"].attention
    assert attention.blocks == tuple(name for name in runs["mean"].attention.blocks if name != "mid_block")
    located = [probabilities[name] for name in daam_modules(lens.pipe.unet)]
    assert 0 < len(located) < len(probabilities)
    for layer, row in rows_of(lens).items():
        assert_daam(attention, layer, located, row)


def test_daam_with_the_middle_block_is_an_option(stored) -> None:
    lens, runs, probabilities = stored
    attention, default = runs["daam with the middle block"].attention, runs["daam"].attention
    for layer, row in rows_of(lens).items():
        assert_daam(attention, layer, list(probabilities.values()), row)
        located = [probabilities[name] for name in daam_modules(lens.pipe.unet)]
        assert_daam(attention, layer, located, row, block=default.blocks)
        ours, other = (one.heatmap("circle", layer=layer) for one in (attention, default))
        assert np.abs(ours - other).max() / other.max() > 0.01
        of_block = [one.heatmap("circle", layer=layer, block=default.blocks[0]) for one in (attention, default)]
        assert np.array_equal(*of_block)


def test_the_mean_without_the_middle_block_is_an_option(stored) -> None:
    _, runs, _ = stored
    attention, default = runs["mean without the middle block"].attention, runs["mean"].attention
    assert "mid_block" in default.blocks
    assert attention.blocks == tuple(name for name in default.blocks if name != "mid_block")
    assert np.array_equal(attention.heatmap("circle"), default.heatmap("circle", block=attention.blocks))


def test_mean_is_the_mean_over_heads_layers_and_steps(stored) -> None:
    lens, runs, probabilities = stored
    attention = runs["mean"].attention
    order = lens.pipe.scheduler.order
    for layer, row in rows_of(lens).items():
        for block in attention.blocks:
            inside = np.stack([of[:, row].mean(1) for name, of in probabilities.items() if name.startswith(block)])
            maps = inside.mean(0).transpose(0, 2, 1).reshape(len(inside[0]), 77, *side(inside.shape[2]))
            ours = attention.heatmap("circle", layer=layer, block=block)
            np.testing.assert_allclose(ours, maps.mean(0)[3], rtol=2e-5)
            padding = attention.heatmap(PromptPart.PADDING, layer=layer, block=block)
            np.testing.assert_allclose(padding, maps.mean(0)[9:].sum(0), rtol=2e-5)
            for step in range(3):
                ours = attention.heatmap("circle", layer=layer, block=block, step=step)
                of_step = maps[step * order : (step + 1) * order]
                np.testing.assert_allclose(ours, of_step.mean(0)[3], rtol=2e-5)


def test_steps_of_daam_are_clamped_each_by_itself(stored) -> None:
    lens, runs, probabilities = stored
    attention, order = runs["daam"].attention, lens.pipe.scheduler.order
    located = [probabilities[name] for name in daam_modules(lens.pipe.unet)]
    sizes = [side(of_layer.shape[-2]) for of_layer in located]
    row = rows_of(lens)[2]
    for step in range(3):
        of_step = [of_layer[step * order : (step + 1) * order] for of_layer in located]
        expected = daam(of_step, row, GRID, sizes)[3]
        ours = attention.heatmap("circle", layer=2, step=step)
        # of a single step the rounding of float32 logits is not averaged out: 1.2e-6 was seen
        assert np.abs(ours - expected).max() / expected.max() <= 3e-6


def test_a_layer_has_the_map_of_its_own_row(sd1) -> None:
    invariant = DiffusionLens(sd1.pipe, batch_size=2, batch_invariant=True)
    everything = invariant(PROMPT, attention=True, **QUICK)
    alone = invariant(PROMPT, attention=True, layers=[2], **QUICK)
    assert np.array_equal(alone.attention.heatmap("circle"), everything.attention.heatmap("circle", layer=2))
    others = [everything.attention.heatmap("circle", layer=layer) for layer in sd1.layers if layer != 2]
    assert all(np.abs(other - alone.attention.heatmap("circle")).max() > 1e-4 for other in others)
    assert np.array_equal(everything.attention.heatmap("circle"), everything.attention.heatmap("circle", layer=4))
    assert list(everything.attention) == [0, 1, 2, 3, 4]
    assert 2 in everything.attention
    assert len(everything.attention) == 5


def test_only_steps_asked_for_are_kept(sd1) -> None:
    run = sd1(PROMPT, attention=AttentionOptions(steps=[2, 0, 2]), layers=[4], **QUICK)
    assert run.attention.steps == run.attention[4].steps == (0, 2)
    assert np.abs(run.attention.heatmap("circle", step=0) - run.attention.heatmap("circle", step=2)).max() > 1e-5


# a plain stock picture


def stock(pipe: Any, prompt: Any, **options: Any) -> Any:
    pipe.set_progress_bar_config(disable=True)
    generators = [torch.Generator().manual_seed(3) for _ in range(options.pop("pictures"))]
    return pipe(prompt, generator=generators, num_inference_steps=3, output_type="np", **options).images


@pytest.mark.parametrize("guidance", [1.0, 4.0])
def test_a_stock_call_with_two_prompts_and_two_pictures_each(lens, guidance) -> None:
    prompts = [PROMPT, "a green star"]
    options = {"pictures": 4, "num_images_per_prompt": 2, "guidance_scale": guidance}
    plain = stock(lens.pipe, prompts, **options)
    with capture_attention(lens.pipe, prompts, attention=AttentionOptions(steps=[1])) as maps:
        seen = stock(lens.pipe, prompts, **options)
    assert np.array_equal(seen, plain)
    assert [one.words for one in maps] == [tuple(PROMPT.split())] * 2 + [("a", "green", "star")] * 2
    assert np.allclose(maps[0].heatmap("circle"), maps[1].heatmap("circle"), rtol=1e-4)  # the same noise
    assert maps[2].heatmap("star", step=1).shape == GRID
    # and it is what the lens sees at its last layer
    run = lens(
        prompts, seed=3, num_inference_steps=3, guidance_scale=guidance, attention=True, layers=[lens.num_layers - 1]
    )
    np.testing.assert_allclose(maps[0].heatmap("circle"), run[0].attention.heatmap("circle"), rtol=1e-3)
    np.testing.assert_allclose(maps[3].heatmap("star"), run[1].attention.heatmap("star"), rtol=1e-3)


def test_the_second_encoder_can_name_the_tokens() -> None:
    pipe = small_sdxl_pipeline(EulerDiscreteScheduler, first_encoder=False)
    with capture_attention(pipe, PROMPT, text_encoder="text_encoder_2") as maps:
        stock(pipe, PROMPT, pictures=1)
    assert maps[0].heatmap("circle").shape == GRID


def test_a_daam_of_a_stock_call(sd1) -> None:
    with capture_attention(sd1.pipe, PROMPT, attention="daam") as maps:
        stock(sd1.pipe, PROMPT, pictures=1, guidance_scale=4.0)
    run = sd1(PROMPT, attention="daam", layers=[4], **QUICK)
    np.testing.assert_allclose(maps[0].heatmap("circle"), run.attention.heatmap("circle"), rtol=1e-3)


@pytest.mark.parametrize("aggregator", ["mean", "daam"])
def test_each_pictures_maps_are_computed_once(sd1, aggregator, monkeypatch) -> None:
    finished: list[AttentionAccumulator] = []
    finish = AttentionAccumulator.finish
    monkeypatch.setattr(AttentionAccumulator, "finish", lambda self: finished.append(self) or finish(self))
    with capture_attention(sd1.pipe, PROMPT, attention=aggregator) as maps:
        stock(sd1.pipe, PROMPT, pictures=2, num_images_per_prompt=2)
    assert (len(maps), len(finished), len(set(finished))) == (2, 2, 2)
    finished.clear()
    assert sd1(PROMPT, attention=aggregator, **QUICK).attention.layers == (0, 1, 2, 3, 4)
    assert (len(finished), len(set(finished))) == (5, 5)


def test_an_image_adapter_is_not_taken_for_the_text() -> None:
    """IP-Adapter attends to the picture's tokens in the same module, by calls of their own."""
    pipe = small_pipeline(DDIMScheduler)
    add_image_adapter(pipe.unet)
    embeds = [torch.randn(2, 1, 16, generator=torch.Generator().manual_seed(1))]
    options = {"pictures": 1, "ip_adapter_image_embeds": embeds, "guidance_scale": 4.0}
    plain = stock(pipe, PROMPT, **options)
    with capture_attention(pipe, PROMPT) as maps:
        seen = stock(pipe, PROMPT, **options)
    assert np.array_equal(seen, plain)
    total = sum(maps[0].heatmap(position) for position in (*range(9), PromptPart.PADDING))
    np.testing.assert_allclose(total, 1, atol=1e-5)


def add_image_adapter(unet: Any) -> None:
    """An IP-Adapter with random weights, loaded as diffusers loads one."""
    generator = torch.Generator().manual_seed(0)
    states, index = {}, 1
    for name in unet.attn_processors:
        if "attn2" in name:
            width = unet.get_submodule(name.removesuffix(".processor")).to_q.out_features
            for part in ("to_k_ip", "to_v_ip"):
                states[f"{index}.{part}.weight"] = torch.randn(width, 32, generator=generator)
            index += 2
    projection = {
        "proj.weight": torch.randn(4 * 32, 16, generator=generator),
        "proj.bias": torch.zeros(4 * 32),
        "norm.weight": torch.ones(32),
        "norm.bias": torch.zeros(32),
    }
    unet._load_ip_adapter_weights([{"image_proj": projection, "ip_adapter": states}], low_cpu_mem_usage=False)
