"""What cannot be captured of SD3 and FLUX is refused with the module and what helps, and never an empty map."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import FirstBlockCacheConfig, FluxImg2ImgPipeline
from diffusers.models.attention_dispatch import attention_backend
from diffusers.models.attention_processor import JointAttnProcessor2_0, XFormersJointAttnProcessor
from diffusers.models.transformers.transformer_flux import FluxAttnProcessor

from difflens_widgets import AttentionOptions, capture_attention
from family_pipelines import small_if_pipeline, small_pixart_pipeline, small_sana_pipeline
from joint_pipelines import small_flux_pipeline, small_sd3_pipeline
from stock import PROMPT

DEFAULT_FIX_HINT = {
    "sd3": r"pipe.transformer.set_attn_processor\(diffusers.models.attention_processor.JointAttnProcessor2_0\(\)\)",
    "flux": r"pipe.transformer.set_attn_processor\(diffusers.*transformer_flux.FluxAttnProcessor\(\)\)",
}
PIPELINES = {"sd3": small_sd3_pipeline, "flux": small_flux_pipeline}


def draw(pipe: Any, **options: Any) -> None:
    pipe.set_progress_bar_config(disable=True)
    sizes = {"height": 32, "width": 32, "max_sequence_length": 20}
    pipe(**{"prompt": PROMPT, "num_inference_steps": 2, "output_type": "latent", **sizes, **options})


def twice(pipe: Any) -> None:
    draw(pipe)
    draw(pipe)


def refused(pipe: Any, message: str, **options: Any) -> None:
    """Before anything is computed."""
    with pytest.raises(ValueError, match=message), capture_attention(pipe, PROMPT, **options):
        pytest.fail("got in")


def assert_clean(pipe: Any) -> None:
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in pipe.transformer.modules())
    assert torch.overrides._len_torch_function_stack() == 0


class OwnSD3(JointAttnProcessor2_0):
    """Arithmetic of its own."""

    def __call__(self, attn: Any, hidden_states: Any, encoder_hidden_states: Any = None, **kwargs: Any) -> Any:
        return hidden_states, encoder_hidden_states


class OwnFlux(FluxAttnProcessor):
    """Arithmetic of its own."""

    def __call__(self, attn: Any, hidden_states: Any, encoder_hidden_states: Any = None, *args: Any) -> Any:
        return hidden_states if encoder_hidden_states is None else (hidden_states, encoder_hidden_states)


class TextOnly(JointAttnProcessor2_0):
    """Calls torch, but not over text and image together."""

    def __call__(self, attn: Any, hidden_states: Any, encoder_hidden_states: Any = None, **kwargs: Any) -> Any:
        found = super().__call__(attn, hidden_states, None)
        return found, encoder_hidden_states


@pytest.mark.parametrize(
    ("kind", "block", "processor", "message"),
    [
        ("sd3", "transformer_blocks.1", OwnSD3, r"\(OwnSD3\) does not call torch's scaled_dot_product_attention, .*"),
        ("flux", "single_transformer_blocks.0", OwnFlux, r"\(OwnFlux\) does not call torch's scaled_dot_product_.*"),
        ("sd3", "transformer_blocks.2", TextOnly, r"\(TextOnly\) does not .* over the text \(only over 16 keys\).*"),
    ],
)
def test_a_processor_of_another_kind_in_the_first_step(kind, block, processor, message) -> None:
    pipe = PIPELINES[kind]()
    pipe.transformer.get_submodule(f"{block}.attn").processor = processor()
    forwards: list[int] = []
    hook = pipe.transformer.register_forward_pre_hook(lambda *_: forwards.append(1))
    expected = f"attention: {block}.attn {message}{DEFAULT_FIX_HINT[kind]}"
    with pytest.raises(RuntimeError, match=expected), capture_attention(pipe, PROMPT):
        draw(pipe)
    hook.remove()
    assert forwards == [1]
    assert_clean(pipe)


def test_xformers_is_refused() -> None:
    pipe = small_sd3_pipeline()
    pipe.transformer.transformer_blocks[1].attn.processor = XFormersJointAttnProcessor()
    refused(pipe, r"transformer_blocks.1.attn \(XFormersJointAttnProcessor\) .*pipe.disable_xformers_memory_efficient")


@pytest.mark.parametrize("kind", PIPELINES)
def test_a_compiled_transformer_is_refused(kind) -> None:
    pipe = PIPELINES[kind]()
    pipe.transformer.transformer_blocks[1].compile()
    refused(pipe, r"attention: transformer_blocks.1 is compiled \(torch.compile\)")
    pipe.transformer = torch.compile(PIPELINES[kind]().transformer)
    refused(pipe, r"attention: the transformer is compiled \(torch.compile\)")


def test_another_backend_is_refused_with_a_fix_that_works() -> None:
    pipe = small_flux_pipeline()
    pipe.transformer.set_attention_backend("flex")
    refused(pipe, r"transformer_blocks.0.attn computes .* by 'flex', .*set_attention_backend\(\"native\"\)")
    for backend in ("_native_math", "native"):  # the last one stays diffusers' usual one for all
        pipe.transformer.set_attention_backend(backend)
        with capture_attention(pipe, PROMPT) as maps:
            draw(pipe)
        assert maps[0].heatmap("circle").shape == (8, 8)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_another_backend_around_the_call_is_named_in_the_first_step() -> None:
    pipe = small_flux_pipeline()
    expected = r"transformer_blocks.0.attn \(FluxAttnProcessor\) does not call .*set_attention_backend\(\"native\"\)"
    with pytest.raises(RuntimeError, match=expected), capture_attention(pipe, PROMPT), attention_backend("flex"):
        draw(pipe)
    assert_clean(pipe)


def test_a_cache_is_refused_with_a_fix_that_works() -> None:
    pipe = small_flux_pipeline()
    pipe.transformer.enable_cache(FirstBlockCacheConfig(threshold=10.0))
    refused(pipe, r"attention: the transformer has a cache, .*pipe.transformer.disable_cache\(\)")
    pipe.transformer.disable_cache()
    with capture_attention(pipe, PROMPT) as maps:
        draw(pipe)
    assert maps[0].heatmap("circle").shape == (8, 8)


@pytest.mark.parametrize(
    ("make", "encoder", "message"),
    [
        (small_flux_pipeline, "text_encoder", "denoiser of FluxPipeline does not attend .* of 'text_encoder_2'$"),
        (small_sd3_pipeline, "text_encoder_4", "not attend to .* 'text_encoder_4'; .* 'text_encoder_3'$"),
        (
            lambda: small_sd3_pipeline(t5=False),
            "text_encoder_3",
            "text_encoder_3 needs tokenizer_3, which this StableDiffusion3Pipeline",
        ),
    ],
)
def test_encoders_there_are_not(make, encoder, message) -> None:
    refused(make(), message, text_encoder=encoder)


def test_an_encoder_whose_places_are_not_there() -> None:
    pipe = small_sd3_pipeline()
    embeds, _, pooled, _ = pipe.encode_prompt(PROMPT, None, None, max_sequence_length=20)
    given = {"prompt_embeds": embeds[:, :77], "pooled_prompt_embeds": pooled, "prompt": None, "guidance_scale": 1.0}
    expected = "is given 77 text keys, and none of them is of text_encoder_3's tokens"
    with pytest.raises(RuntimeError, match=expected), capture_attention(pipe, PROMPT, text_encoder="text_encoder_3"):
        draw(pipe, **given)
    assert_clean(pipe)


@pytest.mark.parametrize("kind", PIPELINES)
def test_what_is_asked_for_is_checked_as_ever(kind) -> None:
    pipe = PIPELINES[kind]()
    refused(pipe, "leave the `with` out", attention=False)
    requested = [
        ({"attention": AttentionOptions(steps=[2])}, PROMPT, ValueError, r"step 2 is outside 0\.\.1"),
        ({"attention": AttentionOptions(budget_mb=0.001)}, PROMPT, ValueError, "the budget is 0.001 MB"),
        ({}, [PROMPT, "a"], RuntimeError, "2 prompts were named, and the call draws 1 pictures"),
    ]
    for options, prompt, error, message in requested:
        with pytest.raises(error, match=message), capture_attention(pipe, prompt, **options):
            draw(pipe)
        assert_clean(pipe)
    with pytest.raises(RuntimeError, match="this is a second one"), capture_attention(pipe, PROMPT):
        twice(pipe)
    with pytest.raises(RuntimeError, match="the pipeline drew nothing"), capture_attention(pipe, PROMPT):
        pass
    assert_clean(pipe)


def test_others_there_are_not() -> None:
    pipe = small_flux_pipeline()
    with capture_attention(pipe, PROMPT) as maps:
        draw(pipe)
    with pytest.raises(ValueError, match="name: there is no rest 'other text'; there are: 'image'"):
        maps[0].rest("other text")
    with pytest.raises(ValueError, match=r"block: there is no 'mid_block'; there are transformer_blocks\.0, "):
        maps[0].rest("image", block="mid_block")
    with pytest.raises(ValueError, match="step: 1 was not kept"):
        maps[0].rest("image", step=1)


def test_pipelines_of_no_family_are_refused() -> None:
    flux = small_flux_pipeline()
    parts = {name: part for name, part in flux.components.items() if part is not None}
    refused(FluxImg2ImgPipeline(**parts), "the lens has no family for FluxImg2ImgPipeline")
    refused(small_pixart_pipeline(), "a call of PixArtSigmaPipeline does not tell which rows are the prompt's; what he")
    refused(small_sana_pipeline(), "a call of SanaPipeline does not tell which tokens are .*attention=True")
    refused(small_if_pipeline(), "attention: that of IFPipeline cannot be captured; leave it out")
