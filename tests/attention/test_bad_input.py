"""What cannot be captured or requested is refused, in the caller's words, and never by an empty map."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler
from diffusers.models.attention_processor import (
    AttnProcessor,
    AttnProcessor2_0,
    IPAdapterAttnProcessor,
    IPAdapterXFormersAttnProcessor,
    XFormersAttnProcessor,
)

from difflens_widgets import AttentionOptions, DiffusionLens, PromptPart, capture_attention
from pipelines import small_pipeline
from stock import PROMPT

QUICK = {"num_inference_steps": 2, "guidance_scale": 4.0, "layers": [4]}


@pytest.fixture(scope="module")
def lens() -> DiffusionLens:
    return DiffusionLens(small_pipeline(DDIMScheduler), batch_size=2)


@pytest.fixture
def fresh() -> DiffusionLens:
    """One that a test may change."""
    return DiffusionLens(small_pipeline(DDIMScheduler), batch_size=2)


@pytest.fixture(scope="module")
def run(lens) -> Any:
    return lens(PROMPT, attention=AttentionOptions(steps=[1]), **QUICK)


def no_compute(lens: DiffusionLens) -> Any:
    return lens.pipe.text_encoder.register_forward_pre_hook(lambda *_: pytest.fail("the encoder was run"))


def is_clean(lens: DiffusionLens) -> bool:
    """Nothing of the capture is left, in the modules or in the thread."""
    modules = lens.pipe.unet.modules()
    hooks = any(module._forward_hooks or module._forward_pre_hooks for module in modules)
    return not hooks and torch.overrides._len_torch_function_stack() == 0


# what is requested of the lens, before anything is computed


@pytest.mark.parametrize(
    ("attention", "error", "message"),
    [
        ("max", ValueError, 'the aggregator is "mean" or "daam", not \'max\''),
        (3, TypeError, 'expected True, "mean", "daam" or AttentionOptions'),
        (AttentionOptions(steps=[2]), ValueError, r"attention: step 2 is outside 0\.\.1"),
        (AttentionOptions(steps=[-1]), ValueError, r"attention: step -1 is outside 0\.\.1"),
        (AttentionOptions(budget_mb=0.001), ValueError, "of 1 pictures would take .* MB, and .* the budget is 0.001"),
    ],
    ids=str,
)
def test_what_cannot_be_asked_for(lens, attention, error, message) -> None:
    hook = no_compute(lens)
    try:
        with pytest.raises(error, match=message):
            lens(PROMPT, attention=attention, **QUICK)
    finally:
        hook.remove()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"steps": 3}, TypeError, 'steps are several numbers, such as .* or "all", got 3'),
        ({"steps": "first"}, TypeError, "or \"all\", got 'first'"),
        ({"steps": [0.5]}, TypeError, "a step is a whole number, got 0.5"),
        ({"mid_block": "yes"}, TypeError, "mid_block must be True, False or None, got 'yes'"),
        ({"budget_mb": 0}, ValueError, "budget_mb must be a finite number above 0, got 0"),
        ({"budget_mb": float("nan")}, ValueError, "budget_mb must be a finite number above 0"),
    ],
    ids=str,
)
def test_options(options, error, message) -> None:
    with pytest.raises(error, match=message):
        AttentionOptions(**options)


# processors


def test_sliced_attention_is_refused_before_compute_with_a_fix_that_works(fresh) -> None:
    fresh.pipe.enable_attention_slicing(1)
    hook = no_compute(fresh)
    with pytest.raises(ValueError, match=r"attn2 \(SlicedAttnProcessor\) .*pipe.disable_attention_slicing\(\)"):
        fresh(PROMPT, attention=True, **QUICK)
    hook.remove()
    fresh.pipe.disable_attention_slicing()
    assert fresh(PROMPT, attention=True, **QUICK).attention.layers == (4,)


def test_the_old_processor_is_refused_before_compute_with_a_fix_that_works(fresh) -> None:
    fresh.pipe.unet.set_attn_processor(AttnProcessor())
    hook = no_compute(fresh)
    with pytest.raises(ValueError, match=r"down_blocks.0.*attn2 \(AttnProcessor\) .*set_attn_processor\(.*2_0\(\)\)"):
        fresh(PROMPT, attention=True, **QUICK)
    hook.remove()
    fresh.pipe.unet.set_attn_processor(AttnProcessor2_0())
    assert fresh(PROMPT, attention=True, **QUICK).attention.layers == (4,)


def test_a_compiled_denoiser_is_refused_before_compute(fresh) -> None:
    fresh.pipe.unet.mid_block.compile()
    hook = no_compute(fresh)
    with pytest.raises(ValueError, match=r"attention: mid_block is compiled \(torch.compile\)"):
        fresh(PROMPT, attention=True, **QUICK)
    hook.remove()
    assert fresh.pipe.unet.mid_block._compiled_call_impl is not None


def test_a_denoiser_wrapped_by_torch_compile_is_refused_before_compute(fresh) -> None:
    fresh.pipe.unet = torch.compile(fresh.pipe.unet)
    with pytest.raises(ValueError, match="attention: the U-Net is compiled"), capture_attention(fresh.pipe, PROMPT):
        pytest.fail("got in")


@pytest.mark.parametrize(
    ("processor", "fix_hint"),
    [
        (XFormersAttnProcessor(), "pipe.disable_xformers_memory_efficient_attention()"),
        (IPAdapterXFormersAttnProcessor(16, 32), "pipe.disable_xformers_memory_efficient_attention()"),
        (IPAdapterAttnProcessor(16, 32), "pipe.unet.set_attn_processor("),
    ],
    ids=lambda value: type(value).__name__,
)
def test_xformers_and_old_image_adapters_are_refused_before_compute(fresh, processor, fix_hint) -> None:
    """In the middle block only, by the lens and by a plain call."""
    fresh.pipe.unet.mid_block.attentions[0].transformer_blocks[0].attn2.set_processor(processor)
    message = rf"mid_block.*attn2 \({type(processor).__name__}\) does not call .*what helps: {re.escape(fix_hint)}"
    hook = no_compute(fresh)
    with pytest.raises(ValueError, match=message):
        fresh(PROMPT, attention=True, **QUICK)
    with pytest.raises(ValueError, match=message), capture_attention(fresh.pipe, PROMPT):
        pytest.fail("got in")
    hook.remove()


class OwnArithmetic(AttnProcessor):
    """A user's own, which does not call `scaled_dot_product_attention`."""


class Flattened(AttnProcessor2_0):
    """Folds heads into rows before the call."""

    def __call__(self, attn: Any, hidden_states: Any, encoder_hidden_states: Any = None, **kwargs: Any) -> Any:
        text = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        parts = (attn.to_q(hidden_states), attn.to_k(text), attn.to_v(text))
        query, key, value = (attn.head_to_batch_dim(part) for part in parts)
        found = torch.nn.functional.scaled_dot_product_attention(query, key, value)
        return attn.to_out[0](attn.batch_to_head_dim(found))


class Interrupted(AttnProcessor2_0):
    """Ctrl-C while it works."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise KeyboardInterrupt


class Broken(AttnProcessor2_0):
    """Fails by itself."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        raise ZeroDivisionError("its own")


@pytest.mark.parametrize(
    ("processor", "error", "message"),
    [
        (OwnArithmetic, RuntimeError, r"attn2 \(OwnArithmetic\) does not call torch's scaled_dot_product_attention"),
        (
            Flattened,
            RuntimeError,
            r"attn2 \(Flattened\) calls .* shape \(4, 16, 16\), expected \(2, 2, 16, 'width'\)",
        ),
        (Broken, ZeroDivisionError, "its own"),
        (Interrupted, KeyboardInterrupt, None),
    ],
)
def test_in_the_first_step_and_nothing_is_left_behind(fresh, processor, error, message) -> None:
    """Only in the middle block, so that the layers before it were captured."""
    unet, forwards = fresh.pipe.unet, []
    attention = unet.mid_block.attentions[0].transformer_blocks[0].attn2
    attention.processor = processor()
    hook = unet.register_forward_pre_hook(lambda *_: forwards.append(1))
    with pytest.raises(error, match=message):
        fresh(PROMPT, attention=True, **QUICK)
    hook.remove()
    assert forwards == [1]
    assert is_clean(fresh)


def test_a_layer_that_is_not_kept_need_not_be_readable(fresh) -> None:
    fresh.pipe.unet.mid_block.attentions[0].transformer_blocks[0].attn2.processor = OwnArithmetic()
    assert fresh(PROMPT, attention="daam", **QUICK).attention.layers == (4,)
    with pytest.raises(RuntimeError, match=r"mid_block.*attn2 \(OwnArithmetic\) does not call"):
        fresh(PROMPT, attention=AttentionOptions("daam", mid_block=True), **QUICK)
    assert is_clean(fresh)


def test_a_module_that_does_not_run_is_named(fresh) -> None:
    """Such as a forward that skips blocks: their maps would be empty."""
    middle = fresh.pipe.unet.mid_block.attentions[0]
    middle.forward = lambda hidden_states, *args, **kwargs: (hidden_states,)
    with pytest.raises(RuntimeError, match=r"mid_block.attentions.0.*attn2 \(AttnProcessor2_0\) did not run"):
        fresh(PROMPT, attention=True, **QUICK)
    assert is_clean(fresh)


# a plain stock call


def call(lens: DiffusionLens, times: int = 1) -> None:
    lens.pipe.set_progress_bar_config(disable=True)
    for _ in range(times):
        lens.pipe(PROMPT, num_inference_steps=2, output_type="latent")


def test_capturing_one_call_means_one_call(lens) -> None:
    with pytest.raises(RuntimeError, match="the pipeline drew nothing"), capture_attention(lens.pipe, PROMPT):
        pass
    with pytest.raises(RuntimeError, match="this is a second one"), capture_attention(lens.pipe, PROMPT):
        call(lens, times=2)
    assert is_clean(lens)


@pytest.mark.parametrize(
    ("prompt", "attention", "error", "message"),
    [
        (["a red dog", "a cat"], True, RuntimeError, "2 prompts were named, and the call draws 1 pictures"),
        ([3], True, TypeError, "prompt: expected str, got int"),
        (PROMPT, False, ValueError, "leave the `with` out"),
        (PROMPT, AttentionOptions(steps=[5]), ValueError, r"step 5 is outside 0\.\.1"),
    ],
    ids=str,
)
def test_capturing_what_cannot_be(lens, prompt, attention, error, message) -> None:
    with pytest.raises(error, match=message), capture_attention(lens.pipe, prompt, attention=attention):
        call(lens)
    assert is_clean(lens)


def test_a_pipeline_of_no_family_is_refused() -> None:
    with pytest.raises(ValueError, match="no family"), capture_attention(torch.nn.Linear(1, 1), PROMPT):
        pytest.fail("got in")


# what is requested of the maps


@pytest.mark.parametrize(
    ("word", "options", "error", "message"),
    [
        ("dog", {}, ValueError, "word: 'dog' is not in the prompt; its words are: 'a', 'red', 'circle', 'on'"),
        ("a", {}, ValueError, "word: 'a' stands 2 times in the prompt; give one of its positions: 1, 5"),
        ("", {}, ValueError, "word: '' has no word in it"),
        ("redcircle", {}, ValueError, "is not in the prompt"),
        (9, {}, ValueError, r"word: 9 is beyond this prompt, whose tokens are 0\.\.8; PromptPart.PADDING"),
        (-1, {}, ValueError, "word: -1 is beyond"),
        (1.5, {}, TypeError, "word: expected a word, an index or a PromptPart, got 1.5"),
        ("red", {"step": 0}, ValueError, "step: 0 was not kept; those kept are 1. AttentionOptions"),
        ("red", {"layer": 3}, ValueError, "layer: 3 has no attention maps; there are: 4"),
        ("red", {"block": "mid"}, ValueError, "block: there is no 'mid'; there are down_blocks.0, mid_block"),
        ("red", {"block": []}, ValueError, "block: empty"),
    ],
    ids=str,
)
def test_maps_there_are_not(run, word, options, error, message) -> None:
    with pytest.raises(error, match=message):
        run.attention.heatmap(word, **options)
    with pytest.raises(error, match=message):
        run.attention.mass_in_mask(np.ones((8, 8)), word, **options)


@pytest.mark.parametrize(
    ("mask", "error", "message"),
    [
        (
            np.ones((8, 9)),
            ValueError,
            r"the shape is \(8, 9\); it must be the picture's, \(32, 32\), or .* \(8, 8\)",
        ),
        (np.ones((8, 8, 1)), ValueError, "mask: the shape is"),
        (np.full((8, 8), 255), ValueError, "mask: the values must be 0..1"),
        (np.full((8, 8), np.nan), ValueError, "mask: the values must be 0..1"),
        (np.full((8, 8), "in"), TypeError, "mask: expected bool or numbers"),
    ],
    ids=["size", "dimensions", "255", "nan", "text"],
)
def test_masks_that_do_not_fit(run, mask, error, message) -> None:
    with pytest.raises(error, match=message):
        run.attention.mass_in_mask(mask, "red")


def test_a_full_prompt_has_no_padding(lens) -> None:
    full = lens("red " * 75, attention=True, **QUICK)
    assert full.attention.plan.num_maps == 77
    with pytest.raises(ValueError, match="this prompt fills all 77 positions"):
        full.attention.heatmap(PromptPart.PADDING)


def test_before_the_first_layer_is_painted(lens) -> None:
    job = lens._jobs(PROMPT, attention=True, **QUICK)[0]
    assert job.run.attention.words == tuple(PROMPT.split())
    with pytest.raises(ValueError, match="no layer is painted yet"):
        job.run.attention.heatmap("red")
