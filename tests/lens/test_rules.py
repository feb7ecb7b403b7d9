"""The rules of the lens (design.md), each by a test that fails where the rule is broken."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler

from difflens_widgets import DiffusionLens
from difflens_widgets.lens.edits import Layer
from edited_layers import layer_embeds
from pipelines import small_pipeline, with_text_model_view
from stock import PROMPT, STEPS, assert_same_picture, pixels, stock_image


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


LENSES = {
    "tiny": lambda: DiffusionLens.from_pretrained(device="cpu"),
    "euler-ancestral": lambda: DiffusionLens(small_pipeline(EulerAncestralDiscreteScheduler), batch_size=3),
    "ddpm": lambda: DiffusionLens(small_pipeline(DDPMScheduler), batch_size=2),
}


@pytest.fixture(scope="module", params=LENSES)
def lens(request: pytest.FixtureRequest) -> DiffusionLens:
    return LENSES[request.param]()


@pytest.fixture(scope="module")
def full(lens: DiffusionLens) -> object:
    return lens(PROMPT, seed=3, num_inference_steps=STEPS, guidance_scale=5.0)


def test_1_layers_are_the_embeddings_and_every_block(lens, full) -> None:
    encoder = lens.pipe.text_encoder
    assert lens.num_layers == encoder.config.num_hidden_layers + 1
    assert sorted(full.images) == list(lens.layers) == list(range(lens.num_layers))
    ids = lens.pipe.tokenizer(PROMPT, padding="max_length", return_tensors="pt").input_ids
    embeddings = getattr(encoder, "text_model", encoder).embeddings(input_ids=ids)[0]
    np.testing.assert_allclose(full.states[0], embeddings.detach().numpy(), atol=2e-2, rtol=1e-2)
    assert full.states.shape == (lens.num_layers, 77, encoder.config.hidden_size)
    assert full.states.dtype == np.float16


def test_2_every_layer_gets_the_final_norm_once(lens) -> None:
    encoding, embeds = lens.encode(PROMPT), layer_embeds(lens, PROMPT)
    encoder = lens.pipe.text_encoder
    ids = lens.pipe.tokenizer(PROMPT, padding="max_length", return_tensors="pt").input_ids
    last = encoder(ids).last_hidden_state
    torch.testing.assert_close(embeds[-1:], last, rtol=1e-5, atol=1e-5)
    assert torch.equal(embeds, encoding.normed_states)
    norm = getattr(encoder, "text_model", encoder).final_layer_norm
    for layer in lens.layers:
        torch.testing.assert_close(embeds[layer], norm(encoding.states[layer]), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(encoding.states[-1:], last, atol=1e-2), "the raw last state is before the norm"


def test_3_all_layers_get_the_same_noise(lens, monkeypatch) -> None:
    """With the text taken away (no guidance, one state for all layers) only a row's place in the batch is left."""
    monkeypatch.setattr(Layer, "_edited", lambda self, session, source: session.encoded(self.encoder, source).output)
    run = lens(PROMPT, seed=3, num_inference_steps=STEPS, guidance_scale=0)
    for layer in lens.layers:
        np.testing.assert_allclose(run.latents[layer], run.latents[0], rtol=0, atol=1e-3)  # noise has variance 1
        assert np.abs(np.asarray(run.images[layer], int) - np.asarray(run.images[0], int)).max() <= 1


def test_3_another_seed_gives_other_noise(lens, full) -> None:
    other = lens(PROMPT, seed=4, num_inference_steps=STEPS, guidance_scale=5.0, layers=[lens.num_layers - 1])
    assert other.images[lens.num_layers - 1].tobytes() != full.images[lens.num_layers - 1].tobytes()


def test_4_the_last_layer_is_the_stock_picture(lens, full) -> None:
    assert_same_picture(full.images[lens.num_layers - 1], stock_image(lens.pipe))


@pytest.mark.parametrize("options", [{"guidance_scale": 1.0}, {"negative_prompt": "a green square"}], ids=str)
def test_4_also_without_guidance_and_with_a_negative_prompt(lens, options) -> None:
    last = lens.num_layers - 1
    run = lens(PROMPT, seed=3, **{"num_inference_steps": STEPS, "guidance_scale": 5.0, "layers": [last], **options})
    assert_same_picture(run.images[last], stock_image(lens.pipe, **options))


def test_4_layer_k_is_the_stock_picture_with_clip_skip(lens, full) -> None:
    with_text_model_view(lens.pipe.text_encoder)
    last = lens.num_layers - 1
    for layer in (0, 1, last - 1):
        assert_same_picture(full.images[layer], stock_image(lens.pipe, clip_skip=last - layer))


def test_the_layers_differ(lens, full) -> None:
    """Else all of the above would hold for a lens that looks at nothing."""
    last = pixels(full.images[lens.num_layers - 1])
    assert all(np.abs(pixels(full.images[layer]) - last).max() > 8 for layer in (0, 1))


SAME = {"seed": 3, "num_inference_steps": STEPS, "guidance_scale": 5.0}


def test_5_a_layer_does_not_depend_on_the_others_up_to_rounding(lens, full) -> None:
    for layers in ([2], list(lens.layers)[::-1], [lens.num_layers - 1, 2, 0]):
        run = lens(PROMPT, layers=layers, **SAME)
        for layer in layers:
            assert np.abs(pixels(run.images[layer]) - pixels(full.images[layer])).max() <= 1
            apart = np.abs(run.latents[layer] - full.latents[layer]).max()
            assert apart <= 1e-4 * np.abs(full.latents[layer]).max()


def test_5_one_layer_does_not_pay_for_the_others(lens) -> None:
    rows: list[int] = []
    hook = lens.pipe.unet.register_forward_pre_hook(lambda _, args: rows.append(len(args[0])))
    run = lens(PROMPT, layers=[2], **SAME)
    hook.remove()
    assert rows == [2] * len(rows)  # guidance: twice the rows
    assert (run.settings["rows_per_call"], run.settings["batch_invariant"]) == (1, False)


def test_5_to_the_byte_if_asked_for(lens) -> None:
    invariant = DiffusionLens(lens.pipe, batch_size=min(4, lens.batch_size), batch_invariant=True)
    full = invariant(PROMPT, **SAME)
    alone = invariant(PROMPT, layers=[2], **SAME)
    assert alone.images[2].tobytes() == full.images[2].tobytes()
    backwards = invariant(PROMPT, layers=reversed(lens.layers), **SAME)
    assert all(backwards.images[layer].tobytes() == full.images[layer].tobytes() for layer in lens.layers)
    assert np.array_equal(alone.latents[2], full.latents[2])
    for run in (full, alone):
        assert run.settings["batch_invariant"]
        assert run.settings["rows_per_call"] == run.settings["batch_size"] == invariant.batch_size


def test_6_mask_and_padding_are_the_stock_pipelines(lens) -> None:
    """The states the lens reads are the ones that the pipeline's own `encode_prompt` makes, padding included."""
    for prompt in ("", PROMPT, "red " * 200):
        stock, _ = lens.pipe.encode_prompt(prompt, lens.pipe._execution_device, 1, False)
        torch.testing.assert_close(lens.encode(prompt).normed_states[-1:], stock, rtol=1e-5, atol=1e-5)


def test_6_also_for_an_encoder_that_uses_the_attention_mask() -> None:
    pipe = small_pipeline(DPMSolverMultistepScheduler)
    plain = DiffusionLens(pipe).encode(PROMPT).normed_states
    pipe.text_encoder.config.use_attention_mask = True
    masked = DiffusionLens(pipe).encode(PROMPT).normed_states
    stock, _ = pipe.encode_prompt(PROMPT, pipe._execution_device, 1, False)
    torch.testing.assert_close(masked[-1:], stock, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(masked, plain)
