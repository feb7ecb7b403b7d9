"""Two models compared: the noise is the same, the numbers are what they say, and neither model is changed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, EulerAncestralDiscreteScheduler, StableDiffusionPipeline
from peft import LoraConfig
from PIL import Image

import difflens_widgets
from difflens_widgets import Comparison, DiffusionLens, LensRun, SceneJudge, compare, read_states
from difflens_widgets.analysis.ssim import ssim
from difflens_widgets.dreambooth.history.training_drift import training_drift
from difflens_widgets.models.weight_hash import weight_hash
from pipelines import small_pipeline, small_sdxl_pipeline, text_encoder, tokenizer
from stock import PROMPT
from tuned_models import perturbed

OPTIONS = {"num_inference_steps": 3, "guidance_scale": 4.0, "seed": 5}


def lens_of(pipe, **options):
    return DiffusionLens(pipe, **{"batch_size": 2, "model": "small", **options})


@pytest.fixture(scope="module")
def lenses():
    raw, tuned = small_pipeline(DDIMScheduler), perturbed(small_pipeline(DDIMScheduler))
    return lens_of(raw), lens_of(tuned, batch_size=3, model="tuned")


@pytest.fixture(scope="module")
def swapped(lenses):
    """With attribution and attention."""
    return compare(*lenses, PROMPT, attribution=True, attention=True, **OPTIONS)


def assert_same_pictures(a, b) -> None:
    assert list(a.images) == list(b.images)
    for layer in a.images:
        assert a.images[layer].tobytes() == b.images[layer].tobytes()
        assert a.latents[layer].tobytes() == b.latents[layer].tobytes()


def test_the_name_is_the_function() -> None:
    assert callable(difflens_widgets.compare)
    assert difflens_widgets.compare is compare


@pytest.mark.parametrize("scheduler", [DDIMScheduler, EulerAncestralDiscreteScheduler])
def test_a_model_compared_with_an_equal_one_has_no_difference(scheduler) -> None:
    """Also with a scheduler that adds noise on the way, and with chunks of another size."""
    raw, same = lens_of(small_pipeline(scheduler)), lens_of(small_pipeline(scheduler), batch_size=4)
    for tuned in (raw, same):
        found = compare(raw, tuned, PROMPT, attribution=tuned is same, **OPTIONS)
        for run in found.runs.values():
            assert_same_pictures(found.raw, run)
        for name, value in (("state_cosine", 1), ("latent_rms", 0), ("ssim", 1)):
            np.testing.assert_allclose(found.metrics[name], value, rtol=0, atol=1e-12, err_msg=name)
        assert not found.difference(2).any()
    assert np.isnan(found.metrics["attribution_encoder"]).all()  # nothing changed: there is nothing to share out


def test_each_run_is_what_its_own_lens_gives(lenses, swapped) -> None:
    raw, tuned = lenses
    assert_same_pictures(swapped.raw, raw(PROMPT, attention=True, **OPTIONS))
    assert_same_pictures(swapped.tuned, lens_of(tuned.pipe)(PROMPT, **OPTIONS))
    assert swapped.raw.images[4].tobytes() != swapped.tuned.images[4].tobytes()
    assert {run.settings["batch_size"] for run in swapped.runs.values()} == {2}  # the raw lens's; the tuned one has 3
    assert (swapped.raw.settings["model"], swapped.tuned.settings["model"]) == ("small", "tuned")


def test_neither_model_is_changed(lenses, swapped) -> None:
    fresh = weight_hash(small_pipeline(DDIMScheduler)), weight_hash(perturbed(small_pipeline(DDIMScheduler)))
    assert tuple(weight_hash(lens.pipe) for lens in lenses) == fresh
    assert fresh[0] != fresh[1]
    again = compare(*lenses, PROMPT, **OPTIONS)
    assert_same_pictures(again.raw, swapped.raw)
    assert_same_pictures(again.tuned, swapped.tuned)


def test_the_swapped_runs_have_one_part_of_each(swapped) -> None:
    """Against a pipeline with the weights really copied together."""
    for part, pair in (("text_encoder", ("tuned", "raw")), ("unet", ("raw", "tuned"))):
        mixed, tuned = small_pipeline(DDIMScheduler), perturbed(small_pipeline(DDIMScheduler))
        getattr(mixed, part).load_state_dict(getattr(tuned, part).state_dict())
        assert_same_pictures(swapped.swapped[pair], lens_of(mixed)(PROMPT, **OPTIONS))
    names = [run.settings["model"] for run in swapped.swapped.values()]
    assert names == ["encoder of tuned, U-Net of small", "encoder of small, U-Net of tuned"]


def test_swapping_shares_the_modules(lenses) -> None:
    from difflens_widgets.analysis.comparison.swapped import swapped_lens

    raw, tuned = lenses
    mixed = swapped_lens(tuned, raw).pipe
    assert mixed.text_encoder is tuned.pipe.text_encoder
    assert (mixed.unet, mixed.vae, mixed.scheduler) == (raw.pipe.unet, raw.pipe.vae, raw.pipe.scheduler)
    assert type(mixed) is StableDiffusionPipeline


def test_the_numbers_are_what_they_say(lenses, swapped) -> None:
    raw, tuned = swapped.raw, swapped.tuned
    for row, layer in enumerate(swapped.layers):
        difference = tuned.latents[layer].astype(float) - raw.latents[layer]
        assert swapped.metrics["latent_rms"][row] == pytest.approx(np.sqrt((difference**2).mean()))
        assert swapped.metrics["ssim"][row] == pytest.approx(ssim(raw.images[layer], tuned.images[layer]))
        pixels = [np.asarray(run.images[layer], dtype=float) for run in (raw, tuned)]
        np.testing.assert_allclose(swapped.difference(layer), np.abs(pixels[1] - pixels[0]).mean(-1), rtol=1e-6)
    states = [read_states(lens, PROMPT, normed=True).states.astype(float) for lens in lenses]
    dots = (states[0] * states[1]).sum(-1) / np.prod([np.linalg.norm(each, axis=-1) for each in states], axis=0)
    assert swapped.normed
    np.testing.assert_allclose(swapped.cosines, dots, atol=1e-6)
    places = [token.index for token in raw.tokens if token.kind in ("word", "eos")]
    np.testing.assert_allclose(swapped.metrics["state_cosine"], dots[:, places].mean(1), atol=1e-6)
    assert swapped.metrics["state_cosine"].max() < 0.9999


def test_attribution_shares_out_the_whole_change(swapped) -> None:
    parts = [swapped.metrics[f"attribution_{name}"] for name in ("encoder", "unet", "both")]
    np.testing.assert_allclose(np.sum(parts, axis=0), 1.0)
    assert all(0 < part.max() < 1.5 for part in parts[:2])


@pytest.mark.parametrize(("amounts", "share"), [({"unet": 0.0}, "encoder"), ({"encoder": 0.0}, "unet")])
def test_what_one_part_learned_is_that_parts(amounts, share) -> None:
    tuned = lens_of(perturbed(small_pipeline(DDIMScheduler), **amounts))
    found = compare(lens_of(small_pipeline(DDIMScheduler)), tuned, PROMPT, attribution=True, layers=[0, 4], **OPTIONS)
    for name in ("encoder", "unet", "both"):
        expected = 1.0 if name == share else 0.0
        np.testing.assert_allclose(found.metrics[f"attribution_{name}"], expected, atol=1e-12)
    assert found.layers == (0, 4)


def test_differential_attention_is_tuned_minus_raw(swapped, lenses) -> None:
    for asked in ({"layer": 2}, {"layer": 4, "block": "mid_block"}, {}):
        expected = swapped.tuned.attention.heatmap("circle", **asked) - swapped.raw.attention.heatmap("circle", **asked)
        found = swapped.attention_difference("circle", **asked)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected)
        assert found.min() < 0 < found.max()
    with pytest.raises(ValueError, match=r"attention: was not captured.*attention=True"):
        compare(*lenses, PROMPT, layers=[4], **OPTIONS).attention_difference("circle")
    with pytest.raises(ValueError, match="'dog' is not in the prompt"):
        swapped.attention_difference("dog")


def test_a_judge_scores_both(lenses) -> None:
    class Reddish:
        """Says yes to pictures with more red than blue."""

        description = "reddish"

        def __init__(self):
            self.asked = []

        def judge(self, images, prompt):
            self.asked.append(len(images))
            return [np.asarray(image)[..., 0].mean() > np.asarray(image)[..., 2].mean() for image in images]

    judge = Reddish()
    found = compare(*lenses, PROMPT, judge=judge, layers=iter([0, 2, 4]), **OPTIONS)
    assert judge.asked == [0, 3, 3]  # first without a picture: can it judge this prompt?
    assert found.judge == "reddish"
    for name, run in (("raw", found.raw), ("tuned", found.tuned)):
        expected = [float(judge.judge([run.images[layer]], PROMPT)[0]) for layer in (0, 2, 4)]
        assert found.metrics[f"judge_{name}"].tolist() == expected
    with pytest.raises(ValueError, match="is no caption of the embedded model's world"):
        compare(*lenses, "a photo of xon dog", judge=SceneJudge(), **OPTIONS)


def test_an_adapter_is_in_one_pipeline_only() -> None:
    """As a LoRA is used: the model loaded twice, adapters in one."""
    raw, pipe = lens_of(small_pipeline(DDIMScheduler)), small_pipeline(DDIMScheduler)
    config = LoraConfig(r=2, target_modules=["to_q", "to_v"], init_lora_weights=False)
    torch.manual_seed(0)
    pipe.unet.add_adapter(config)
    pipe.text_encoder.add_adapter(LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False))
    alone = raw(PROMPT, **OPTIONS)
    found = compare(raw, lens_of(pipe), PROMPT, attribution=True, **OPTIONS)
    assert_same_pictures(found.raw, alone)
    assert_same_pictures(raw(PROMPT, **OPTIONS), alone)
    assert found.metrics["latent_rms"][-1] > 0
    sum_of_parts = found.metrics["attribution_encoder"] + found.metrics["attribution_unet"]
    np.testing.assert_allclose(sum_of_parts + found.metrics["attribution_both"], 1)
    off = compare(raw, lens_of(pipe), PROMPT, cross_attention_kwargs={"scale": 0.0}, **OPTIONS)
    np.testing.assert_allclose(off.metrics["state_cosine"], 1, atol=1e-6)  # the scale is heeded in the states, too
    assert off.metrics["latent_rms"].max() < 1e-4
    shared = StableDiffusionPipeline(**raw.pipe.components, requires_safety_checker=False)
    with pytest.raises(ValueError, match=r"has the very modules of raw.*load the model a second time"):
        compare(raw, lens_of(shared), PROMPT, **OPTIONS)


@pytest.mark.parametrize("encoder", ["text_encoder", "text_encoder_2"])
def test_sdxl(encoder) -> None:
    raw = lens_of(small_sdxl_pipeline(DDIMScheduler), text_encoder=encoder)
    tuned = lens_of(perturbed(small_sdxl_pipeline(DDIMScheduler)), text_encoder=encoder)
    found = compare(raw, tuned, PROMPT, attribution=True, num_inference_steps=2, layers=[0, 2])
    parts = [found.metrics[f"attribution_{name}"] for name in ("encoder", "unet", "both")]
    np.testing.assert_allclose(np.sum(parts, axis=0), 1.0)
    assert (found.metrics["state_cosine"] < 1).all()


def with_another(part, value):
    pipe = perturbed(small_pipeline(DDIMScheduler))
    setattr(pipe, part, value)
    return lens_of(pipe)


def other_words():
    words = type(tokenizer()).from_pretrained(tokenizer().name_or_path)
    words.add_tokens(["xonxon"])
    return words


@pytest.mark.parametrize(
    ("tuned", "options", "message"),
    [
        (lambda: 3, {}, "tuned: expected a DiffusionLens, got int"),
        (
            lambda: lens_of(small_pipeline(DDIMScheduler)).ablate(PROMPT, layers=[0], num_inference_steps=1),
            {},
            "tuned: expected a DiffusionLens, got LensRun",
        ),
        (lambda: lens_of(small_pipeline(DDIMScheduler, layers=3)), {}, "the number of layers differs: 4, where .* 5"),
        (lambda: lens_of(small_pipeline(EulerAncestralDiscreteScheduler)), {}, "the scheduler differs: .*Ancestral"),
        (
            lambda: lens_of(small_pipeline(DDIMScheduler, prediction_type="v_prediction")),
            {},
            "the scheduler differs: {'prediction_type': 'v_prediction'}, where raw has {'prediction_type': 'eps",
        ),
        (lambda: lens_of(small_sdxl_pipeline(DDIMScheduler)), {}, "the family differs"),
        (lambda: lens_of(small_pipeline(DDIMScheduler).to(torch.bfloat16)), {}, "the dtype differs: torch.bfloat16"),
        (
            lambda: with_another("text_encoder", text_encoder(4, 32, 4, vocab_size=2_000)),
            {"attribution": True},
            "attribution: the text_encoder's geometry differs: {'vocab_size': 2000}",
        ),
        (
            lambda: with_another("tokenizer", other_words()),
            {"attribution": True},
            "attribution: the vocabulary of the tokenizer differs",
        ),
        (
            lambda: with_another("vae", small_pipeline(DDIMScheduler, seed=1).vae),
            {"attribution": True},
            "attribution: the autoencoders of raw and tuned differ",
        ),
        (
            lambda: lens_of(perturbed(small_pipeline(DDIMScheduler))),
            {"num_inference_steps": 0},
            "num_inference_steps: 0 must be at least 1",
        ),
        (lambda: lens_of(perturbed(small_pipeline(DDIMScheduler))), {"height": 33}, "height"),
        (lambda: lens_of(perturbed(small_pipeline(DDIMScheduler))), {"layers": [9]}, "layers: 9 is outside"),
        (lambda: lens_of(perturbed(small_pipeline(DDIMScheduler))), {"stepps": 2}, "stepps"),
    ],
    ids=range(14),
)
def test_what_cannot_be_compared_is_refused_before_anything_is_painted(lenses, tuned, options, message) -> None:
    def painted(*_):
        raise AssertionError("it was painted")

    with pytest.raises((ValueError, TypeError), match=message):
        compare(lenses[0], tuned(), PROMPT, **{"on_step": painted, "num_inference_steps": 2, **options})


@pytest.mark.parametrize("prompt", [["a dog", "a cat"], 3])
def test_one_prompt(lenses, prompt) -> None:
    with pytest.raises(TypeError, match="prompt: expected one str"):
        compare(*lenses, prompt)


def test_two_runs_make_a_comparison_where_they_are_of_one_kind(lenses) -> None:
    """As the epochs of a training are: recorded before."""
    raw, tuned = lenses
    a, b = raw(PROMPT, **OPTIONS), lens_of(tuned.pipe)(PROMPT, **OPTIONS)
    found = Comparison(a, b)
    assert (found.normed, found.swapped, found.charts[0].name) == (False, {}, "state_cosine")
    states = [run.states.astype(float) for run in (a, b)]
    dots = (states[0] * states[1]).sum(-1) / np.prod([np.linalg.norm(each, axis=-1) for each in states], axis=0)
    np.testing.assert_allclose(found.cosines, dots, atol=1e-6)
    others = {
        "seed": raw(PROMPT, **{**OPTIONS, "seed": 6}),
        "num_inference_steps": raw(PROMPT, **{**OPTIONS, "num_inference_steps": 2}),
        "prompt": raw("a blue circle", **OPTIONS),
        "layers": raw(PROMPT, layers=[1], **OPTIONS),
        "method": raw.ablate(PROMPT, **OPTIONS),
    }
    for what, other in others.items():
        with pytest.raises(ValueError, match=f"tuned: its {what} is"):
            Comparison(a, other)
    with pytest.raises(ValueError, match="raw: is a run of the ablation"):
        Comparison(others["method"], others["method"])


def test_a_layer_without_a_picture_is_a_hole(swapped) -> None:
    raw = Comparison(swapped.raw, swapped.raw).raw
    holey = type(raw)(**{**vars(raw), "images": {k: v for k, v in raw.images.items() if k != 1}})
    holey.latents = {k: v for k, v in raw.latents.items() if k != 1}
    holey.failures = {1: "its latents are not finite"}
    found = Comparison(raw, holey, dict(swapped.swapped))
    for name in ("latent_rms", "ssim", "attribution_unet"):
        assert np.isnan(found.metrics[name][1])
    assert np.isfinite(found.metrics["ssim"][[0, 2, 3, 4]]).all()
    with pytest.raises(ValueError, match="layer: 1 has no picture in the tuned run"):
        found.difference(1)
    assert found.grid().size == swapped.grid().size
    assert found.plot()._repr_png_().startswith(b"\x89PNG")


def test_grid_and_figure(swapped) -> None:
    sheet = swapped.grid()
    across, down = sheet.width // 5, sheet.height // 4
    assert abs(across - down) < down  # 5 layers, 4 rows of square pictures
    assert swapped._repr_png_().startswith(b"\x89PNG")
    figure = swapped.plot()
    assert [axes.get_title() for axes in figure.axes] == [chart.label for chart in swapped.charts]
    assert all(axes.get_ylabel() for axes in figure.axes)
    text = " ".join(text.get_text() for text in figure.texts)
    assert "the same noise" in text
    assert "after the final norm" in text
    assert PROMPT in figure.get_suptitle()
    lines = {line.get_label(): line for line in figure.axes[1].get_lines()}
    np.testing.assert_array_equal(lines["tuned"].get_ydata(), swapped.metrics["latent_rms"])
    assert repr(swapped) == f"Comparison({PROMPT!r}, small → tuned, 5 layers, 2 × 2)"


# what makes the noise (B2)


def advanced(draws: int) -> torch.Generator:
    generator = torch.Generator().manual_seed(5)
    torch.randn(draws, generator=generator)
    return generator


@pytest.mark.parametrize(
    ("what", "one", "other"),
    [
        ("generator_hash", {"seed": advanced(0)}, {"seed": advanced(16)}),
        ("latents_hash", {"latents": torch.zeros(4, 8, 8)}, {"latents": torch.ones(4, 8, 8)}),
        ("eta", {"eta": 0.0}, {"eta": 0.5}),
        ("cross_attention_kwargs", {}, {"cross_attention_kwargs": {"scale": 0.5}}),
    ],
)
def test_runs_of_other_noise_are_refused_by_name(lenses, what, one, other) -> None:
    same = {**OPTIONS, "layers": [4]}
    a, b = (lenses[0](PROMPT, **{**same, **options}) for options in (one, other))
    with pytest.raises(ValueError, match=f"tuned: its {what}"):
        Comparison(a, b)
    assert Comparison(a, lenses[1](PROMPT, **{**same, **one})).metrics["ssim"] < 1


@pytest.mark.parametrize(
    ("name", "config"),
    [("steps_offset", {"steps_offset": 1}), ("timestep_spacing", {"timestep_spacing": "trailing"})],
)
def test_runs_of_another_scheduler_config_are_refused_by_name(lenses, name, config) -> None:
    pipe, runs = small_pipeline(DDIMScheduler), []
    for changed in ({}, config):
        pipe.scheduler = DDIMScheduler.from_config(pipe.scheduler.config, **changed)
        runs.append(lens_of(pipe)(PROMPT, **{**OPTIONS, "layers": [4]}))
    with pytest.raises(ValueError, match=rf"tuned: its scheduler_config\['{name}'\]"):
        Comparison(*runs)


def test_the_start_latents_are_those_of_the_pipeline_and_kept_in_the_file(lenses, tmp_path) -> None:
    """The same seed on the same pipeline: one hash, also from a file, whatever else is asked for."""
    runs = [lenses[0](PROMPT, **{**OPTIONS, **more}) for more in ({"layers": [4]}, {"layers": [0, 2]})]
    other = lenses[0](PROMPT, **{**OPTIONS, "seed": 6, "layers": [4]})
    hashes = [run.settings["latents_hash"] for run in (*runs, other)]
    assert hashes[0] == hashes[1] != hashes[2]
    again = type(other).load(other.save(tmp_path / "a.lens"))
    assert again.settings == other.settings


def test_a_run_written_before_the_noise_was_kept_still_compares(lenses) -> None:
    a, b = (lens(PROMPT, **{**OPTIONS, "layers": [4]}) for lens in lenses)
    for name in ("latents_hash", "generator_hash", "scheduler_config"):
        del a.settings[name]
    assert Comparison(a, b).metrics["ssim"] < 1


def test_large_pictures_have_one_ssim() -> None:
    """A comparison and the drift of a training reduce them alike."""
    rng = np.random.default_rng(0)
    smooth = [np.kron(rng.integers(0, 255, (32, 32, 3)), np.ones((16, 16, 1))) for _ in range(2)]
    noise = rng.integers(-40, 40, (512, 512, 3))
    runs = []
    for pixels in (smooth[0], 0.7 * smooth[0] + 0.3 * smooth[1] + noise):
        run = LensRun(PROMPT, (), (0,), 1, 0, {}, status="done")
        run.images[0] = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        runs.append(run)
    found = Comparison(*runs).metrics["ssim"][0]
    assert 0.1 < found < 0.99
    assert training_drift(*runs)["ssim_distance"][0] == pytest.approx(1 - found)
