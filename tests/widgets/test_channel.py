"""The channel with a clock and a sender of the test's own: nothing here waits."""

from __future__ import annotations

import io
import itertools

import pytest
from PIL import Image

from difflens_widgets.widgets.channel import MAX_IN_FLIGHT, OPEN_LOOP_INTERVAL, PATIENCE, Channel


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sent():
    return []


@pytest.fixture
def channel(clock, sent):
    return Channel(lambda content, buffers: sent.append((content, buffers)), clock)


def picture(value=0, size=16):
    return Image.new("RGB", (size, size), (value, value, value))


def keys(sent):
    return [content["key"] for content, _ in sent]


def colour(message):
    return Image.open(io.BytesIO(message[1][0])).convert("RGB").getpixel((3, 3))[0]


def test_a_frame_is_one_binary_buffer_with_its_facts(channel, sent):
    channel.preview("layer/7", picture(), 12)
    assert channel.flush() is None
    [(content, buffers)] = sent
    expected = {"type": "frame", "n": 1, "run": 0, "key": "layer/7", "step": 12, "final": False, "mime": "image/jpeg"}
    assert content == expected
    assert len(buffers) == 1
    assert buffers[0][:2] == b"\xff\xd8"


def test_at_most_two_are_in_flight_and_the_newest_of_a_key_wins(channel, sent):
    for step, value in enumerate((10, 60, 110, 160, 210)):
        channel.preview("layer/0", picture(value), step)
        channel.flush()
    assert [content["step"] for content, _ in sent] == [0, 1]
    assert channel.in_flight == MAX_IN_FLIGHT
    channel.acknowledge(1)
    assert channel.flush() is None
    assert [content["step"] for content, _ in sent] == [0, 1, 4]
    assert abs(colour(sent[-1]) - 210) <= 2


def test_one_number_acknowledges_all_before_it(channel, sent):
    for key in "abcd":
        channel.preview(key, picture(), 1)
    channel.flush()
    channel.acknowledge(2)
    channel.flush()
    assert keys(sent) == ["a", "b", "c", "d"]
    channel.acknowledge(1)  # late word of an earlier one changes nothing
    assert channel.in_flight == 2


def test_an_acknowledgement_of_what_was_never_sent_is_ignored(channel, sent):
    channel.acknowledge(5)
    for key in "abc":
        channel.preview(key, picture(), 1)
    channel.flush()
    assert len(sent) == MAX_IN_FLIGHT


def test_a_lost_acknowledgement_slows_to_four_frames_a_second_and_never_stalls(channel, sent, clock):
    start = clock.now
    arrivals = []
    for tick in range(1000):  # ten seconds in which nobody answers
        clock.now = start + tick * 0.01
        channel.preview("layer/0", picture(), tick)
        channel.flush()
        arrivals += [clock.now - start] * (len(sent) - len(arrivals))
    assert arrivals[:2] == [0, pytest.approx(0.01)]
    assert arrivals[2] == pytest.approx(PATIENCE, abs=0.02)
    open_loop = arrivals[2:]
    gaps = [later - earlier for earlier, later in itertools.pairwise(open_loop)]
    assert min(gaps) >= OPEN_LOOP_INTERVAL - 1e-6
    assert max(gaps) <= OPEN_LOOP_INTERVAL + 0.02
    assert 4 * 8.5 <= len(open_loop) <= 4 * 9.5


def test_the_loop_closes_again_with_the_next_acknowledgement(channel, sent, clock):
    for key in "abc":
        channel.preview(key, picture(), 1)
    channel.flush()
    clock.now += PATIENCE
    channel.flush()
    assert len(sent) == 3
    channel.acknowledge(3)
    for key in "defg":
        channel.preview(key, picture(), 1)
    assert channel.flush() == pytest.approx(PATIENCE)
    assert keys(sent) == ["a", "b", "c", "d", "e"]


def test_flush_says_when_to_come_again(channel, clock):
    for key in "abcd":
        channel.preview(key, picture(), 1)
    assert channel.flush() == pytest.approx(PATIENCE)
    clock.now += 0.4
    assert channel.flush() == pytest.approx(PATIENCE - 0.4)
    clock.now += 0.6
    assert channel.flush() == pytest.approx(OPEN_LOOP_INTERVAL)
    clock.now += OPEN_LOOP_INTERVAL
    assert channel.flush() is None


def test_the_pause_before_a_frame_does_not_count_as_silence(channel, sent, clock):
    channel.preview("a", picture(), 1)
    channel.flush()
    channel.acknowledge(1)
    clock.now += 60  # a slow model
    for key in "bcd":
        channel.preview(key, picture(), 1)
    channel.flush()
    assert len(sent) == 3  # two in flight, not the open loop


def test_every_finished_picture_is_sent_and_no_preview_replaces_it(channel, sent, clock):
    entries = {}
    for layer in range(13):
        key = f"layer/{layer}"
        channel.preview(key, picture(), 18)
        entries[key] = channel.final(key, picture(layer * 15), 20)
        channel.preview(key, picture(255), 19)  # late
    while channel.flush() is not None:
        clock.now += OPEN_LOOP_INTERVAL
    assert sorted(keys(sent)) == sorted(entries)
    for content, buffers in sent:
        assert content["final"]
        assert content["step"] == 20
        assert buffers[0] == entries[content["key"]]["data"]


def test_what_is_on_screen_goes_first_then_finished_ones(channel, sent, clock):
    for key in "abcd":
        channel.preview(key, picture(), 1)
    channel.final("e", picture(), 20)
    channel.first = "c"
    while channel.flush() is not None:
        clock.now += PATIENCE
    assert keys(sent) == ["c", "e", "a", "b", "d"]


def test_restart_drops_what_waits_and_marks_what_follows(channel, sent):
    for key in "abc":
        channel.preview(key, picture(), 1)
    channel.flush()
    channel.restart(2)
    channel.acknowledge(2)
    channel.final("z", picture(), 20)
    channel.flush()
    assert keys(sent) == ["a", "b", "z"]
    assert sent[-1][0]["run"] == 2


@pytest.mark.parametrize(("size", "exact"), [(64, True), (255, True), (256, False)])
def test_small_finished_pictures_keep_every_pixel(channel, size, exact):
    noise = Image.effect_noise((size, size), 80).convert("RGB")
    entry = channel.final("a", noise, 20)
    assert entry["mime"] == "image/webp"
    back = Image.open(io.BytesIO(entry["data"])).convert("RGB")
    assert (back.tobytes() == noise.tobytes()) is exact


def test_previews_dropped_are_not_even_encoded(channel, sent):
    class Costly:
        size = (8, 8)

        def convert(self, mode):
            raise AssertionError("encoded")

    for key in "ab":
        channel.preview(key, picture(), 1)
    channel.flush()
    channel.preview("c", Costly(), 1)
    channel.preview("c", picture(), 2)
    channel.acknowledge(2)
    channel.flush()
    assert keys(sent) == ["a", "b", "c"]
