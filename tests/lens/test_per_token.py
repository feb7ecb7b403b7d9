"""The per-token lens: only some places of the prompt are kept, the others are clean padding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler

from difflens_widgets import DiffusionLens, LayerSlider, LensRun, PromptPart
from difflens_widgets.lens.edits import KeepTokens, Layer
from difflens_widgets.runs.events import Event, LayerImage, Progress, Snapshot, TokenFailed, TokenImage
from drawn_runs import assert_same
from edited_layers import conditioning, spoil_layer
from pipelines import small_pipeline

PROMPT = "a red circle and a red foxes"  # "red" twice, "foxes" in several pieces
FOXES = 7
QUICK = {"num_inference_steps": 2, "guidance_scale": 3.0}
LONG = "red " * 74 + "circle"  # 75 words: with start and end every place is taken


@pytest.fixture(scope="module")
def lens() -> DiffusionLens:
    return DiffusionLens(small_pipeline(DDIMScheduler), batch_size=3, batch_invariant=True)


@pytest.fixture(scope="module")
def run(lens: DiffusionLens) -> LensRun:
    return lens(PROMPT, keep_tokens=["red", "foxes", 3, *PromptPart], **QUICK)


@pytest.fixture
def fresh_lens() -> DiffusionLens:
    """One that a test may break."""
    return DiffusionLens(small_pipeline(DDIMScheduler), batch_size=3, batch_invariant=True)


def same(a: object, b: object) -> bool:
    return a.tobytes() == b.tobytes()


# what is kept


def test_words_indices_and_parts_become_places(run) -> None:
    pieces = tuple(token.index for token in run.tokens if token.kind == "word" and token.index >= FOXES)
    assert len(pieces) > 1
    end = pieces[-1] + 1
    assert list(run.token_masks.items()) == [
        (2, (2,)),
        (6, (6,)),
        (FOXES, pieces),
        (3, (3,)),
        (PromptPart.PADDING, tuple(range(end + 1, 77))),
        (PromptPart.PROMPT, tuple(range(1, end + 1))),
    ]
    assert set(run.token_images) == {(layer, token) for layer in range(5) for token in run.token_masks}


@pytest.mark.parametrize(
    ("prompt", "tokens", "kept"),
    [
        (PROMPT, 3, [3]),
        (PROMPT, np.int64(3), [3]),
        (PROMPT, "circle", [3]),
        (PROMPT, "Circle", [3]),  # the tokenizer reads capitals so
        (PROMPT, "red circle", [2]),
        (PROMPT, PromptPart.PROMPT, [PromptPart.PROMPT]),
        (PROMPT, (3, "and"), [3, 4]),
        (PROMPT, "all", [1, 2, 3, 4, 5, 6, 7]),
        (PROMPT, iter(["and", 3]), [4, 3]),
        ("all red dogs", ["all"], [1]),
        ("red all", "all", [1, 2]),
    ],
    ids=str,
)
def test_ways_to_ask(lens, prompt, tokens, kept) -> None:
    job = lens._jobs(prompt, keep_tokens=tokens)[0]
    assert list(job.run.token_masks) == kept


def test_several_words_are_kept_together(lens) -> None:
    assert lens._jobs(PROMPT, keep_tokens="red circle")[0].run.token_masks == {2: (2, 3)}


def test_each_prompt_of_a_list_has_its_own_places(lens) -> None:
    first, second = lens._jobs(["a red dog", "red"], keep_tokens=iter(["red"]))
    assert (first.run.token_masks, second.run.token_masks) == ({2: (2,)}, {1: (1,)})


def test_the_denoiser_gets_the_kept_states_and_clean_padding(lens) -> None:
    given = []
    hook = lens.pipe.unet.register_forward_pre_hook(
        lambda _, args, kwargs: given.append(kwargs["encoder_hidden_states"]), with_kwargs=True
    )
    try:
        lens(PROMPT, layers=[1, 4], keep_tokens=["circle"], **QUICK)
    finally:
        hook.remove()
    full, clean = (lens.encode(text).normed_states for text in (PROMPT, ""))
    whole_4, whole_1, _ = given[0].chunk(2)[1]  # the batch of three; the other half is the negative prompt
    circle_4, circle_1, _ = given[-1].chunk(2)[1]
    assert torch.equal(whole_4, full[4])
    assert torch.equal(whole_1, full[1])
    for row, layer in ((circle_4, 4), (circle_1, 1)):
        for place in range(77):
            expected = full if place in (0, 3) else clean
            assert torch.equal(row[place], expected[layer, place]), (layer, place)


# exact rules


def test_keeping_everything_is_the_full_lens_to_the_byte(lens) -> None:
    whole = lens(LONG, keep_tokens=PromptPart.PROMPT, **QUICK)
    assert len(whole.token_masks[PromptPart.PROMPT]) == 76
    for layer in lens.layers:
        assert same(whole.token_images[layer, PromptPart.PROMPT], whole.images[layer])
    layers = [Layer(lens.text_encoder, layer) for layer in lens.layers]
    kept = [KeepTokens(lens.text_encoder, edit, frozenset(range(77)), whole=False) for edit in layers]
    assert torch.equal(conditioning(lens, PROMPT, kept)[0], conditioning(lens, PROMPT, layers)[0])


def test_the_start_token_alone_is_the_empty_prompt(lens) -> None:
    alone = lens(PROMPT, keep_tokens=0, **QUICK)
    empty = lens("", **QUICK)
    assert all(same(alone.token_images[layer, 0], empty.images[layer]) for layer in lens.layers)


def test_a_token_differs_from_the_full_lens_and_from_others(run) -> None:
    pictures = [run.images[4].tobytes(), *(run.token_images[4, token].tobytes() for token in run.token_masks)]
    assert len(set(pictures)) == len(pictures)


def test_a_token_does_not_depend_on_the_others(lens, run) -> None:
    alone = lens(PROMPT, layers=[2], keep_tokens="foxes", **QUICK)
    assert same(alone.token_images[2, FOXES], run.token_images[2, FOXES])
    assert same(alone.images[2], run.images[2])
    backwards = lens(PROMPT, keep_tokens=[*reversed(PromptPart), 3, "foxes", "red"], **QUICK)
    assert all(same(image, run.token_images[key]) for key, image in backwards.token_images.items())


def test_the_whole_prompt_is_painted_as_without_tokens(lens, run) -> None:
    plain = lens(PROMPT, **QUICK)
    assert not plain.token_masks
    assert not plain.token_images
    assert all(same(plain.images[layer], run.images[layer]) for layer in lens.layers)
    assert list(run.latents) == list(plain.latents)


# a job that is alive


def test_events_tell_of_tokens_after_the_layers(lens) -> None:
    job = lens._jobs(PROMPT, layers=[0, 4], keep_tokens=["circle", PromptPart.PADDING], snapshots=[0], **QUICK)[0]
    events: list[Event] = []
    job.subscribe(events.append)
    job.wait()
    painted = [event for event in events if isinstance(event, (LayerImage, TokenImage))]
    assert [type(event) for event in painted] == [LayerImage] * 2 + [TokenImage] * 4
    progress = [event for event in events if isinstance(event, Progress)]
    assert (progress[-1].layers_total, progress[-1].tokens_total) == (2, 4)
    assert [event.complete for event in progress].count(True) <= 1
    among = {row for event in progress for row in event.running_tokens}
    assert among == {(layer, token) for layer in (0, 4) for token in job.run.token_masks}
    snapshots = {(event.layer, event.step): event.image for event in events if isinstance(event, Snapshot)}
    assert snapshots == job.run.snapshots
    assert sorted(snapshots) == [(0, 0), (4, 0)]
    late: list[Event] = []
    job.subscribe(late.append)
    assert [event for event in late if isinstance(event, Snapshot)] == [e for e in events if isinstance(e, Snapshot)]
    assert [event for event in late if isinstance(event, TokenImage)] == painted[2:]


def test_cancelled_among_the_tokens_is_stopped_and_keeps_the_layers(fresh_lens) -> None:
    job = fresh_lens._jobs(PROMPT, layers=[0, 3, 4], keep_tokens="all", **QUICK)[0]
    job.subscribe(lambda event: job.cancel() if isinstance(event, LayerImage) else None, previews=False)
    assert job.wait().status == "stopped"
    assert sorted(job.run.images) == [0, 3, 4]
    assert not job.run.token_images


def test_a_token_that_is_not_finite_is_named_and_the_others_go_on(fresh_lens, monkeypatch) -> None:
    spoil_layer(monkeypatch, 3, "empty")  # the padding behind "circle"
    job = fresh_lens._jobs(PROMPT, keep_tokens=["circle"], negative_prompt="star", **QUICK)[0]
    events: list[Event] = []
    job.subscribe(events.append)
    run = job.wait()
    assert (run.status, len(run.images), len(run.token_images), run.failures) == ("done", 5, 4, {})
    assert "layer 3 with token 3 kept: the picture is not finite" in run.token_failures[3, 3]
    assert [(event.layer, event.token) for event in events if isinstance(event, TokenFailed)] == [(3, 3)]


def test_the_layer_slider_shows_the_whole_prompt_and_each_token(lens, run, tmp_path: Path) -> None:
    numbers = {PromptPart.PADDING: -1, PromptPart.PROMPT: -2}
    cells = {f"layer/{layer}/token/{numbers.get(token, token)}" for layer, token in run.token_images}
    for shown in (run, LensRun.load(run.save(tmp_path / "a.lens"))):
        slider = LayerSlider(shown)
        assert set(slider._frames) == {f"layer/{layer}" for layer in range(5)} | cells
        assert slider.status == "done"
        slider.close()
    job = lens.start(PROMPT, layers=[0, 4], keep_tokens=["circle"], **QUICK)
    slider = LayerSlider(job)
    job.result(60)
    assert slider._task_thread.flush(30)
    (token,) = job.run.token_masks
    assert set(slider._frames) == {f"layer/{k}{part}" for k in (0, 4) for part in ("", f"/token/{token}")}
    assert slider.status == "done"
    slider.close()


def test_a_run_with_tokens_is_saved_and_loaded(run, tmp_path: Path) -> None:
    assert_same(LensRun.load(run.save(tmp_path / "a.lens")), run)


# bad input


@pytest.mark.parametrize(
    ("prompt", "tokens", "error", "message"),
    [
        (
            "a red dog",
            5,
            ValueError,
            r"keep_tokens: 5 is beyond this prompt, whose tokens are 0\.\.4; PromptPart.PADDING is",
        ),
        ("a red dog", 77, ValueError, r"keep_tokens: 77 is beyond this prompt, whose tokens are 0\.\.4$"),
        ("a red dog", -1, ValueError, "keep_tokens: -1 is beyond"),
        ("a red dog", "cat", ValueError, "keep_tokens: 'cat' is not in the prompt; its words are: 'a', 'red', 'dog'"),
        ("a red dog", ["red", "dog red"], ValueError, "keep_tokens: 'dog red' is not in the prompt"),
        ("a red dog", ["all"], ValueError, "keep_tokens: 'all' is not in the prompt"),
        ("", "dog", ValueError, "keep_tokens: 'dog' is not in the prompt; its words are: none"),
        ("", "all", ValueError, 'tokens: "all" is each word of the prompt in turn, and it has no words'),
        ("a red dog", " ", ValueError, "keep_tokens: ' ' has no word in it"),
        ("a red dog", [], ValueError, "keep_tokens: empty"),
        (
            "a red dog",
            [2, "red"],
            ValueError,
            r"position 2 \('red'\) is asked for twice, by 2 and by 'red'",
        ),
        ("a red dog", [PromptPart.PADDING] * 2, ValueError, "keep_tokens: PromptPart.PADDING is asked for twice"),
        ("a red dog", 1.5, TypeError, "keep_tokens: expected a word, an index or a PromptPart, got 1.5"),
        ("a red dog", [["red"]], TypeError, r"keep_tokens: expected a word, an index or a PromptPart, got \['red'\]"),
        ("red " * 75 + "star", "star", ValueError, "keep_tokens: 'star' is cut off: .* up to 'red' only"),
        ("red " * 74 + "foxes", "foxes", ValueError, "keep_tokens: 'foxes' is cut off"),
        ("red " * 75 + "star", "red star", ValueError, "keep_tokens: 'red star' is cut off"),
        (LONG, PromptPart.PADDING, ValueError, "this prompt fills all 77 positions"),
        (["a dog", "a cat"], "dog", ValueError, "keep_tokens: 'dog' is not in the prompt"),
    ],
    ids=str,
)
def test_what_the_prompt_has_not_is_refused_before_anything_is_computed(lens, prompt, tokens, error, message) -> None:
    hook = lens.pipe.text_encoder.register_forward_pre_hook(lambda *_: pytest.fail("the encoder was run"))
    try:
        with pytest.raises(error, match=message):
            lens(prompt, keep_tokens=tokens)
    finally:
        hook.remove()
