"""The per-token lens on SDXL: what is dropped is told by neither encoder, nor by the pooled vector."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import EulerDiscreteScheduler

from difflens_widgets import DiffusionLens, PromptPart
from pipelines import small_sdxl_pipeline
from stock import assert_same_picture, stock_image

PROMPT = "a red circle"
CIRCLE = 3
LONG = "red " * 74 + "circle"  # 75 words: with start and end every place is taken
QUICK = {"seed": 3, "num_inference_steps": 2, "guidance_scale": 3.0}


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


@pytest.fixture(
    scope="module",
    params=[("text_encoder", True), ("text_encoder_2", True), ("text_encoder_2", False)],
    ids=["first", "second", "only-second"],
)
def lens(request: pytest.FixtureRequest) -> DiffusionLens:
    encoder, first_encoder = request.param
    pipe = small_sdxl_pipeline(EulerDiscreteScheduler, first_encoder=first_encoder)
    return DiffusionLens(pipe, batch_size=2, batch_invariant=True, text_encoder=encoder)


def given_to_the_denoiser(lens: DiffusionLens, prompt: str, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """States and pooled vectors of the last layer: first of the whole prompt, then of the token."""
    given: list[dict[str, Any]] = []
    hook = lens.pipe.unet.register_forward_pre_hook(lambda _, args, kwargs: given.append(kwargs), with_kwargs=True)
    try:
        lens(prompt, layers=[lens.num_layers - 1], **{**QUICK, **options})
    finally:
        hook.remove()
    # one half of a batch is the negative prompt's; whether they share a batch or not, the token is the last row of all
    states = [call["encoder_hidden_states"].chunk(2)[1] for call in given]
    pooled = [call["added_cond_kwargs"]["text_embeds"].chunk(2)[1] for call in given]
    return torch.stack([states[0][0], states[-1][1]]), torch.stack([pooled[0][0], pooled[-1][1]])


def stock_encoded(lens: DiffusionLens, prompt: str) -> tuple[torch.Tensor, torch.Tensor]:
    embeds, _, pooled, _ = lens.pipe.encode_prompt(prompt, do_classifier_free_guidance=False)
    return embeds[0], pooled[0]


def test_a_kept_token_is_all_that_the_denoiser_gets_of_the_prompt(lens) -> None:
    states, pooled = given_to_the_denoiser(lens, PROMPT, keep_tokens="circle")
    (full, full_pooled), (clean, clean_pooled) = (stock_encoded(lens, text) for text in (PROMPT, ""))
    torch.testing.assert_close(states[0], full)
    torch.testing.assert_close(pooled[0], full_pooled)
    for place in range(77):  # the width takes in both encoders
        torch.testing.assert_close(states[1, place], (full if place in (0, CIRCLE) else clean)[place])
    torch.testing.assert_close(pooled[1], clean_pooled)
    assert not torch.allclose(clean_pooled, full_pooled, atol=1e-2)
    assert not torch.allclose(clean[2], full[2], atol=1e-2)


@pytest.mark.parametrize(
    ("prompt", "tokens", "told"),
    [
        (PROMPT, PromptPart.PROMPT, True),
        (PROMPT, "a red circle", True),
        ("circle", "circle", True),
        (PROMPT, "red circle", False),
        (PROMPT, PromptPart.PADDING, False),
        (PROMPT, 0, False),
    ],
    ids=str,
)
def test_the_pooled_vector_is_the_prompts_where_all_its_words_are_kept(lens, prompt, tokens, told) -> None:
    _, pooled = given_to_the_denoiser(lens, prompt, keep_tokens=tokens)
    torch.testing.assert_close(pooled[1], stock_encoded(lens, prompt if told else "")[1])
    assert torch.equal(pooled[0], pooled[1]) == told


def test_keeping_everything_is_the_full_lens_to_the_byte(lens) -> None:
    whole = lens(LONG, keep_tokens=PromptPart.PROMPT, **QUICK)
    assert len(whole.token_masks[PromptPart.PROMPT]) == 76
    for layer in lens.layers:
        assert whole.token_images[layer, PromptPart.PROMPT].tobytes() == whole.images[layer].tobytes()


def test_the_start_token_alone_is_the_empty_prompt(lens) -> None:
    alone, empty = lens(PROMPT, keep_tokens=0, **QUICK), lens("", **QUICK)
    for layer in lens.layers:
        assert alone.token_images[layer, 0].tobytes() == empty.images[layer].tobytes()
        assert alone.images[layer].tobytes() != empty.images[layer].tobytes()


def test_the_last_layer_is_the_stock_picture_of_the_kept_states(lens) -> None:
    last = lens.num_layers - 1
    run = lens(PROMPT, layers=[last], keep_tokens="circle", **QUICK)
    (full, _), (clean, pooled) = (stock_encoded(lens, text) for text in (PROMPT, ""))
    clean[[0, CIRCLE]] = full[[0, CIRCLE]]
    negative = {"negative_prompt_embeds": torch.zeros_like(clean)[None]}  # what stock SDXL takes without one
    negative["negative_pooled_prompt_embeds"] = torch.zeros_like(pooled)[None]
    stock = stock_image(
        lens.pipe,
        None,
        prompt_embeds=clean[None],
        pooled_prompt_embeds=pooled[None],
        num_inference_steps=2,
        guidance_scale=3.0,
        **negative,
    )
    assert_same_picture(run.token_images[last, CIRCLE], stock)


def test_places_are_those_of_the_lensed_encoders_tokens(lens) -> None:
    run = lens._jobs(PROMPT, keep_tokens=["circle", *PromptPart])[0].run
    assert run.token_masks == {
        CIRCLE: (CIRCLE,),
        PromptPart.PADDING: tuple(range(5, 77)),
        PromptPart.PROMPT: (1, 2, 3, 4),
    }
    assert run.tokens[-1].text == ("!" if lens.text_encoder == "text_encoder_2" else "<|endoftext|>")


def test_negative_embeddings_without_a_pooled_vector_are_refused_before_anything_is_computed(lens) -> None:
    hook = lens.pipe.text_encoder_2.register_forward_pre_hook(lambda *_: pytest.fail("the encoder was run"))
    embeds = torch.zeros(77, lens.pipe.unet.config.cross_attention_dim)
    try:
        with pytest.raises(ValueError, match="negative_prompt_embeds: StableDiffusionXLPipeline also needs a pooled"):
            lens(PROMPT, negative_prompt_embeds=embeds)
    finally:
        hook.remove()
