"""Drift and alarms, on real lens runs of the embedded model with changed weights, and on numbers known by heart."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from difflens_widgets import DiffusionLens
from difflens_widgets.dreambooth.history.alarms import COLLAPSE_RATIO, DRIFT_RATIO, VARIETY_RATIO
from difflens_widgets.dreambooth.history.events import EpochValidated, ValidationPrompt
from difflens_widgets.dreambooth.history.history import TrainingHistory
from difflens_widgets.dreambooth.history.training_drift import METRICS
from drawn_runs import drawn_run

INSTANCE, CLASS, CONTROL = (
    ValidationPrompt("a photo of xon dog", "instance"),
    ValidationPrompt("a photo of a dog", "class"),
    ValidationPrompt("red circle on blue background", "control"),  # without "a", see `say_xon_for_a`
)
FAST = {"layers": (0, 6, 12), "num_inference_steps": 2, "guidance_scale": 1.0}


def begin(folder, *prompts):
    return TrainingHistory.create(folder / "h", config={}, model="tiny", model_hash="", validation_prompts=prompts)


# -- real runs


@pytest.fixture(scope="module")
def stock():
    return DiffusionLens.from_pretrained(device="cpu")


@pytest.fixture
def lens(stock):
    """A lens whose weights may be spoiled."""
    pipe = stock.pipe
    parts = {name: copy.deepcopy(part) for name, part in pipe.components.items() if name in ("unet", "text_encoder")}
    return DiffusionLens(type(pipe)(**{**pipe.components, **parts}))


def validate(history, epoch, lens):
    """Run the lens on all prompts; returns the alarms that this raises."""
    raised = []
    for number, prompt in enumerate(history.validation_prompts):
        raised += history.record(EpochValidated(epoch, number, lens(prompt.prompt, **FAST)))
    return raised


def embedding(lens, word):
    (index,) = lens.pipe.tokenizer(word, add_special_tokens=False).input_ids
    return lens.pipe.text_encoder.get_input_embeddings().weight.data[index]


def learn_xon(lens):
    """Training as it should be: the rare word means something new, nothing else has changed."""
    embedding(lens, "xon").copy_(embedding(lens, "fish"))


def say_xon_for_a(lens):
    """The class prompt becomes the instance prompt."""
    embedding(lens, "a").copy_(embedding(lens, "xon"))


def forget_prompts(lens, share):
    """Interpolate the denoiser towards one that ignores the prompt."""
    with torch.no_grad():
        lens.pipe.unet.conv_out.weight.mul_(1 - share)
        lens.pipe.unet.conv_out.bias.mul_(1 - share)


def test_an_unchanged_model_has_not_moved(lens, tmp_path):
    history = begin(tmp_path, INSTANCE, CLASS, CONTROL)
    assert validate(history, 0, lens) == []
    assert validate(history, 5, lens) == []
    for prompt in range(3):
        drift = history.training_drift(prompt)
        assert list(drift) == list(METRICS)
        for values in drift.values():
            assert values.shape == (2, 3)
            assert (values == 0).all()


def test_a_subject_that_is_learned_raises_no_alarm(lens, tmp_path):
    history = begin(tmp_path, INSTANCE, CLASS, CONTROL)
    validate(history, 0, lens)
    learn_xon(lens)
    assert validate(history, 5, lens) == []
    for values in history.training_drift(0).values():
        assert (values[1] > 0).all()
    for values in history.training_drift(1).values():
        assert (values == 0).all()


def test_a_class_that_becomes_the_subject_collapses(lens, tmp_path):
    history = begin(tmp_path, INSTANCE, CLASS, CONTROL)
    validate(history, 0, lens)
    learn_xon(lens)
    assert validate(history, 5, lens) == []
    say_xon_for_a(lens)
    (alarm,) = validate(history, 10, lens)
    assert (alarm.kind, alarm.epoch, alarm.layer, alarm.validation_prompt) == (
        "collapse",
        10,
        0,
        1,
    )  # equal prompts: all layers
    assert "“a photo of a dog” becomes “a photo of xon dog” from layer 0 on" in alarm.message
    assert validate(history, 15, lens) == []  # raised once
    assert [(now.kind, now.epoch) for now in history.alarms_at(15)] == [("collapse", 15)]
    assert history.alarms_at(0) == []
    assert TrainingHistory.load(history.folder).alarms == history.alarms == [alarm]
    (history.folder / "alarms.json").unlink()  # killed between the run and the alarm
    resumed = TrainingHistory.load(history.folder)
    resumed.truncate(step=0, epoch=10)
    assert TrainingHistory.load(history.folder).alarms == resumed.alarms == [alarm]
    history.truncate(step=0, epoch=5)
    assert history.alarms == []
    assert validate(history, 10, lens) == [alarm]


def test_a_model_that_forgets_its_prompts(lens, tmp_path):
    history = begin(tmp_path, INSTANCE, CLASS, CONTROL)
    validate(history, 0, lens)
    forget_prompts(lens, 0.01)
    assert validate(history, 5, lens) == []
    small = history.training_drift(2)["latent_rms"][1]
    forget_prompts(lens, 1)
    alarms = validate(history, 10, lens)
    assert {(alarm.kind, alarm.validation_prompt) for alarm in alarms} == {("collapse", 1), ("drift", 2)}
    assert (small > 0).all()
    assert (small < history.training_drift(2)["latent_rms"][2]).all()


def test_class_pictures_that_lose_their_variety(lens, tmp_path):
    history = begin(tmp_path, CLASS, ValidationPrompt("a large cat on a red background", "class"))
    validate(history, 0, lens)
    assert validate(history, 5, lens) == []
    forget_prompts(lens, 1)
    (alarm,) = validate(history, 10, lens)
    assert (alarm.kind, alarm.validation_prompt) == ("collapse", 0)
    assert "become alike" in alarm.message


# -- numbers: the latents of each layer are one number everywhere


def run_of(prompt, values, **fields):
    layers = tuple(range(len(values)))
    latents = {layer: np.full((4, 8, 8), value, np.float32) for layer, value in enumerate(values) if value is not None}
    return drawn_run(prompt.prompt, len(layers), latents=latents, snapshots={}, **fields)


def raised(folder, prompts, *epochs):
    """The alarms of each epoch, as (kind, layer, prompt)."""
    history = begin(folder, *prompts)
    return [
        [
            (alarm.kind, alarm.layer, alarm.validation_prompt)
            for number, values in enumerate(epoch)
            for alarm in history.record(EpochValidated(place, number, run_of(prompts[number], values)))
        ]
        for place, epoch in enumerate(epochs)
    ]


def test_the_thresholds_are_where_they_are_said_to_be(tmp_path):
    assert (COLLAPSE_RATIO, VARIETY_RATIO, DRIFT_RATIO) == (0.5, 0.5, 0.55)
    start = ([0.0], [0.0], [10.0])
    just, over = ([9.0], [5.9], [15.4]), ([9.0], [6.1], [15.6])  # of 9, two thirds are 6
    assert raised(tmp_path, (INSTANCE, CLASS, CONTROL), start, just, over) == [
        [],
        [],
        [("collapse", 0, 1), ("drift", 0, 2)],
    ]


def test_an_alarm_names_the_layer_from_which_on_it_holds(tmp_path):
    start = ([0.0] * 5, [0.0] * 5, [10.0] * 5)
    late = ([10.0] * 5, [9.0, 0.0, 0.0, 9.0, 9.0], [10.0] * 4 + [16.0])
    assert raised(tmp_path, (INSTANCE, CLASS, CONTROL), start, late) == [[], [("collapse", 3, 1), ("drift", 4, 2)]]


def test_a_class_that_varies_no_more_from_noise_to_noise(tmp_path):
    again = ValidationPrompt(CLASS.prompt, "class", seed_offset=1)
    start, own = ([0.0], [1.0], [11.0]), ([0.0], [1.0], [6.1])
    assert raised(tmp_path, (INSTANCE, CLASS, again), start, own) == [[], []]
    alike = ([0.0], [1.0], [5.9])
    assert raised(tmp_path / "alike", (INSTANCE, CLASS, again), start, alike) == [[], [("collapse", 0, 1)]]


def test_pictures_from_different_noise_are_not_compared(tmp_path):
    again = ValidationPrompt(CLASS.prompt, "class", seed_offset=1)
    start, like_the_subject = ([0.0], [0.0], [20.0]), ([9.0], [-10.0], [9.0])
    assert raised(tmp_path, (INSTANCE, CLASS, again), start, like_the_subject) == [[], []]
    start, moved = ([0.0], [10.0], [1000.0]), ([0.0], [16.0], [1000.0])  # by 0.6 of the way to the subject's
    assert raised(tmp_path / "drift", (INSTANCE, CONTROL, again), start, moved) == [[], [("drift", 0, 1)]]


def test_what_is_right_at_the_last_layer_raises_no_alarm(tmp_path):
    start = ([0.0] * 3, [0.0] * 3, [10.0] * 3)
    early = ([10.0] * 3, [9.0, 9.0, 1.0], [20.0, 20.0, 11.0])
    assert raised(tmp_path, (INSTANCE, CLASS, CONTROL), start, early) == [[], []]


def test_a_class_that_moves_its_own_way_is_well(tmp_path):
    start = ([0.0], [0.0], [10.0])
    away = ([10.0], [-6.0], [10.0])
    assert raised(tmp_path, (INSTANCE, CLASS, CONTROL), start, away) == [[], []]


def test_a_class_that_hardly_moved_has_not_collapsed(tmp_path):
    history = begin(tmp_path, INSTANCE, CLASS)
    pattern = np.tile(np.float32([-1, 1]), 128).reshape(4, 8, 8)  # of spread 1: unrelated ones are √2 away
    raised = []
    for epoch, (subject, own) in {0: (0, 0), 5: (0.16, 0.14), 10: (0.16, 0.142)}.items():
        for number, shift in enumerate((subject, own)):
            run = drawn_run(
                history.validation_prompts[number].prompt, 1, latents={0: pattern + np.float32(shift)}, snapshots={}
            )
            raised.append([alarm.kind for alarm in history.record(EpochValidated(epoch, number, run))])
    assert raised == [[], [], [], [], [], ["collapse"]]


def test_layers_without_a_picture_are_not_judged(tmp_path):
    start = ([0.0] * 3, [0.0] * 3, [10.0] * 3)
    holes = ([9.0] * 3, [9.0, None, 9.0], [20.0, 20.0, None])
    assert raised(tmp_path, (INSTANCE, CLASS, CONTROL), start, holes) == [[], [("collapse", 2, 1)]]


def test_without_epoch_0_there_is_nothing_to_compare_with(tmp_path):
    history = begin(tmp_path, INSTANCE)
    assert history.record(EpochValidated(5, 0, run_of(INSTANCE, [1.0]))) == []
    with pytest.raises(ValueError, match=r"there is no run of .* at epoch 0"):
        history.training_drift()


def test_drift_leaves_holes_where_there_is_no_run(tmp_path):
    history = begin(tmp_path, INSTANCE, CLASS)
    history.record(EpochValidated(0, 0, run_of(INSTANCE, [1.0, None])))
    history.record(EpochValidated(0, 1, run_of(CLASS, [1.0, 2.0])))
    history.record(EpochValidated(5, 1, run_of(CLASS, [1.5, 2.0], states=None)))
    drift = history.training_drift(1)
    assert drift["latent_rms"].tolist() == [[0, 0], [0.5, 0]]
    assert np.isnan(drift["cosine_distance"][1]).all()
    assert np.isnan(history.training_drift(0)["ssim_distance"][1]).all()
    assert np.isnan(history.training_drift(0)["latent_rms"][:, 1]).all()
