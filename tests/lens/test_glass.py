"""StableDiffusionGlassPipeline: every argument of the published signature does what it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler, HeunDiscreteScheduler, StableDiffusionPipeline
from peft import LoraConfig
from PIL import Image

from difflens_widgets import DiffusionLens, PromptPart, StableDiffusionGlassPipeline
from difflens_widgets.lens.glass import GlassOutput, save_pictures
from difflens_widgets.lens.sharing import worker_of
from difflens_widgets.models.view import own_scheduler
from pipelines import small_pipeline, text_encoder

PROMPT = "a red circle on a blue background"
QUICK: dict[str, Any] = {"num_inference_steps": 2, "guidance_scale": 3.0}
LAST = 4
LATENTS = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(9))
EMBEDS = torch.randn(1, 77, 32, generator=torch.Generator().manual_seed(8))


def glass_of(stock: StableDiffusionPipeline) -> StableDiffusionGlassPipeline:
    stock.set_progress_bar_config(disable=True)
    return StableDiffusionGlassPipeline(**stock.components, requires_safety_checker=False)


@pytest.fixture(scope="module")
def stock() -> StableDiffusionPipeline:
    return small_pipeline(DDIMScheduler)


@pytest.fixture(scope="module")
def glass(stock) -> StableDiffusionGlassPipeline:
    return glass_of(stock)


@pytest.fixture(scope="module")
def with_lora() -> StableDiffusionPipeline:
    """Adapters with random weights in the U-Net and in the text encoder."""
    pipe = small_pipeline(DDIMScheduler)
    torch.manual_seed(1)
    pipe.unet.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False))
    pipe.text_encoder.add_adapter(LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    return pipe


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def assert_same_pictures(ours: Any, theirs: Any) -> None:
    apart = np.abs(np.stack([np.asarray(a) for a in ours]).astype(int) - np.stack([np.asarray(b) for b in theirs]))
    assert np.quantile(apart, 0.999) <= 1, f"largest difference {apart.max()} of 255"


def last_layer(glass: StableDiffusionGlassPipeline, prompt: Any = PROMPT, **options: Any) -> Any:
    return glass(prompt, start_layer=LAST, **{**QUICK, "generator": seeded(), **options})[LAST]


# the last layer is the stock pipeline's picture, whatever is asked


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"guidance_scale": 1.0},
        {"num_inference_steps": 3},
        {"height": 48, "width": 40},
        {"negative_prompt": "a star"},
        {"negative_prompt_embeds": EMBEDS},
        {"eta": 1.0},
        {"generator": seeded(4)},
        {"latents": LATENTS},
        {"guidance_rescale": 0.7},
    ],
    ids=lambda change: "-".join(change) or "plain",
)
def test_the_last_layer_is_the_stock_picture(stock, glass, change) -> None:
    options = {**QUICK, "generator": seeded(), **change}
    state = options["generator"].get_state()
    ours = last_layer(glass, **options)
    options["generator"].set_state(state)
    assert_same_pictures(ours, stock(PROMPT, **options).images)
    if change:
        plain = last_layer(glass)
        assert plain[0].size != ours[0].size or plain[0].tobytes() != ours[0].tobytes(), "the argument is ignored"


@pytest.mark.parametrize(
    ("prompt", "change"),
    [
        (PROMPT, {"num_images_per_prompt": 2}),
        ([PROMPT, "a star"], {}),
        ([PROMPT, "a star"], {"negative_prompt": ["a dog", "a cat"], "num_images_per_prompt": 2}),
        ([PROMPT, "a star"], {"generator": [seeded(5), seeded(6)]}),
    ],
    ids=["images", "prompts", "negatives", "generators"],
)
def test_several_pictures_are_the_stock_pictures_in_its_order(stock, glass, prompt, change) -> None:
    ours = last_layer(glass, prompt, **change)
    if "generator" in change:
        change = {"generator": [seeded(5), seeded(6)]}
    theirs = stock(prompt, **{**QUICK, "generator": seeded(), **change}).images
    assert len(ours) == len(theirs) > 1
    assert_same_pictures(ours, theirs)


def test_the_stock_picture_with_noise_at_every_step() -> None:
    stock = small_pipeline(DDPMScheduler)
    assert_same_pictures(last_layer(glass_of(stock)), stock(PROMPT, **QUICK, generator=seeded()).images)


@pytest.mark.parametrize("scale", [1.0, 0.3])
def test_cross_attention_kwargs_scale_the_lora(with_lora, scale) -> None:
    options = {**QUICK, "cross_attention_kwargs": {"scale": scale}}
    ours = last_layer(glass_of(with_lora), **options)
    assert_same_pictures(ours, with_lora(PROMPT, generator=seeded(), **options).images)
    if scale != 1.0:
        assert last_layer(glass_of(with_lora))[0].tobytes() != ours[0].tobytes()


def test_one_generator_runs_on_from_call_to_call_as_in_the_stock_pipeline(stock, glass) -> None:
    ours, theirs = seeded(), seeded()
    for _ in range(2):
        assert_same_pictures(last_layer(glass, generator=ours), stock(PROMPT, **QUICK, generator=theirs).images)


def test_without_a_generator_torchs_seed_decides(glass) -> None:
    pictures = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        pictures.append(last_layer(glass, generator=None)[0].tobytes())
    assert pictures[0] == pictures[1] != pictures[2]


def test_it_is_loaded_as_scripts_load_it(stock, glass, tmp_path) -> None:
    stock.save_pretrained(tmp_path)
    loaded = StableDiffusionGlassPipeline.from_pretrained(tmp_path, local_files_only=True)
    loaded.set_progress_bar_config(disable=True)
    assert last_layer(loaded)[0].tobytes() == last_layer(glass)[0].tobytes()


# layers


@pytest.mark.parametrize(
    ("options", "layers"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"start_layer": 3}, [3, 4]),
        ({"end_layer": 2}, [0, 1]),
        ({"step_layer": 2}, [0, 2, 4]),
        ({"skip_layers": [1, 3]}, [0, 2, 4]),
        ({"start_layer": 1, "end_layer": 5, "step_layer": 3, "skip_layers": {1}}, [4]),
    ],
    ids=str,
)
def test_layers(glass, options, layers) -> None:
    output = glass(PROMPT, num_inference_steps=1, guidance_scale=1, **options)
    assert isinstance(output, GlassOutput)
    assert output.layers == list(output.images) == layers


def test_it_is_the_lens(glass, stock) -> None:
    output = glass(PROMPT, generator=seeded(), **QUICK)
    start = torch.randn(1, 4, 8, 8, generator=seeded())
    run = DiffusionLens(stock)(PROMPT, latents=start, num_inference_steps=2, guidance_scale=3.0)
    assert all(output[layer][0].tobytes() == run.images[layer].tobytes() for layer in range(5))
    # and a lens on a glass pipeline paints, instead of asking it for a prompt again
    again = DiffusionLens(glass)(PROMPT, latents=start, num_inference_steps=2, guidance_scale=3.0)
    assert again.images[2].tobytes() == run.images[2].tobytes()


def test_another_encoder_is_lensed_beside_the_first(stock, glass) -> None:
    torch.manual_seed(5)
    encoder = text_encoder(4, 32, 4).eval()
    own = glass.text_encoder
    output = glass(PROMPT, generator=seeded(), explain_other_model=encoder, **QUICK)
    assert glass.text_encoder is own
    tuned = StableDiffusionPipeline(**{**stock.components, "text_encoder": encoder}, requires_safety_checker=False)
    tuned.set_progress_bar_config(disable=True)
    assert_same_pictures(output.other[LAST], tuned(PROMPT, generator=seeded(), **QUICK).images)
    assert_same_pictures(output.images[LAST], last_layer(glass))
    assert output.images[LAST][0].tobytes() != output.other[LAST][0].tobytes()
    pair = glass(PROMPT, explain_other_model=encoder, return_dict=False, start_layer=3, **QUICK)
    assert [len(layers) for layers in pair] == [2, 2]


@pytest.mark.parametrize(
    ("asked", "kept"), [(True, [1, 2, 3]), ("dog", [3]), ([2, PromptPart.PADDING], [2, PromptPart.PADDING])]
)
def test_per_token(glass, asked, kept) -> None:
    run = glass("a red dog", per_token=asked, start_layer=LAST, **QUICK).runs[0]
    assert list(run.token_masks) == kept
    assert set(run.token_images) == {(LAST, token) for token in kept}


# what comes back


def test_output_types(glass) -> None:
    prompts = [PROMPT, "a star"]
    pil, array, tensor, latents = (
        last_layer(glass, prompts, output_type=name) for name in ("pil", "np", "pt", "latents")
    )
    assert [image.size for image in pil] == [(32, 32)] * 2
    assert (array.shape, array.dtype) == ((2, 32, 32, 3), np.float32)
    assert (tuple(tensor.shape), tensor.dtype) == ((2, 3, 32, 32), torch.float32)
    np.testing.assert_allclose(tensor.permute(0, 2, 3, 1).numpy(), array, atol=1e-6)
    assert np.abs(array * 255 - np.stack([np.asarray(image) for image in pil])).max() <= 1.01
    assert tuple(latents.shape) == (2, 4, 8, 8)
    assert torch.equal(last_layer(glass, prompts, output_type="latent"), latents)


def test_a_tuple_has_all_layers(glass) -> None:
    pictures = glass(PROMPT, return_dict=False, generator=seeded(), **QUICK)
    assert isinstance(pictures, tuple)
    assert len(pictures) == 5
    assert_same_pictures(pictures[LAST], last_layer(glass))


def test_callback_hears_the_layer(glass) -> None:
    heard: list[tuple[int, int, int]] = []
    final: dict[int, torch.Tensor] = {}

    def callback(layer: int, step: int, timestep: torch.Tensor, latents: torch.Tensor) -> None:
        heard.append((layer, step, int(timestep)))
        final[layer] = latents.clone()
        latents.zero_()  # it is a copy

    output = glass(PROMPT, callback=callback, output_type="latents", num_inference_steps=3, guidance_scale=1)
    scheduler = own_scheduler(glass.scheduler)  # the pipeline's own was not touched
    scheduler.set_timesteps(3)
    times = [int(time) for time in scheduler.timesteps]
    assert sorted(heard) == [(layer, step, times[step]) for layer in range(5) for step in range(3)]
    assert all(torch.equal(final[layer], output[layer]) for layer in range(5))


def test_callback_in_the_old_form_and_callback_steps(glass) -> None:
    steps: list[int] = []

    def callback(step: int, timestep: torch.Tensor, latents: torch.Tensor) -> None:
        assert tuple(latents.shape) == (1, 4, 8, 8)
        steps.append(step)

    options = {"start_layer": LAST, "num_inference_steps": 5, "guidance_scale": 1}
    glass(PROMPT, callback=callback, **options)
    glass(PROMPT, callback=callback, callback_steps=2, **options)
    assert steps == [0, 1, 2, 3, 4, 0, 2, 4]
    counts: list[int] = []
    glass(PROMPT, callback=lambda *given: counts.append(len(given)), **options)
    assert counts == [4] * 5  # one that takes anything is given the new form


def test_callback_with_a_second_order_scheduler() -> None:
    steps: list[int] = []
    pipe = glass_of(small_pipeline(HeunDiscreteScheduler))
    pipe(PROMPT, start_layer=LAST, num_inference_steps=3, guidance_scale=1, callback=lambda s, t, x: steps.append(s))
    assert steps == [0, 1, 2]


def test_an_error_in_the_callback_is_the_callers(glass) -> None:
    def callback(layer: int, step: int, timestep: torch.Tensor, latents: torch.Tensor) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        glass(PROMPT, callback=callback, **QUICK)


def test_nothing_is_written_or_printed_until_asked(glass, tmp_path, monkeypatch, capfd) -> None:
    monkeypatch.chdir(tmp_path)
    output = glass("../escape", snapshots=[0, 1], num_inference_steps=3, guidance_scale=1, start_layer=3)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")
    written = save_pictures(output.runs[0], tmp_path / "mine")
    names = [f"layer_{layer:03d}_{of}" for layer in (3, 4) for of in ("step_000.png", "step_001.png", "step_002.png")]
    names += ["layer_003_evolution.gif", "layer_004_evolution.gif"]
    assert sorted(path.name for path in written) == sorted(names)
    assert sorted(written) == sorted((tmp_path / "mine").iterdir())
    with Image.open(tmp_path / "mine" / "layer_004_step_002.png") as image:
        assert image.tobytes() == output[4][0].tobytes()
    with Image.open(tmp_path / "mine" / "layer_003_evolution.gif") as film:
        assert (film.n_frames, film.info["duration"]) == (3, 200)
    save_pictures(output.runs[0], tmp_path / "mine", seconds_per_step=0.5)
    with Image.open(tmp_path / "mine" / "layer_003_evolution.gif") as film:
        assert film.info["duration"] == 500
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_the_users_threads_do_not_share_a_denoiser(glass) -> None:
    """The copy that holds the other encoder has the same worker."""
    other = StableDiffusionGlassPipeline(**glass.components, requires_safety_checker=False)
    assert worker_of(other) is worker_of(glass)


# bad input

OTHER = text_encoder(3, 32, 4)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"prompt": None}, ValueError, "prompt: give a prompt"),
        ({"prompt_embeds": EMBEDS}, ValueError, "prompt_embeds: the layers .* can be read from a prompt only"),
        ({"negative_prompt": ["a", "b"]}, ValueError, "negative_prompt: 2 for 1 prompts"),
        ({"negative_prompt": "a", "negative_prompt_embeds": EMBEDS}, ValueError, "contradicts negative_prompt"),
        ({"negative_prompt_embeds": EMBEDS[0]}, ValueError, r"negative_prompt_embeds: the shape is \(77, 32\)"),
        ({"negative_prompt_embeds": EMBEDS[:, :5]}, ValueError, r"the shape is \(5, 32\), expected \(77, 32\)"),
        ({"negative_prompt_embeds": EMBEDS * torch.nan}, ValueError, "negative_prompt_embeds: some values are NaN"),
        ({"num_images_per_prompt": 0}, ValueError, "num_images_per_prompt: 0 must be at least 1"),
        ({"generator": [seeded()] * 2}, ValueError, "generator: 2 are given for 1 pictures"),
        ({"generator": [3]}, TypeError, "generator: expected torch.Generator, got int"),
        ({"latents": LATENTS[0]}, ValueError, r"latents: the shape is \(4, 8, 8\), for 1 pictures"),
        ({"output_type": "gif"}, ValueError, "output_type: 'gif' is none of 'pil'"),
        ({"eta": -1}, ValueError, "eta: -1 must be"),
        ({"guidance_rescale": float("nan")}, ValueError, "guidance_rescale: nan must be"),
        ({"callback": lambda step: None}, TypeError, r"callback: it takes \(step\), expected \(layer, step, timestep"),
        ({"callback": 3}, TypeError, "callback: expected a function"),
        ({"callback_steps": 0}, ValueError, "callback_steps: 0 must be at least 1"),
        ({"start_layer": 5}, ValueError, r"start_layer: 5 is outside 0\.\.4"),
        ({"end_layer": -1}, ValueError, r"end_layer: -1 must be 1\.\.5; it is exclusive"),
        ({"start_layer": 3, "end_layer": 3}, ValueError, r"end_layer: 3 must be 4\.\.5"),
        ({"step_layer": 0}, ValueError, "step_layer: 0 must be at least 1"),
        ({"skip_layers": [9]}, ValueError, r"skip_layers: 9 is outside 0\.\.4"),
        ({"start_layer": 3, "skip_layers": [3, 4]}, ValueError, r"skip_layers: \[3, 4\] leaves no layer of \[3, 4\]"),
        ({"explain_other_model": OTHER}, ValueError, "explain_other_model: its num_hidden_layers is 3, .* is 4"),
        (
            {"explain_other_model": text_encoder(4, 32, 4).double()},
            ValueError,
            r"it is torch.float64 on cpu, .* \.to\(\)",
        ),
        ({"explain_other_model": "clip"}, TypeError, "explain_other_model: expected a CLIPTextModel, got str"),
        ({"per_token": "dog"}, ValueError, "keep_tokens: 'dog' is not in the prompt"),
        ({"per_token": True, "return_dict": False}, ValueError, "per_token: its pictures are in the output's `runs`"),
        ({"height": 33}, ValueError, "height: 33 is not divisible by 8"),
        ({"num_inference_steps": 0}, ValueError, "num_inference_steps: 0 must be at least 1"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_bad_arguments_are_refused_before_anything_is_computed(glass, options, error, message) -> None:
    hook = glass.text_encoder.register_forward_pre_hook(lambda *_: pytest.fail("the encoder was run"))
    try:
        with pytest.raises(error, match=message):
            glass(**{"prompt": PROMPT, **options})
    finally:
        hook.remove()
