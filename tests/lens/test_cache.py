"""The cache of a run: same arguments, same bytes without a forward; any other argument, no hit."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

import diffusers
import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, EulerAncestralDiscreteScheduler
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from difflens_widgets import Comparison, DiffusionLens, LensRun
from difflens_widgets.lens.settings import DEFAULTS
from difflens_widgets.models.content_hash import ContentHash, NotHashable
from difflens_widgets.models.pipeline_hash import pipeline_hash
from difflens_widgets.runs.events import LayerImage, Progress
from difflens_widgets.runs.result_store import result_store
from family_pipelines import small_flux2_klein_pipeline
from joint_pipelines import small_flux_pipeline, small_sd3_pipeline
from pipelines import small_pipeline, small_sdxl_pipeline

PROMPT = "a red circle on a blue background"
QUICK = {"num_inference_steps": 1, "guidance_scale": 2.0, "layers": [1, 4]}


@pytest.fixture(autouse=True)
def _memory_only(monkeypatch):
    monkeypatch.setenv("DIFFLENS_CACHE", "")
    result_store().clear()


@pytest.fixture(scope="module")
def lens() -> DiffusionLens:
    return DiffusionLens(small_pipeline(EulerAncestralDiscreteScheduler), batch_size=2)


@pytest.fixture
def own_lens() -> DiffusionLens:
    return DiffusionLens(small_pipeline(DDIMScheduler), batch_size=2)


def cached(run: LensRun) -> list:
    return sorted(run.settings.get("from_cache", []), key=str)


def same_bytes(a: LensRun, b: LensRun) -> bool:
    return (
        all(a.images[layer].tobytes() == b.images[layer].tobytes() for layer in b.images)
        and all(np.array_equal(a.latents[layer], b.latents[layer]) for layer in b.latents)
        and all(a.snapshots[key].tobytes() == b.snapshots[key].tobytes() for key in b.snapshots)
        and all(a.token_images[key].tobytes() == b.token_images[key].tobytes() for key in b.token_images)
    )


# every argument of lens(), with another value: that it is complete is tested below
OTHERS = {
    "negative_prompt": "a star",
    "seed": 1,
    "num_inference_steps": 2,
    "guidance_scale": 2.5,
    "guidance_rescale": 0.5,
    "eta": 0.5,
    "cross_attention_kwargs": {"scale": 0.5},
    "negative_prompt_embeds": torch.ones(77, 32),
    "height": 40,
    "width": 40,
    "latents": torch.ones(4, 8, 8),
    "quality": "draft",
}
ADD_TO_A_ROW = {"snapshots": [0], "attention": True, "keep_tokens": ["circle"]}
NOT_IN_THE_ROW = {"layers": [4], "on_step": lambda *_: None, "cache": False}


def test_every_argument_of_the_lens_is_tested_here() -> None:
    of_other_families = {"slots", "true_cfg_scale"}  # tested below
    assert {*OTHERS, *ADD_TO_A_ROW, *NOT_IN_THE_ROW, *of_other_families} >= set(DEFAULTS)


def test_the_second_call_generates_nothing_and_gives_the_same_bytes(lens) -> None:
    options = {**QUICK, "layers": None, "snapshots": [0], "keep_tokens": ["circle"], "attention": True}
    forwards = []
    first = lens(PROMPT, **options)
    original = lens.pipe.unet.forward.__func__
    try:
        type(lens.pipe.unet).forward = lambda self, *args, **kwargs: (
            forwards.append(1) or original(self, *args, **kwargs)
        )
        type(lens.pipe.unet).forward.__module__ = original.__module__
        second = lens(PROMPT, **options)
    finally:
        type(lens.pipe.unet).forward = original
    assert not forwards
    assert same_bytes(first, second)
    assert "from_cache" not in first.settings
    assert cached(second) == sorted([*range(5), *([layer, 3] for layer in range(5))], key=str)
    assert np.array_equal(first.attention.heatmap("circle"), second.attention.heatmap("circle"))
    assert second.status == "done"


@pytest.mark.parametrize("name", OTHERS)
def test_another_value_of_an_argument_is_no_hit(lens, name) -> None:
    lens(PROMPT, **QUICK)
    other = lens(PROMPT, **{**QUICK, name: OTHERS[name]})
    assert cached(other) == []
    assert cached(lens(PROMPT, **{**QUICK, name: OTHERS[name]})) == [1, 4]
    assert cached(lens(PROMPT, **QUICK)) == [1, 4]


_CHOICES = st.fixed_dictionaries(
    {"prompt": st.sampled_from([PROMPT, "a blue circle on a red background", ""])},
    optional={
        "layers": st.sampled_from([[0], [4], [4, 0]]),
        "negative_prompt": st.sampled_from([None, "", "a star"]),
        "seed": st.sampled_from([0, 1]),
        "guidance_scale": st.sampled_from([0.0, 1.0, 2.0]),
        "guidance_rescale": st.sampled_from([0.0, 0.5]),
        "eta": st.sampled_from([0.0, 1.0]),
        "height": st.sampled_from([None, 32, 40]),
        "latents": st.sampled_from([None, torch.ones(4, 8, 8)]),
        "snapshots": st.sampled_from([None, [0]]),
        "keep_tokens": st.sampled_from([None, ["circle"], "all"]),
        "attention": st.sampled_from([False, "mean", "daam"]),
    },
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True)
@given(_CHOICES)
def test_whatever_was_run_before_a_run_is_what_it_is_without_the_cache(lens, choice) -> None:
    """The store keeps filling, example by example; a hit that is wrong gives other bytes."""
    options = {"layers": [0, 4], "num_inference_steps": 1, **choice}
    prompt = options.pop("prompt")
    if options.get("latents") is not None:
        options["height"] = None
    if not prompt:
        options.pop("keep_tokens", None)
    elif options.get("keep_tokens") == ["circle"] and "circle" not in prompt:
        options["keep_tokens"] = "all"
    with_cache, without = lens(prompt, **options), lens(prompt, **options, cache=False)
    assert same_bytes(without, with_cache)
    assert same_bytes(with_cache, without)
    assert (with_cache.attention is None) == (without.attention is None)
    if without.attention is not None:
        for layer in without.attention:
            ours, truth = with_cache.attention[layer], without.attention[layer]
            assert ours.plan == truth.plan
            assert np.array_equal(ours.token_heatmaps(), truth.token_heatmaps())


def test_more_than_is_known_is_generated_and_then_known(lens) -> None:
    plain = lens(PROMPT, **QUICK)
    for more in ({"snapshots": [0]}, {"attention": "daam"}):
        assert cached(lens(PROMPT, **QUICK, **more)) == []
        assert cached(lens(PROMPT, **QUICK, **more)) == [1, 4]
    assert same_bytes(plain, lens(PROMPT, **QUICK))
    words = lens(PROMPT, **QUICK, keep_tokens=["circle"])
    assert cached(words) == [1, 4]
    assert len(words.token_images) == 2


def test_cache_false_goes_round_it(lens) -> None:
    assert cached(lens(PROMPT, **QUICK, cache=False)) == []
    assert cached(lens(PROMPT, **QUICK)) == [], "and nothing was kept"
    assert cached(lens(PROMPT, **QUICK, cache=False)) == []


def test_a_listener_of_the_steps_is_always_called(lens) -> None:
    calls = []
    lens(PROMPT, **QUICK)
    run = lens(PROMPT, **QUICK, on_step=lambda *given: calls.append(given))
    assert cached(run) == []
    assert len(calls) == 2


@pytest.mark.parametrize("value", [None, 1, "yes"], ids=str)
def test_cache_takes_true_or_false(lens, value) -> None:
    with pytest.raises(TypeError, match="cache: expected True or False"):
        lens(PROMPT, cache=value)


def test_what_a_user_draws_on_a_picture_is_not_in_the_next_run(lens) -> None:
    first = lens(PROMPT, **QUICK)
    before = first.images[4].tobytes()
    first.images[4].putpixel((0, 0), (1, 2, 3))
    first.latents[4][:] = 0
    second = lens(PROMPT, **QUICK)
    assert cached(second) == [1, 4]
    assert second.images[4].tobytes() == before
    second.images[4].putpixel((0, 0), (1, 2, 3))
    assert lens(PROMPT, **QUICK).images[4].tobytes() == before


# the model


def add_one(pipe) -> None:
    """As `.data` does: no version counter sees it."""
    pipe.unet.conv_in.weight.data[3, 1, 0, 2] += 0.25


def negate(pipe) -> None:
    pipe.vae.decoder.conv_in.weight.data.neg_()


CHANGES = {
    "one weight of the denoiser": add_one,
    "the sign of all weights of a layer": negate,
    "two weights change places": lambda pipe: pipe.unet.conv_in.weight.data.copy_(
        pipe.unet.conv_in.weight.data.flip(0)
    ),
    "a bias": lambda pipe: pipe.vae.decoder.conv_out.bias.data.add_(0.1),
    "text encoder": lambda pipe: pipe.text_encoder.get_input_embeddings().weight.data.mul_(1.5),
    "FreeU": lambda pipe: pipe.enable_freeu(0.9, 0.2, 1.2, 1.4),
    "scheduler": lambda pipe: setattr(pipe, "scheduler", EulerAncestralDiscreteScheduler()),
    "a setting of the scheduler": lambda pipe: setattr(
        pipe, "scheduler", DDIMScheduler.from_config(pipe.scheduler.config, beta_end=0.02)
    ),
    "slicing": lambda pipe: pipe.enable_attention_slicing(1),
    "dtype": lambda pipe: pipe.to(torch.bfloat16),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_the_model_is_no_hit(own_lens, change) -> None:
    own_lens(PROMPT, **QUICK)
    assert cached(own_lens(PROMPT, **QUICK)) == [1, 4]
    CHANGES[change](own_lens.pipe)
    assert cached(own_lens(PROMPT, **QUICK)) == []


def test_threads_and_rows_are_in_the_key(own_lens) -> None:
    own_lens(PROMPT, **QUICK)
    assert cached(DiffusionLens(own_lens.pipe, batch_size=1)(PROMPT, **QUICK)) == []
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        assert cached(own_lens(PROMPT, **QUICK)) == []
    finally:
        torch.set_num_threads(threads)


def test_the_users_own_runs_in_between_change_nothing(own_lens) -> None:
    own_lens(PROMPT, **QUICK)
    own_lens.pipe.set_progress_bar_config(disable=True)
    own_lens.pipe(PROMPT, num_inference_steps=3, guidance_scale=5.0, eta=0.3)
    assert cached(own_lens(PROMPT, **QUICK)) == [1, 4]


def test_equal_weights_in_another_pipeline_are_a_hit(own_lens) -> None:
    """The raw side of a comparison with a second copy; the swapped pairs of an attribution."""
    first = own_lens(PROMPT, **QUICK)
    second = DiffusionLens(small_pipeline(DDIMScheduler), batch_size=2)(PROMPT, **QUICK)
    assert cached(second) == [1, 4]
    assert same_bytes(first, second)


def test_equal_states_are_a_hit_whatever_made_them(own_lens) -> None:
    """The stock row of an ablation is the last layer of the lens, if it has the same place in the batch."""
    lens = DiffusionLens(own_lens.pipe, batch_size=1)
    last = lens(PROMPT, layers=[4], num_inference_steps=1, guidance_scale=2.0)
    ablated = lens.ablate(PROMPT, layers=[0, 1], num_inference_steps=1, guidance_scale=2.0)
    assert cached(ablated) == [0]
    assert ablated.images[0].tobytes() == last.images[4].tobytes()


def test_hooks_and_own_code_keep_a_run_out_of_the_cache(own_lens, caplog) -> None:
    caplog.set_level(logging.INFO)
    own_lens(PROMPT, **QUICK)
    hook = own_lens.pipe.unet.mid_block.register_forward_hook(lambda module, args, output: output * 0)
    hooked = own_lens(PROMPT, **QUICK)
    hook.remove()
    assert cached(hooked) == []
    assert "a hook on a UNetMidBlock2DCrossAttn" in caplog.text
    assert cached(own_lens(PROMPT, **QUICK)) == [1, 4]

    class Mine(torch.nn.SiLU):
        pass

    own_lens.pipe.unet.conv_act = Mine()
    with pytest.raises(NotHashable, match="code of your own"):
        pipeline_hash(own_lens.pipe, own_lens.pipe.scheduler, 1, torch.device("cpu"))
    assert cached(own_lens(PROMPT, **QUICK)) == []


def test_a_replaced_method_keeps_a_run_out_of_the_cache(own_lens, monkeypatch) -> None:
    own_lens(PROMPT, **QUICK)
    decode = type(own_lens.pipe.vae).decode
    monkeypatch.setattr(type(own_lens.pipe.vae), "decode", lambda self, *args, **kwargs: decode(self, *args, **kwargs))
    assert cached(own_lens(PROMPT, **QUICK)) == []
    monkeypatch.undo()


def test_a_model_that_changes_meanwhile_is_not_kept(own_lens) -> None:
    job = own_lens.start(PROMPT, **QUICK)
    changed = []

    def change(event) -> None:
        if isinstance(event, LayerImage) and not changed:
            changed.append(add_one(own_lens.pipe))

    job.subscribe(change, previews=False)
    job.result(60)
    assert changed
    with torch.no_grad():
        own_lens.pipe.unet.conv_in.weight.data[3, 1, 0, 2] -= 0.25
    assert cached(own_lens(PROMPT, **QUICK)) in ([], [1], [4])


def test_progress_is_complete_and_honest(lens) -> None:
    lens = DiffusionLens(lens.pipe, batch_size=2, batch_invariant=True)
    lens(PROMPT, **QUICK)
    job = lens.start(PROMPT, num_inference_steps=1, guidance_scale=2.0)
    seen = []
    job.subscribe(lambda event: seen.append(event) if isinstance(event, Progress) else None)
    assert cached(job.result(60)) == [1, 4]
    assert job.progress.complete
    assert job.progress.seconds_left == 0


def test_not_finite_images_are_not_kept(own_lens, monkeypatch) -> None:
    own_lens.pipe.vae.decoder.conv_out.bias.data.fill_(float("nan"))
    assert len(own_lens(PROMPT, **QUICK).failures) == 2
    again = own_lens(PROMPT, **QUICK)
    assert len(again.failures) == 2
    assert cached(again) == []


def test_sdxl_with_a_pooled_vector_and_two_encoders() -> None:
    lens = DiffusionLens(small_sdxl_pipeline(DDIMScheduler), batch_size=2, text_encoder="text_encoder_2")
    options = {"num_inference_steps": 1, "guidance_scale": 2.0, "layers": [0, 3]}
    first = lens(PROMPT, **options)
    assert same_bytes(first, lens(PROMPT, **options))
    assert cached(lens(PROMPT, **options)) == [0, 3]
    lens.pipe.text_encoder.get_input_embeddings().weight.data.mul_(1.5)
    assert cached(lens(PROMPT, **options)) == []


@pytest.mark.parametrize("make", [small_flux_pipeline, small_sd3_pipeline, small_flux2_klein_pipeline])
def test_other_families(make) -> None:
    if make is small_flux2_klein_pipeline and not hasattr(diffusers, "Flux2KleinPipeline"):
        pytest.skip("this diffusers is older")
    lens = DiffusionLens(make(), batch_size=2)
    options = {"num_inference_steps": 1, "height": 32, "width": 32, "layers": [0, lens.num_layers - 1]}
    lens("a red circle", **options, cache=False)  # some networks build tables in their first forward
    first = lens("a red circle", **options)
    second = lens("a red circle", **options)
    assert cached(second) == sorted(options["layers"], key=str)
    assert same_bytes(first, second)
    others = [{"seed": 1}, {"guidance_scale": 3.0}]
    if make is small_flux_pipeline:
        others += [
            {"true_cfg_scale": 2.0, "negative_prompt": "star"},
            {"true_cfg_scale": 3.0, "negative_prompt": "star"},
        ]
        others += [{"true_cfg_scale": 3.0, "negative_prompt": "a blue star"}]
    if make is small_flux2_klein_pipeline:
        others += [{"slots": "all"}, {"slots": 1}]
    for other in others:
        found = lens("a red circle", **{**options, "layers": [0], **other})
        truth = lens("a red circle", **{**options, "layers": [0], **other}, cache=False)
        assert same_bytes(truth, found), other
        assert cached(found) == [], other
    assert cached(lens("a blue circle", **options)) == []


def test_a_patch_takes_its_stock_row_from_the_lens_and_a_text_ablation_takes_nothing(own_lens) -> None:
    options = {"num_inference_steps": 1, "guidance_scale": 2.0}
    own_lens = DiffusionLens(own_lens.pipe, batch_size=2, batch_invariant=True)  # of runs with other numbers of rows
    own_lens(PROMPT, layers=[4], **options)
    patch = {"source": "a blue circle on a red background", "tokens": {"red": "blue"}}
    patched = own_lens.patch(PROMPT, **patch, **options)
    assert 4 in patched.settings["from_cache"]
    assert not any(isinstance(key, list) for key in patched.settings["from_cache"])
    again = own_lens.patch(PROMPT, **patch, **options)
    assert same_bytes(patched, again)
    assert sum(isinstance(key, list) for key in again.settings["from_cache"]) == len(patched.token_images)
    plain = own_lens.patch(PROMPT, **patch, **options, cache=False)
    assert same_bytes(plain, again)


# on disk


def test_another_process_finds_the_images_on_disk(lens, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("DIFFLENS_CACHE", str(tmp_path))
    first = lens(PROMPT, **QUICK, snapshots=[0])
    result_store().clear()  # as in a new process
    second = lens(PROMPT, **QUICK, snapshots=[0])
    assert cached(second) == [1, 4]
    assert same_bytes(first, second)
    loaded = LensRun.load(second.save(tmp_path / "run.lens"))
    assert cached(loaded) == [1, 4]


@pytest.mark.slow
def test_the_second_call_of_the_embedded_model_is_much_faster() -> None:
    """On one busy thread about 140 times, 14 s against 0.1 s; `difflens bench lens` measures it."""
    lens = DiffusionLens.from_pretrained(device="cpu")

    def seconds() -> float:
        began = time.perf_counter()
        lens(PROMPT)
        return time.perf_counter() - began

    first = seconds()
    assert first / min(seconds() for _ in range(5)) >= 60


def test_content_hash_tells_values_apart() -> None:
    values = [1, 1.0, True, "1", None, "", [], (), {}, [1], [[1]], {"a": 1}, {"a": None}, b"1", torch.ones(1)]
    values += [torch.ones(2), torch.ones(1, dtype=torch.float64), torch.zeros(9000), torch.zeros(3, 3000)]
    values += [["ab", "c"], ["a", "bc"], ["a", ["b"]], [["a"], "b"], torch.float32, torch.device("cpu"), dict, len]
    digests = [ContentHash().add(value).hexdigest() for value in values]
    tuples = {id(value) for value in values if isinstance(value, tuple)}
    assert len(set(digests)) >= len(digests) - len(tuples)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 4999), st.integers(0, 4999), st.sampled_from(["negate", "swap", "nudge"]))
def test_content_hash_sees_small_changes_of_large_tensors(i, j, kind) -> None:
    before = torch.randn(5001, generator=torch.Generator().manual_seed(0))
    after = before.clone()
    if kind == "swap":
        after[[i, j]] = after[[j, i]]
    elif kind == "negate":
        after[[i, j]] *= -1
    else:
        after[i] = torch.nextafter(after[i], torch.tensor(9.0))
    equal = torch.equal(before, after)
    assert (ContentHash().add(before).hexdigest() == ContentHash().add(after).hexdigest()) == equal
    strided = torch.stack([before, before], 1)[:, 0]
    assert ContentHash().add(strided).hexdigest() == ContentHash().add(before).hexdigest()


def test_a_cached_run_has_the_hashes_of_its_noise(lens) -> None:
    """Without them, a comparison would take runs from different noise."""
    zeros, ones = ({**QUICK, "latents": torch.full((4, 8, 8), value)} for value in (0.0, 1.0))
    first = [lens(PROMPT, **options) for options in (zeros, ones)]
    again = [lens(PROMPT, **options) for options in (zeros, ones)]
    for before, after in zip(first, again, strict=True):
        assert cached(after)
        for name in ("latents_hash", "generator_hash"):
            assert after.settings[name] == before.settings[name]
    with pytest.raises(ValueError, match="latents_hash"):
        Comparison(*again)


def test_a_family_of_your_own_is_not_cached(own_lens, caplog) -> None:
    """Its declaration may be mended between two runs, and says how latents become pictures."""
    own_lens.family = replace(own_lens.family)
    with caplog.at_level(logging.INFO):
        for _ in range(2):
            run = own_lens(PROMPT, **QUICK)
    assert not cached(run)
    assert "a family of your own" in caplog.text
