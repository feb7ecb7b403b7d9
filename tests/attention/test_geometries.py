"""Attention in the layouts of the real U-Nets: as many levels, blocks, layers and heads, with thin channels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler, UNet2DConditionModel

from difflens_widgets import AttentionOptions, DiffusionLens, PromptPart, capture_attention
from pipelines import make_text_show, small_pipeline, small_sdxl_pipeline
from stock import PROMPT
from stored_attention import daam, daam_modules, store_all

STEPS = 2
HEIGHT, WIDTH, GRID = 40, 72, (10, 18)  # halved to 5 × 9, 3 × 5 and 2 × 3


def with_unet(pipe: Any, **layout: Any) -> Any:
    """The pipeline with another U-Net, of the same kind of conditioning."""
    torch.manual_seed(1)
    pipe.unet = UNet2DConditionModel.from_config({**pipe.unet.config, **layout}).eval()
    make_text_show(pipe.unet)
    return pipe


def sd15() -> Any:
    return with_unet(
        small_pipeline(DDIMScheduler),
        block_out_channels=(8, 16, 16, 16),
        down_block_types=(*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"),
        up_block_types=("UpBlock2D", *["CrossAttnUpBlock2D"] * 3),
        layers_per_block=2,
        attention_head_dim=8,
        norm_num_groups=4,
    )


def sdxl() -> Any:
    return with_unet(
        small_sdxl_pipeline(EulerDiscreteScheduler),
        block_out_channels=(5, 10, 20),
        down_block_types=("DownBlock2D", *["CrossAttnDownBlock2D"] * 2),
        up_block_types=(*["CrossAttnUpBlock2D"] * 2, "UpBlock2D"),
        layers_per_block=2,
        attention_head_dim=(5, 10, 20),
        transformer_layers_per_block=(1, 2, 10),
        norm_num_groups=5,
    )


@dataclass(frozen=True)
class Geometry:
    """A pipeline, and of each block with attention to the text the resolution and how many such layers it has."""

    pipe: Any
    sizes: dict[str, tuple[int, int]]
    layers: tuple[int, ...]


@pytest.fixture(scope="module", params=["sd15", "sdxl"])
def geometry(request: pytest.FixtureRequest) -> Geometry:
    if request.param == "sd15":
        levels = [(10, 18), (5, 9), (3, 5)]
        sizes = {f"down_blocks.{index}": size for index, size in enumerate(levels)} | {"mid_block": (2, 3)}
        sizes |= {f"up_blocks.{3 - index}": levels[index] for index in (2, 1, 0)}
        return Geometry(sd15(), sizes, (2, 2, 2, 1, 3, 3, 3))
    sizes = {"down_blocks.1": (5, 9), "down_blocks.2": (3, 5), "mid_block": (3, 5)}
    sizes |= {"up_blocks.0": (3, 5), "up_blocks.1": (5, 9)}
    return Geometry(sdxl(), sizes, (4, 20, 10, 30, 6))


def draw(pipe: Any, prompts: list[str]) -> np.ndarray:
    pipe.set_progress_bar_config(disable=True)
    options = {"height": HEIGHT, "width": WIDTH, "num_inference_steps": STEPS, "guidance_scale": 4.0}
    generator = torch.Generator().manual_seed(3)
    return pipe(prompts, num_images_per_prompt=2, generator=generator, output_type="np", **options).images


def assert_shares(maps: Any) -> None:
    for block in (None, *maps.blocks):
        shares = [maps.heatmap(word, block=block) for word in (*range(maps.plan.num_positions), PromptPart.PADDING)]
        np.testing.assert_allclose(np.sum(shares, axis=0), 1, atol=1e-5)


def test_a_lens_run(geometry) -> None:
    lens = DiffusionLens(geometry.pipe, batch_size=2)
    options = {
        "layers": [1, 2],
        "num_inference_steps": STEPS,
        "seed": 3,
        "height": HEIGHT,
        "width": WIDTH,
        "guidance_scale": 4.0,
    }
    plain, seen = lens(PROMPT, **options), lens(PROMPT, attention=True, **options)
    for layer in (1, 2):
        assert seen.images[layer].tobytes() == plain.images[layer].tobytes()
        assert np.array_equal(seen.latents[layer], plain.latents[layer])
        assert_shares(seen.attention[layer])
    assert {block.name: (block.height, block.width) for block in seen.attention.plan.blocks} == geometry.sizes
    assert tuple(block.weight for block in seen.attention.plan.blocks) == geometry.layers
    assert seen.attention.heatmap("circle").shape == GRID


@torch.inference_mode()
def test_a_stock_call_of_two_prompts_and_two_pictures_each(geometry) -> None:
    prompts = [PROMPT, "a green star"]
    plain = draw(geometry.pipe, prompts)
    with capture_attention(geometry.pipe, prompts, attention="mean") as maps:
        seen = draw(geometry.pipe, prompts)
    assert np.array_equal(seen, plain)
    assert len(maps) == 4
    for of_picture in maps:
        assert_shares(of_picture)


@torch.inference_mode()
def test_daam_against_stored_probabilities(geometry) -> None:
    """All heads, in float64; of the layers that DAAM's code looks at."""
    usual = dict(geometry.pipe.unet.attn_processors)
    processors = store_all(geometry.pipe.unet)
    with capture_attention(geometry.pipe, [PROMPT, "a green star"], attention=AttentionOptions("daam")) as maps:
        draw(geometry.pipe, [PROMPT, "a green star"])
    geometry.pipe.unet.set_attn_processor(usual)
    blocks = {name: next(block for block in geometry.sizes if name.startswith(block)) for name in processors}
    located = daam_modules(geometry.pipe.unet)
    stored = [np.stack(processors[name].stored)[:, 4:] for name in located]
    sizes = [geometry.sizes[blocks[name]] for name in located]
    of_block = dict(zip(geometry.sizes, geometry.layers, strict=True))
    assert len(stored) == sum(of_block.values()) - of_block["mid_block"]
    assert len(processors) == sum(of_block.values())
    for picture, word, position in ((0, "circle", 3), (3, "star", 3)):
        exact = daam(stored, picture, GRID, sizes)[position]
        ours = maps[picture].heatmap(word)
        assert np.abs(ours - exact).max() / exact.max() <= 1e-6
