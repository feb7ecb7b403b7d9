"""Joint attention, SD3's and FLUX's: the pictures stay to the bit, and the maps are the shares of one softmax."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import JointAttnProcessor2_0, SD3IPAdapterJointAttnProcessor2_0
from diffusers.models.transformers.transformer_flux import FluxAttnProcessor, FluxIPAdapterAttnProcessor
from peft import LoraConfig

from difflens_widgets import AttentionOptions, PromptPart, capture_attention
from joint_pipelines import WIDTH, small_flux_pipeline, small_sd3_pipeline, small_sd35_pipeline
from stock import PROMPT
from stored_attention import daam
from stored_joint_attention import store_all

PIPELINES = {"sd3": small_sd3_pipeline, "sd3.5": small_sd35_pipeline, "flux": small_flux_pipeline}
T5 = 20  # text positions of T5
GRID, SIZE = (8, 12), (4, 6)  # latents, image tokens
STEPS = 3


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


@pytest.fixture(scope="module", params=PIPELINES)
def pipe(request: pytest.FixtureRequest) -> Any:
    return PIPELINES[request.param]()


def is_flux(pipe: Any) -> bool:
    return type(pipe).__name__ == "FluxPipeline"


def draw(pipe: Any, prompt: Any = PROMPT, **options: Any) -> np.ndarray:
    """A stock call; FLUX is guided by a negative prompt, as it is only then guided by a second forward."""
    pipe.set_progress_bar_config(disable=True)
    if is_flux(pipe):
        options["true_cfg_scale"] = options.pop("guidance_scale", 4.0)
        options["negative_prompt"] = ["a star"] * (1 if isinstance(prompt, str) else len(prompt))
    usual = {"height": 32, "width": 48, "num_inference_steps": STEPS, "max_sequence_length": T5, "output_type": "np"}
    return pipe(prompt, generator=torch.Generator().manual_seed(3), **{**usual, **options}).images


ENCODERS = ("text_encoder", "text_encoder_2", "text_encoder_3")


def captured(pipe: Any, prompt: Any = PROMPT, attention: Any = True, encoder: str | None = None, **options: Any) -> Any:
    with capture_attention(pipe, prompt, attention=attention, text_encoder=encoder) as maps:
        draw(pipe, prompt, **options)
    return maps[0]


def all_maps(maps: Any, **requested: Any) -> np.ndarray:
    """Those of every position, of the padding and of the rest, in the order of the keys of `kept_keys`."""
    tokens = [maps.heatmap(word, **requested) for word in (*range(maps.plan.num_positions), PromptPart.PADDING)]
    return np.stack(tokens + [maps.rest(name, **requested) for name in maps.rest_names])


def assert_shares(maps: Any) -> None:
    for block in (None, *maps.blocks):
        for step in (None, *maps.steps):
            shares = all_maps(maps, block=block, step=step)
            assert shares.min() >= 0
            np.testing.assert_allclose(shares.sum(0), 1, atol=1e-5)
            assert shares[: -len(maps.rest_names)].sum(0).max() < 1


# the pictures


def with_lora(pipe: Any) -> Any:
    targets = ["to_q", "to_k", "to_v", "add_k_proj"]
    pipe.transformer.add_adapter(LoraConfig(r=2, target_modules=targets, init_lora_weights=False))
    return pipe


class LoudSD3(JointAttnProcessor2_0):
    """A user's own: the image's part counts twice."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        found = super().__call__(*args, **kwargs)
        return (2 * found[0], found[1]) if isinstance(found, tuple) else 2 * found


class LoudFlux(FluxAttnProcessor):
    """The same."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        found = super().__call__(*args, **kwargs)
        return (2 * found[0], found[1]) if isinstance(found, tuple) else 2 * found


def with_processor(pipe: Any) -> Any:
    pipe.transformer.set_attn_processor(LoudFlux() if is_flux(pipe) else LoudSD3())
    return pipe


@pytest.mark.parametrize("change", [None, with_lora, with_processor])
@pytest.mark.parametrize("aggregator", ["mean", "daam"])
def test_pictures_are_the_same_to_the_bit(pipe, change, aggregator, request) -> None:
    if change is not None:
        pipe = change(PIPELINES[request.node.callspec.params["pipe"]]())
    processors = dict(pipe.transformer.attn_processors)
    prompts = [PROMPT, "a green star"]
    options = {"num_images_per_prompt": 2}
    plain = draw(pipe, prompts, **options)
    with capture_attention(pipe, prompts, attention=AttentionOptions(aggregator, steps=[1])) as maps:
        seen = draw(pipe, prompts, **options)
    assert np.array_equal(seen, plain)
    assert [one.words for one in maps] == [tuple(PROMPT.split())] * 2 + [("a", "green", "star")] * 2
    assert pipe.transformer.attn_processors == processors
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in pipe.transformer.modules())
    if aggregator == "mean":
        for one in maps:
            assert_shares(one)


@pytest.mark.parametrize("options", [{"guidance_scale": 1.0}, {"height": 56, "width": 24}], ids=str)
def test_also_without_guidance_and_in_another_size(pipe, options) -> None:
    plain = draw(pipe, **options)
    with capture_attention(pipe, PROMPT) as maps:
        seen = draw(pipe, **options)
    assert np.array_equal(seen, plain)
    size = options.get("height", 32) // 8, options.get("width", 48) // 8
    assert maps[0].heatmap("circle", block="transformer_blocks.0").shape == size
    assert maps[0].heatmap("circle").shape == (2 * size[0], 2 * size[1])
    assert maps[0].mass_in_mask(np.ones((8 * size[0], 8 * size[1])), "circle") == pytest.approx(1)
    assert_shares(maps[0])


def test_the_maps_of_a_picture_do_not_depend_on_the_guidance_forwards(pipe) -> None:
    """In the first step the prompt's rows are the same with guidance and without."""
    kept = AttentionOptions(steps=[0, 2])
    guided, alone = captured(pipe, attention=kept), captured(pipe, attention=kept, guidance_scale=1.0)
    np.testing.assert_allclose(all_maps(guided, step=0), all_maps(alone, step=0), rtol=1e-4)
    assert np.abs(all_maps(guided, step=2) - all_maps(alone, step=2)).max() > 1e-4


# what the maps are


def kept_keys(pipe: Any, stored: np.ndarray, positions: int) -> np.ndarray:
    """Of (..., text and image keys) what is kept: SD3's text is 77 positions of CLIP's, then T5's."""
    clip = 0 if is_flux(pipe) else 77
    own, text = clip or T5, clip + T5
    sums = [stored[..., positions:own], stored[..., text:], *([stored[..., own:text]] if clip else [])]
    return np.concatenate([stored[..., :positions], *(keys.sum(-1, keepdims=True) for keys in sums)], axis=-1)


@pytest.fixture(scope="module", params=PIPELINES)
def stored(request: pytest.FixtureRequest) -> Any:
    """Maps of both aggregators, and what storing processors kept: for each block (step, head, pixel, map)."""
    pipe = PIPELINES[request.param]()
    processors = store_all(pipe.transformer, text=T5, width=SIZE[1])
    with torch.inference_mode():
        maps = {
            aggregator: captured(pipe, attention=AttentionOptions(aggregator, steps="all"))
            for aggregator in ("mean", "daam")
        }
    kept = {}
    for block, processor in processors.items():
        # FLUX draws the prompt and then the negative prompt; SD3 has the prompt in the second of two rows
        forwards = processor.stored[: 2 * STEPS : 2] if is_flux(pipe) else processor.stored[:STEPS]
        prompt = np.stack([of_forward[-1] for of_forward in forwards])
        np.testing.assert_allclose(prompt.sum(-1), 1, atol=1e-12)
        kept[block] = kept_keys(pipe, prompt, maps["mean"].plan.num_positions)
    return maps, kept


def assert_equal(ours: np.ndarray, exact: np.ndarray, largest: float = 1e-6) -> None:
    """Each map within `largest` of its highest value."""
    difference = np.abs(ours - exact).max((1, 2)) / exact.max((1, 2))
    assert difference.max() <= largest, difference


def test_mean_is_the_mean_over_heads_and_steps(stored) -> None:
    maps, kept = stored[0]["mean"], stored[1]
    assert maps.blocks == tuple(kept)
    for block, of_block in kept.items():
        exact = of_block.mean((0, 1)).T.reshape(-1, *SIZE)
        assert_equal(all_maps(maps, block=block), exact)
        for step in range(STEPS):
            exact = of_block[step].mean(0).T.reshape(-1, *SIZE)
            assert_equal(all_maps(maps, block=block, step=step), exact, 3e-6)
    assert exact[: maps.plan.num_positions].std(axis=(1, 2)).max() > 0.005, "else any order of the pixels would do"


def test_daam_is_daams_definition(stored) -> None:
    maps, kept = stored[0]["daam"], stored[1]
    for blocks in (list(kept), list(kept)[1:2]):
        one_row = [kept[block][:, None] for block in blocks]
        exact = daam(one_row, 0, GRID, [SIZE] * len(blocks))
        assert_equal(all_maps(maps, block=blocks), exact)


def test_single_places_are_looked_at_apart(stored) -> None:
    """Else the order of the keys would not be tested."""
    shares = all_maps(stored[0]["mean"])
    difference = np.abs(shares[:, None] - shares[None]).max((2, 3)) + np.eye(len(shares))
    assert difference.min() > 1e-4


def test_a_forward_that_skips_layers_is_no_step() -> None:
    """SD3.5's guidance by skipped layers, one more forward in some steps."""
    pipe = small_sd35_pipeline()
    skipping = {"skip_guidance_layers": [1], "skip_layer_guidance_start": 0.0, "skip_layer_guidance_stop": 1.0}
    plain = draw(pipe, **skipping)
    with capture_attention(pipe, PROMPT, attention=AttentionOptions(steps="all")) as maps:
        seen = draw(pipe, **skipping)
    assert np.array_equal(seen, plain)
    assert not np.array_equal(plain, draw(pipe))
    assert maps[0].steps == (0, 1, 2)
    usual = captured(pipe, attention=AttentionOptions(steps="all"))
    np.testing.assert_allclose(all_maps(maps[0], step=1), all_maps(usual, step=1), rtol=1e-4)
    assert_shares(maps[0])


@pytest.mark.parametrize("make", [small_sd3_pipeline, small_flux_pipeline])
def test_fused_projections_change_no_map(make) -> None:
    """diffusers' `fuse_qkv_projections` brings processors of its own."""
    fused = make()
    fused.transformer.fuse_qkv_projections()
    np.testing.assert_allclose(all_maps(captured(fused)), all_maps(captured(make())), rtol=1e-3, atol=1e-6)


# whose tokens


def test_the_encoder_chooses_whose_tokens_have_maps() -> None:
    pipe = small_sd3_pipeline()
    prompt = "a red circle, foxes"
    first, second, third = (captured(pipe, prompt, encoder=encoder) for encoder in ENCODERS)
    assert first.words == second.words == third.words == ("a", "red", "circle", ",", "foxes")
    assert [token.text for token in third.plan.tokens[:8]] == ["a", "red", "circle", ",", "fo", "xes", "</s>", "<pad>"]
    assert [len(maps.plan.tokens) for maps in (first, second, third)] == [77, 77, T5]
    assert first.plan.tokens[-1].text != second.plan.tokens[-1].text  # the second pads with "!"
    np.testing.assert_array_equal(first.heatmap("red"), second.heatmap("red"))
    np.testing.assert_allclose(third.heatmap("foxes"), (third.heatmap(4) + third.heatmap(5)) / 2, rtol=1e-6)
    np.testing.assert_allclose(third.rest("image"), first.rest("image"), rtol=1e-5)
    of_tokens = [all_maps(maps)[:-2].sum(0) for maps in (first, third)]
    np.testing.assert_allclose(of_tokens[0], third.rest("other text"), rtol=1e-4)
    np.testing.assert_allclose(of_tokens[1], first.rest("other text"), rtol=1e-4)
    default = captured(pipe, prompt)
    assert default.plan == first.plan


@pytest.mark.parametrize(
    ("make", "encoder"), [*((small_sd3_pipeline, name) for name in ENCODERS), (small_flux_pipeline, ENCODERS[1])]
)
@pytest.mark.parametrize("prompt", [PROMPT, "a red " * 50, "a <xon> circle"])
def test_the_tokens_are_what_the_encoder_reads(make, encoder, prompt) -> None:
    """Cut where the pipeline cuts, and with FLUX's textual inversions, where one word is several vectors."""
    pipe = make()
    tokenizer = copy.deepcopy(getattr(pipe, encoder.replace("text_encoder", "tokenizer")))
    tokenizer.add_tokens(["<xon>", "<xon>_1"])
    setattr(pipe, encoder.replace("text_encoder", "tokenizer"), tokenizer)
    read = getattr(pipe, encoder)
    read.resize_token_embeddings(len(tokenizer))
    seen: list[list[int]] = []
    hook = read.register_forward_pre_hook(lambda module, args: seen.append(args[0][0].tolist()))
    maps = captured(pipe, prompt, encoder=encoder, guidance_scale=1.0)
    hook.remove()
    tokens = maps.plan.tokens
    pieces = tokenizer.convert_ids_to_tokens(seen[0])
    assert len(tokens) == len(pieces)
    for token, piece in zip(tokens, pieces, strict=True):
        assert not token.text or piece.replace("</w>", "").replace("▁", "") == token.text
    assert ("<xon>_1" in pieces) == (is_flux(pipe) and "<xon>" in prompt)


def test_flux_looks_at_t5() -> None:
    pipe = small_flux_pipeline()
    maps, default = captured(pipe, encoder="text_encoder_2"), captured(pipe, max_sequence_length=12)
    assert (len(maps.plan.tokens), len(default.plan.tokens)) == (T5, 12)
    assert maps.plan.tokens[0].kind == "word"  # T5 has no start token
    assert maps.rest_names == ("image",)
    full = captured(pipe, "a red " * 10, max_sequence_length=8)  # cut: no padding is left
    assert full.plan.num_maps == 9
    np.testing.assert_allclose(sum(full.heatmap(position) for position in range(8)) + full.rest("image"), 1, atol=1e-5)


def test_sd3_without_t5_has_its_empty_places_as_other_text() -> None:
    maps = captured(small_sd3_pipeline(t5=False))
    assert maps.rest("other text").min() > 0
    assert_shares(maps)


# image adapters


def with_image_adapter(pipe: Any) -> tuple[Any, dict[str, Any]]:
    """An IP-Adapter with random weights on the blocks that can have one, and what a call is given for it."""
    generator = torch.Generator().manual_seed(0)
    blocks = [block.attn for block in pipe.transformer.transformer_blocks]
    if is_flux(pipe):
        states: Any = [torch.randn(1, 4, WIDTH, generator=generator)]
        given = {"ip_hidden_states": states}
        made = [FluxIPAdapterAttnProcessor(16, WIDTH) for _ in blocks]
    else:
        states = torch.randn(2, 4, WIDTH, generator=generator)
        given = {"ip_hidden_states": states, "temb": torch.randn(2, 8, generator=generator)}
        made = [SD3IPAdapterJointAttnProcessor2_0(16, WIDTH, 8, 8) for _ in blocks]
    for module, processor in zip(blocks, made, strict=True):
        module.set_processor(processor)
    return pipe, {"joint_attention_kwargs": given}


@pytest.mark.parametrize("make", [small_sd3_pipeline, small_flux_pipeline])
def test_an_image_adapter_is_not_taken_for_the_text(make) -> None:
    usual = captured(make(), attention=AttentionOptions(steps=[0]))
    pipe, options = with_image_adapter(make())
    plain = draw(pipe, **options)
    with capture_attention(pipe, PROMPT, attention=AttentionOptions(steps=[0])) as maps:
        seen = draw(pipe, **options)
    assert np.array_equal(seen, plain)
    assert_shares(maps[0])
    first, second = ({"block": f"transformer_blocks.{index}", "step": 0} for index in (0, 1))
    np.testing.assert_allclose(all_maps(maps[0], **first), all_maps(usual, **first), rtol=1e-5)
    assert np.abs(all_maps(maps[0], **second) - all_maps(usual, **second)).max() > 1e-4
