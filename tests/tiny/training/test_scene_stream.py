"""The window of scenes moves on with the steps, and a resumed training sees the same scenes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from difflens_widgets.models.loading import WEIGHTS, load_pipeline
from difflens_widgets.tiny.clip import SmallClip
from difflens_widgets.tiny.scenes import HELD_OUT, Scene
from difflens_widgets.tiny.training import loop
from difflens_widgets.tiny.training.dataset import balanced_scene
from difflens_widgets.tiny.training.layout import layout_maps
from difflens_widgets.tiny.training.loop import StageConfig, fit
from difflens_widgets.tiny.training.scene_stream import SceneStream
from difflens_widgets.tiny.training.unet import build_unet, encode_captions, scene_encoder, train_unet

CPU = torch.device("cpu")


class Encoder:
    """Numbers in place of latents and states: the index of the scene."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, indices: Sequence[int]) -> tuple[list[Scene], Tensor, Tensor]:
        self.calls += indices
        numbers = torch.tensor([float(index) for index in indices])
        return [balanced_scene(0, index) for index in indices], numbers.view(-1, 1, 1, 1), numbers.view(-1, 1, 1)


def scenes_of(stream: SceneStream) -> list[int]:
    return sorted(int(value) for value in stream.latents.flatten())


def test_the_oldest_scenes_make_room_for_new_ones() -> None:
    encoder = Encoder()
    stream = SceneStream(encoder, CPU, block=4, window=3, steps_per_block=10)
    stream.advance(0)
    assert scenes_of(stream) == [*range(12)]
    stream.advance(9)
    assert len(encoder.calls) == 12, "nothing is drawn in between"
    stream.advance(10)
    assert scenes_of(stream) == [*range(4, 16)]
    stream.advance(35)
    assert scenes_of(stream) == [*range(12, 24)]
    assert max(Counter(encoder.calls).values()) == 1, "each scene is drawn once"


def test_scenes_keep_their_latents_states_and_maps_together() -> None:
    stream = SceneStream(Encoder(), CPU, block=4, window=2, steps_per_block=1)
    for step in range(4):
        stream.advance(step)
    assert torch.equal(stream.latents.flatten(), stream.states.flatten())
    maps = layout_maps([balanced_scene(0, int(index)) for index in stream.states.flatten()])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(stream.maps, maps, strict=True))
    assert len(stream) == 8


def test_a_window_that_is_entered_later_is_the_same() -> None:
    moved, entered = (SceneStream(Encoder(), CPU, block=4, window=3, steps_per_block=2) for _ in range(2))
    for step in range(9):
        moved.advance(step)
    entered.advance(8)
    assert torch.equal(moved.latents, entered.latents), "in the same order"


@pytest.fixture(scope="module")
def encode():

    clip = SmallClip.load(WEIGHTS)
    vae = load_pipeline(WEIGHTS, CPU, torch.float32)[0].vae
    return scene_encoder(clip.tokenizer, clip.text, vae, 5, CPU), encode_captions([""], clip.tokenizer, clip.text, CPU)


def test_scenes_are_encoded_as_the_pipeline_wants_them(encode) -> None:
    scenes, latents, states = encode[0](range(3))
    assert scenes == [balanced_scene(5, index) for index in range(3)]
    assert latents.shape == (3, 4, 16, 16)
    assert states.shape == (3, 77, 192)
    assert latents.dtype == states.dtype == torch.float16


def test_a_longer_training_goes_on_with_the_same_scenes_and_curve(encode, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(loop, "_computes_in_bfloat16", lambda device: False)

    def train(folder: str, steps: int) -> Tensor:
        stream = SceneStream(encode[0], CPU, block=4, window=2, steps_per_block=2)
        config = StageConfig(steps=steps, batch=4, learning_rate=1e-3, warmup=0, decay=0)
        torch.manual_seed(0)
        return train_unet(stream, encode[1], config, tmp_path / folder, CPU, build_unet()).conv_in.weight

    whole, shorter = train("whole", 5), train("resumed", 3)
    assert not torch.equal(shorter, whole)
    assert torch.equal(train("resumed", 5), whole)


def test_a_constant_rate_falls_at_the_end_only(tmp_path) -> None:
    config = StageConfig(steps=10, batch=1, learning_rate=1.0, warmup=2, decay=4)
    rates = [loop._schedule(step, config) for step in range(10)]
    assert rates == [0.5, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    longer = [loop._schedule(step, replace(config, steps=20)) for step in range(10)]
    assert longer[:6] == rates[:6], "more steps can be added later"
    model = torch.nn.Linear(1, 1)
    fit(model, lambda step, generator: model(torch.ones(1, 1)).square().sum(), config, tmp_path, "any")


def test_balanced_scenes_have_more_of_what_is_rare_and_nothing_held_out() -> None:
    scenes = [balanced_scene(0, index) for index in range(2_000)]
    share = Counter(scene.items[0].material for scene in scenes)
    assert min(share[name] for name in ("striped", "dotted", "metallic")) > 0.03 * len(scenes)
    assert sum(scene.relation == "inside" for scene in scenes) > 0.06 * len(scenes)
    assert not HELD_OUT & {(item.color, item.kind) for scene in scenes for item in scene.items}
