from __future__ import annotations

import logging
import threading
import time

import pytest

from difflens_widgets.widgets._pump import Pump


@pytest.fixture
def make():
    pumps = []

    def build(tick=lambda: None):
        pumps.append(Pump(tick))
        return pumps[-1]

    yield build
    for pump in pumps:
        pump.close()


def wait_until(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_tasks_run_in_order_in_one_other_thread(make):
    pump, seen = make(), []
    for number in range(50):
        pump.post(lambda number=number: seen.append((number, threading.current_thread())))
    assert pump.drain(5)
    assert [number for number, _ in seen] == list(range(50))
    threads = {thread for _, thread in seen}
    assert len(threads) == 1
    assert threading.current_thread() not in threads


def test_tick_is_called_when_it_asked_to_be(make):
    calls = []

    def tick():
        calls.append(time.monotonic())
        return 0.05 if len(calls) < 4 else None

    make(tick).wake()
    wait_until(lambda: len(calls) == 4)
    assert calls[-1] - calls[0] >= 0.14


def test_a_task_that_fails_is_logged_and_the_next_runs(make, caplog):
    pump, seen = make(), []

    def fail():
        raise ValueError("an observer of the user's")

    with caplog.at_level(logging.ERROR):
        pump.post(fail)
        pump.post(lambda: seen.append(1))
        assert pump.drain(5)
    assert seen == [1]
    assert "an observer of the user's" in caplog.text


def test_drain_gives_up_in_time_and_never_waits_for_itself(make):
    pump, hold, seen = make(), threading.Event(), []
    pump.post(lambda: seen.append(pump.drain(5)))
    pump.post(hold.wait)
    assert not pump.drain(0.05)
    hold.set()
    assert pump.drain(5)
    assert seen == [False]


def test_close_ends_the_thread_and_takes_nothing_more(make):
    pump, seen = make(), []
    pump.post(lambda: None)
    assert pump.drain(5)
    assert pump.running
    pump.close()
    wait_until(lambda: not pump.running)
    pump.post(lambda: seen.append(1))
    pump.wake()
    assert not pump.running
    assert seen == []


def test_at_rest_there_is_no_thread(make, monkeypatch):
    monkeypatch.setattr("difflens_widgets.widgets._pump._LINGER", 0.05)
    pump = make()
    pump.post(lambda: None)
    wait_until(lambda: not pump.running)
    seen = []
    pump.post(lambda: seen.append(1))
    wait_until(lambda: seen == [1])
