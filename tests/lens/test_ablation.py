"""The ablation against encoders that really lack a block, and against the lens, which asks something else."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, EulerAncestralDiscreteScheduler, EulerDiscreteScheduler
from peft import LoraConfig

from difflens_widgets import DiffusionLens, LensRun
from difflens_widgets.lens.edits import SkipBlock
from edited_layers import conditioning
from pipelines import small_pipeline, small_sd2_pipeline, small_sdxl_pipeline
from stock import PROMPT, STEPS, assert_same_picture, pixels, stock_image

SAME: dict[str, Any] = {"seed": 3, "num_inference_steps": STEPS, "guidance_scale": 5.0}


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


def without_block(pipe: Any, block: int, name: str = "text_encoder") -> Any:
    """The same pipeline, one block of an encoder taken out of its list (1 is the first)."""
    pipe = copy.deepcopy(pipe)
    encoder = getattr(pipe, name)
    inner = getattr(encoder, "text_model", encoder).encoder
    inner.layers = torch.nn.ModuleList([layer for k, layer in enumerate(inner.layers, 1) if k != block])
    encoder.config.num_hidden_layers -= 1
    return pipe


def expected_image(pipe: Any, block: int, negative_prompt: str = "") -> Any:
    """The stock picture of SD with the prompt read by an encoder that lacks a block, the negative prompt by a whole."""
    ablated = without_block(pipe, block)
    embeds, _ = ablated.encode_prompt(PROMPT, pipe.device, 1, False)
    negative, _ = pipe.encode_prompt(negative_prompt, pipe.device, 1, False)
    return stock_image(pipe, None, prompt_embeds=embeds, negative_prompt_embeds=negative)


@pytest.fixture(scope="module")
def lens() -> DiffusionLens:
    return DiffusionLens(small_pipeline(EulerAncestralDiscreteScheduler), batch_size=3)


@pytest.fixture(scope="module")
def full(lens: DiffusionLens) -> LensRun:
    return lens.ablate(PROMPT, **SAME)


def test_row_0_is_the_stock_picture(lens, full) -> None:
    assert sorted(full.images) == [0, 1, 2, 3, 4]
    assert_same_picture(full.images[0], stock_image(lens.pipe))


@pytest.mark.parametrize("block", [1, 3, 4])
def test_row_k_is_the_picture_of_an_encoder_without_block_k(lens, full, block) -> None:
    expected = expected_image(lens.pipe, block)
    assert_same_picture(full.images[block], expected)
    assert np.abs(pixels(full.images[0]) - pixels(expected)).max() > 8, "the block matters here"


def test_the_pipeline_is_left_as_it_was(lens, full) -> None:
    before = stock_image(lens.pipe)
    hooks = [len(block._forward_hooks) for block in lens.blocks]
    lens.ablate(PROMPT, **SAME, layers=[2])
    assert stock_image(lens.pipe).tobytes() == before.tobytes()
    assert [len(block._forward_hooks) for block in lens.blocks] == hooks


def test_it_asks_something_else_than_the_lens(lens, full) -> None:
    assert full.settings["method"] == "ablation"
    run = lens(PROMPT, **SAME)
    assert run.settings["method"] == "lens"
    assert_same_picture(run.images[4], full.images[0])
    assert np.abs(pixels(run.images[3]) - pixels(full.images[3])).max() > 8
    # without its last block the encoder ends where the lens reads layer 3
    assert_same_picture(run.images[3], full.images[4])


def test_all_is_named_for_what_it_is(full, tmp_path) -> None:
    loaded = LensRun.load(full.save(tmp_path / "a.lens"))
    assert [loaded.name_of(layer) for layer in (0, 3)] == ["nothing skipped", "block 3 skipped"]
    titles = [axes.get_title() for axes in loaded.plot().axes]
    assert titles[:2] == ["nothing skipped", "block 1 skipped"]
    assert "block 4 skipped" in loaded.to_html(tmp_path / "a.html").read_text()


def test_the_negative_prompt_keeps_all_blocks(lens) -> None:
    run = lens.ablate(PROMPT, **SAME, negative_prompt="a blue dog", layers=[2])
    expected = expected_image(lens.pipe, 2, "a blue dog")
    assert_same_picture(run.images[2], expected)


def test_single_tokens_are_kept_of_the_ablated_states(lens) -> None:
    run = lens.ablate(PROMPT, **SAME, layers=[0, 2], keep_tokens=["circle"])
    whole = lens(PROMPT, **SAME, layers=[4], keep_tokens=["circle"])
    (token,) = run.token_masks
    assert_same_picture(run.token_images[0, token], whole.token_images[4, token])
    assert np.abs(pixels(run.token_images[2, token]) - pixels(run.token_images[0, token])).max() > 8


def test_sd2() -> None:
    pipe = small_sd2_pipeline(DDIMScheduler)
    run = DiffusionLens(pipe, batch_size=2).ablate(PROMPT, **SAME, layers=[0, 2])
    assert_same_picture(run.images[0], stock_image(pipe))
    assert_same_picture(run.images[2], expected_image(pipe, 2))


@pytest.mark.parametrize(
    ("encoder", "name", "blocks"), [("text_encoder", "text_encoder", 2), ("text_encoder_2", "text_encoder_2", 4)]
)
def test_sdxl_skips_a_block_of_the_lensed_encoder_only(encoder, name, blocks) -> None:
    pipe = small_sdxl_pipeline(EulerDiscreteScheduler)
    lens = DiffusionLens(pipe, batch_size=2, text_encoder=encoder)
    assert len(lens.blocks) == blocks
    run = lens.ablate(PROMPT, **SAME, layers=[0, 1])
    assert run.num_layers == blocks + 1
    assert_same_picture(run.images[0], stock_image(pipe))
    assert_same_picture(run.images[1], stock_image(without_block(pipe, 1, name)))


def test_the_last_block_of_sdxls_second_encoder_works_on_the_pooled_vector_only() -> None:
    lens = DiffusionLens(small_sdxl_pipeline(EulerDiscreteScheduler), text_encoder="text_encoder_2")
    embeds, pooled = conditioning(lens, PROMPT, [SkipBlock(lens.text_encoder, block) for block in range(5)])
    assert torch.equal(embeds[4], embeds[0])
    assert not torch.allclose(pooled[4], pooled[0], atol=1e-2)
    assert not torch.allclose(embeds[3], embeds[0], atol=1e-2)


def test_a_block_that_is_not_there(lens) -> None:
    with pytest.raises(ValueError, match=r"layers: 5 is outside 0\.\.4"):
        lens.ablate(PROMPT, layers=[5])


def test_the_strength_of_a_lora_counts_for_every_block() -> None:
    """The passes without a block run while the pipeline has scaled its LoRA layers."""
    lens = DiffusionLens(small_pipeline(DDIMScheduler), batch_size=2)
    lens.pipe.text_encoder.add_adapter(LoraConfig(r=2, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    weak, strong = (
        lens.ablate(PROMPT, **SAME, layers=[0, 1], cross_attention_kwargs={"scale": scale}) for scale in (1e-4, 1.0)
    )
    for block in (0, 1):
        assert np.abs(weak.states[block].astype(float) - strong.states[block]).max() > 1e-2
        assert np.abs(pixels(weak.images[block]) - pixels(strong.images[block])).max() > 1
