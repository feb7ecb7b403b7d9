"""Every model family: the stock layer is the stock picture, and the lens looks at what it says it looks at."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import partialmethod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, EulerAncestralDiscreteScheduler, EulerDiscreteScheduler
from peft import LoraConfig

from difflens_widgets import DiffusionLens, LensRun
from difflens_widgets.cli.bench_lens import plain_loop
from difflens_widgets.lens.edits import Layer
from difflens_widgets.runs.events import Preview
from edited_layers import conditioning
from pipelines import small_pipeline, small_sd2_pipeline, small_sdxl_pipeline, with_text_model_view
from stock import PROMPT, STEPS, assert_same_picture, pixels, stock_image

SAME = {"seed": 3, "num_inference_steps": STEPS, "guidance_scale": 5.0}


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


@dataclass(frozen=True)
class Family:
    make: Any
    scheduler: Any
    layers: int
    encoder: str = "text_encoder"
    options: dict[str, Any] = field(default_factory=dict)

    def lens(self) -> DiffusionLens:
        return DiffusionLens(self.make(self.scheduler, **self.options), batch_size=2, text_encoder=self.encoder)


FAMILIES = {
    "sd1": Family(small_pipeline, DDIMScheduler, layers=5),
    "sd2": Family(small_sd2_pipeline, DDIMScheduler, layers=4),
    "sdxl-1": Family(small_sdxl_pipeline, EulerDiscreteScheduler, layers=3),
    "sdxl-2": Family(small_sdxl_pipeline, EulerAncestralDiscreteScheduler, layers=4, encoder="text_encoder_2"),
    "sdxl-only-2": Family(
        small_sdxl_pipeline,
        EulerDiscreteScheduler,
        layers=4,
        encoder="text_encoder_2",
        options={"first_encoder": False},
    ),
    "sdxl-no-zeros": Family(
        small_sdxl_pipeline, EulerDiscreteScheduler, layers=3, options={"force_zeros_for_empty_prompt": False}
    ),
}


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> Family:
    return FAMILIES[request.param]


@pytest.fixture(scope="module")
def lens(family: Family) -> DiffusionLens:
    return family.lens()


@pytest.fixture(scope="module")
def full(lens: DiffusionLens) -> LensRun:
    return lens(PROMPT, **SAME)


def encoder_of(lens: DiffusionLens, name: str) -> tuple[Any, Any]:
    """Its model and its tokenizer."""
    pipe = lens.pipe
    return getattr(pipe, name), getattr(pipe, name.replace("text_encoder", "tokenizer"))


def hidden_states(lens: DiffusionLens, name: str) -> tuple[torch.Tensor, ...]:
    encoder, tokenizer = encoder_of(lens, name)
    ids = tokenizer(PROMPT, padding="max_length", return_tensors="pt").input_ids
    return encoder(ids, output_hidden_states=True).hidden_states


# the stock picture


def test_the_last_layer_is_the_stock_picture(family, lens, full) -> None:
    assert lens.num_layers == family.layers
    assert sorted(full.images) == list(range(family.layers))
    stock = stock_image(lens.pipe)
    assert full.images[family.layers - 1].size == stock.size  # nobody said how large
    assert_same_picture(full.images[family.layers - 1], stock)


@pytest.mark.parametrize(
    "options",
    [
        {"guidance_scale": 1.0},
        {"negative_prompt": "a green square"},
        {"negative_prompt": ""},
        {"height": 24, "width": 48},
        {"guidance_rescale": 0.7},
    ],
    ids=str,
)
def test_also_with_other_arguments(lens, full, options) -> None:
    last = lens.num_layers - 1
    run = lens(PROMPT, **{**SAME, "layers": [last], **options})
    assert_same_picture(run.images[last], stock_image(lens.pipe, **options))
    if options != {"negative_prompt": ""}:
        assert run.images[last].tobytes() != full.images[last].tobytes()


def test_also_for_a_list_of_prompts(lens) -> None:
    last = lens.num_layers - 1
    prompts = [PROMPT, "a green star"]
    runs = lens(prompts, layers=[last], **SAME)
    generators = [torch.Generator().manual_seed(3) for _ in prompts]
    stock = lens.pipe(prompts, generator=generators, num_inference_steps=STEPS, guidance_scale=5.0).images
    for run, picture in zip(runs, stock, strict=True):
        assert_same_picture(run.images[last], picture)
    assert runs[0].images[last].tobytes() != runs[1].images[last].tobytes()


@pytest.mark.parametrize("name", ["sd1", "sdxl-1", "sdxl-2"])
def test_also_with_lora(name) -> None:
    lens = FAMILIES[name].lens()
    last = lens.num_layers - 1
    before = lens(PROMPT, layers=[last], **SAME)
    torch.manual_seed(1)
    for part, modules in (
        (lens.pipe.unet, ["to_k", "to_v"]),
        (encoder_of(lens, lens.text_encoder)[0], ["q_proj", "v_proj"]),
    ):
        with torch.inference_mode(mode=False):
            part.add_adapter(LoraConfig(r=2, lora_alpha=8, target_modules=modules, init_lora_weights=False))
        run = lens(PROMPT, layers=[last], **SAME)
        assert_same_picture(run.images[last], stock_image(lens.pipe))
        assert np.abs(pixels(run.images[last]) - pixels(before.images[last])).max() > 4
        assert run.settings["model_hash"] != before.settings["model_hash"]
        before = run


@pytest.mark.parametrize("name", ["sd1", "sdxl-1", "sdxl-2"])
def test_also_with_lora_in_the_text_encoder_at_half_strength(name) -> None:
    """Of the prompt and of the negative prompt."""
    lens = FAMILIES[name].lens()
    last = lens.num_layers - 1
    encoder = encoder_of(lens, lens.text_encoder)[0]
    torch.manual_seed(1)
    with torch.inference_mode(mode=False):
        encoder.add_adapter(LoraConfig(r=2, lora_alpha=8, target_modules=["q_proj"], init_lora_weights=False))
    options = {"negative_prompt": "a green square", "cross_attention_kwargs": {"scale": 0.3}}
    run = lens(PROMPT, layers=[last], **SAME, **options)
    assert_same_picture(run.images[last], stock_image(lens.pipe, **options))
    unscaled = lens(PROMPT, layers=[last], **SAME, negative_prompt="a green square")
    assert np.abs(pixels(run.images[last]) - pixels(unscaled.images[last])).max() > 4


@pytest.mark.parametrize("make", [small_pipeline, small_sdxl_pipeline])
def test_also_with_eta(make) -> None:
    lens = DiffusionLens(make(DDIMScheduler), batch_size=1)
    last = lens.num_layers - 1
    run = lens(PROMPT, layers=[last], eta=1.0, **SAME)
    assert_same_picture(run.images[last], stock_image(lens.pipe, eta=1.0))
    plain = lens(PROMPT, layers=[last], **SAME)
    assert run.images[last].tobytes() != plain.images[last].tobytes()


def test_the_layers_differ(lens, full) -> None:
    last = pixels(full.images[lens.num_layers - 1])
    assert all(np.abs(pixels(full.images[layer]) - last).max() > 4 for layer in lens.layers[:-1])


def test_a_layer_does_not_depend_on_the_others(lens, full) -> None:
    for layers in ([1], [2, 1]):
        run = lens(PROMPT, layers=layers, **SAME)
        assert np.abs(pixels(run.images[1]) - pixels(full.images[1])).max() <= 1
        assert np.abs(run.latents[1] - full.latents[1]).max() <= 1e-4 * np.abs(full.latents[1]).max()


def test_a_pipeline_that_reads_its_encoder_elsewhere_is_refused(family, monkeypatch) -> None:
    lens = family.lens()
    if family.encoder == "text_encoder":
        with_text_model_view(lens.pipe.text_encoder)
    stock = type(lens.pipe).encode_prompt
    monkeypatch.setattr(type(lens.pipe), "encode_prompt", partialmethod(stock, clip_skip=1))
    with pytest.raises(RuntimeError, match="reads its text encoder elsewhere than its family declares"):
        lens(PROMPT, **SAME)


# SDXL: which encoder, and what the rest holds meanwhile


@pytest.fixture(scope="module", params=["sdxl-1", "sdxl-2"])
def sdxl(request: pytest.FixtureRequest) -> DiffusionLens:
    return FAMILIES[request.param].lens()


def test_sdxl_layer_k_is_the_stock_picture_with_clip_skip_in_one_encoder(sdxl) -> None:
    pipe, last = sdxl.pipe, sdxl.num_layers - 1
    run = sdxl(PROMPT, **SAME)
    embeds, negative, pooled, negative_pooled = pipe.encode_prompt(PROMPT)
    width = pipe.text_encoder.config.hidden_size
    states = hidden_states(sdxl, sdxl.text_encoder)
    for layer in sdxl.layers:
        halves = [embeds[..., :width], embeds[..., width:]]
        halves[sdxl.text_encoder == "text_encoder_2"] = states[layer]
        if last - layer <= 2:  # stock skips in both encoders, and the first has only three layers
            skipped = pipe.encode_prompt(PROMPT, clip_skip=last - layer)[0]
            skipped = skipped[..., :width] if sdxl.text_encoder == "text_encoder" else skipped[..., width:]
            torch.testing.assert_close(skipped, states[layer])
        stock = stock_image(
            pipe,
            None,
            prompt_embeds=torch.cat(halves, -1),
            pooled_prompt_embeds=pooled,
            negative_prompt_embeds=negative,
            negative_pooled_prompt_embeds=negative_pooled,
        )
        assert_same_picture(run.images[layer], stock)


def test_sdxl_states_are_the_chosen_encoders_from_the_embeddings_to_the_penultimate(sdxl) -> None:
    run = sdxl(PROMPT, **SAME)
    expected = torch.cat(hidden_states(sdxl, sdxl.text_encoder)[:-1]).numpy()
    assert run.states.shape == expected.shape
    np.testing.assert_allclose(run.states, expected, rtol=1e-2, atol=2e-2)
    pads = {token.text for token in run.tokens if token.kind == "pad"}
    assert pads == ({"!"} if sdxl.text_encoder == "text_encoder_2" else {"<|endoftext|>"})
    assert run.settings["text_encoder"] == sdxl.text_encoder


def test_sdxl_the_other_encoder_and_the_pooled_vector_stay_the_stock_ones(sdxl) -> None:
    embeds, of_rows = conditioning(sdxl, PROMPT, [Layer(sdxl.text_encoder, layer) for layer in (0, 2, 0)])
    stock, _, pooled, _ = sdxl.pipe.encode_prompt(PROMPT)
    width = sdxl.pipe.text_encoder.config.hidden_size
    others = slice(width, None) if sdxl.text_encoder == "text_encoder" else slice(width)
    for row in range(3):
        torch.testing.assert_close(embeds[row, :, others], stock[0, :, others])
        torch.testing.assert_close(of_rows[row], pooled[0])
    torch.testing.assert_close(embeds[0], embeds[2])
    assert not torch.allclose(embeds[0], embeds[1], atol=1e-2)


def test_sdxl_without_a_negative_prompt_is_not_the_empty_one() -> None:
    """Stock zeroes both the embeddings and the pooled vector for None, and encodes ""."""
    lens = FAMILIES["sdxl-1"].lens()
    none, empty = (lens(PROMPT, layers=[2], negative_prompt=text, **SAME) for text in (None, ""))
    assert np.abs(pixels(none.images[2]) - pixels(empty.images[2])).max() > 4
    assert_same_picture(none.images[2], stock_image(lens.pipe))
    assert_same_picture(empty.images[2], stock_image(lens.pipe, negative_prompt=""))
    assert (none.settings["negative_prompt"], empty.settings["negative_prompt"]) == (None, "")


def test_sdxl_a_plain_loop_over_the_layers_paints_the_same(monkeypatch, sdxl) -> None:
    monkeypatch.setattr("difflens_widgets.cli.bench_lens.PROMPT", PROMPT)
    run = sdxl(PROMPT, seed=0, num_inference_steps=2, guidance_scale=7.5)
    for layer, image in plain_loop(sdxl, steps=2).items():
        assert_same_picture(run.images[layer], image)


def test_a_run_without_a_negative_prompt_can_be_saved(tmp_path) -> None:
    run = FAMILIES["sdxl-2"].lens()(PROMPT, layers=[1], **SAME)
    loaded = LensRun.load(run.save(tmp_path / "run.lens"))
    assert loaded.settings == run.settings
    assert loaded.num_layers == 4
    assert np.array_equal(loaded.states, run.states)


@pytest.mark.parametrize("name", ["sd1", "sd2", "sdxl-no-zeros"])
def test_elsewhere_no_negative_prompt_is_the_empty_one(name) -> None:
    lens = FAMILIES[name].lens()
    none, empty = (lens(PROMPT, layers=[1], negative_prompt=text, **SAME) for text in (None, ""))
    assert none.images[1].tobytes() == empty.images[1].tobytes()


def test_from_pretrained_takes_the_encoder(tmp_path) -> None:
    small_sdxl_pipeline(EulerDiscreteScheduler).save_pretrained(tmp_path / "xl")
    lens = DiffusionLens.from_pretrained(tmp_path / "xl", device="cpu", text_encoder="text_encoder_2")
    assert (lens.text_encoder, lens.num_layers) == ("text_encoder_2", 4)
    first = DiffusionLens.from_pretrained(tmp_path / "xl", device="cpu")
    assert (first.text_encoder, first.num_layers) == ("text_encoder", 3)
    assert_same_picture(lens(PROMPT, layers=[3], **SAME).images[3], stock_image(first.pipe))


# SDXL: previews and snapshots


def overflow_in_float16(pipe: Any) -> Any:
    """Give the VAE weights that, like SDXL's own, are fine in float32 and overflow in float16."""
    convolution = pipe.vae.decoder.up_blocks[-1].resnets[-1].conv2  # what follows is normed again
    convolution.weight.mul_(5e5)
    assert convolution.weight.abs().max() < torch.finfo(torch.float16).max
    return pipe.to(torch.float16)


def test_sdxl_previews_are_decoded_in_float32_where_the_stock_pipeline_does() -> None:
    pipe = overflow_in_float16(small_sdxl_pipeline(DDIMScheduler))
    assert not torch.isfinite(pipe.vae.decode(torch.randn(1, 4, 8, 8).half() / 0.13, return_dict=False)[0]).all()
    lens = DiffusionLens(pipe, batch_size=1)
    job = lens.start(PROMPT, layers=[2], num_inference_steps=3, guidance_scale=2.0, snapshots=[2])
    previews: list[Preview] = []
    job.subscribe(lambda event: previews.append(event) if isinstance(event, Preview) else None)
    run = job.result(60)
    assert run.status == "done", run.message
    assert previews
    assert all(np.ptp(pixels(preview.image)) > 8 for preview in previews)  # not black
    # the prediction at the last step is the picture
    assert np.abs(pixels(run.snapshots[2, 2]) - pixels(run.images[2])).mean() < 2
    assert pipe.vae.dtype == torch.float16


def test_sdxl_previews_use_the_vaes_own_mean_and_deviation() -> None:
    pipe = small_sdxl_pipeline(DDIMScheduler)
    plain = DiffusionLens(pipe, batch_size=1)(PROMPT, layers=[2], **SAME)
    pipe.vae.register_to_config(latents_mean=[3.0, -2.0, 1.0, 4.0], latents_std=[2.0, 0.2, 5.0, 0.5])
    run = DiffusionLens(pipe, batch_size=1)(PROMPT, layers=[2], snapshots=[STEPS - 1], **SAME)
    assert np.abs(pixels(run.images[2]) - pixels(plain.images[2])).mean() > 4
    assert np.abs(pixels(run.snapshots[2, STEPS - 1]) - pixels(run.images[2])).mean() < 1


def test_sdxl_out_of_memory_in_the_vae_goes_on_with_half_the_rows() -> None:
    """Stock leaves its VAE in float32 then, and the next call would fail on a mixture of types."""
    pipe = overflow_in_float16(small_sdxl_pipeline(DDIMScheduler))

    def limited(module: Any, args: Any) -> None:
        if args[0].shape[0] > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")

    pipe.vae.decoder.register_forward_pre_hook(limited)
    run = DiffusionLens(pipe, batch_size=2)(PROMPT, layers=[1, 2], num_inference_steps=1, guidance_scale=2.0)
    assert (run.status, sorted(run.images), run.settings["batch_size"]) == ("done", [1, 2], 1)
    assert pipe.vae.dtype == torch.float16


# bad input


@pytest.mark.parametrize(
    ("make", "encoder", "message"),
    [
        (small_pipeline, "text_encoder_2", "text_encoder: StableDiffusionPipeline has 'text_encoder'; got 'text_enc"),
        (small_sdxl_pipeline, "text_encoder_3", "has 'text_encoder', 'text_encoder_2'; got 'text_encoder_3'"),
        (small_sdxl_pipeline, 2, "got 2"),
    ],
)
def test_an_encoder_that_is_not_there(make, encoder, message) -> None:
    with pytest.raises(ValueError, match=message):
        DiffusionLens(make(DDIMScheduler), text_encoder=encoder)


def test_an_encoder_that_was_not_loaded() -> None:
    pipe = small_sdxl_pipeline(DDIMScheduler, first_encoder=False)
    with pytest.raises(
        ValueError, match="text_encoder: this StableDiffusionXLPipeline was loaded without text_encoder"
    ):
        DiffusionLens(pipe)
    pipe = small_sdxl_pipeline(DDIMScheduler)
    pipe.register_modules(text_encoder_2=None)
    with pytest.raises(ValueError, match="has no text_encoder_2, without which it cannot be conditioned"):
        DiffusionLens(pipe)


def test_a_wrong_encoder_is_refused_before_weights_are_read(tmp_path: Path) -> None:
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))
    with pytest.raises(ValueError, match="text_encoder: StableDiffusionPipeline has 'text_encoder'"):
        DiffusionLens.from_pretrained(tmp_path, text_encoder="text_encoder_2")


def test_sdxl_layers_are_those_of_the_chosen_encoder(sdxl) -> None:
    with pytest.raises(ValueError, match=rf"layers: {sdxl.num_layers} is outside 0\.\.{sdxl.num_layers - 1}"):
        sdxl(PROMPT, layers=[sdxl.num_layers])
