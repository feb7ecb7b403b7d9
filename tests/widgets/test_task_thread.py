"""TaskThread: order, timing, failures, and when its thread exists."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from difflens_widgets.widgets._task_thread import TaskThread


@pytest.fixture
def make():
    threads_made = []

    def build(tick=lambda: None):
        threads_made.append(TaskThread(tick))
        return threads_made[-1]

    yield build
    for thread in threads_made:
        thread.close()


def wait_until(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_tasks_run_in_order_in_one_other_thread(make):
    thread, seen = make(), []
    for number in range(50):
        thread.post(lambda number=number: seen.append((number, threading.current_thread())))
    assert thread.flush(5)
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
    thread, seen = make(), []

    def fail():
        raise ValueError("an observer of the user's")

    with caplog.at_level(logging.ERROR):
        thread.post(fail)
        thread.post(lambda: seen.append(1))
        assert thread.flush(5)
    assert seen == [1]
    assert "an observer of the user's" in caplog.text


def test_flush_gives_up_in_time_and_never_waits_for_itself(make):
    thread, hold, seen = make(), threading.Event(), []
    thread.post(lambda: seen.append(thread.flush(5)))
    thread.post(hold.wait)
    assert not thread.flush(0.05)
    hold.set()
    assert thread.flush(5)
    assert seen == [False]


def test_close_ends_the_thread_and_takes_nothing_more(make):
    thread, seen = make(), []
    thread.post(lambda: None)
    assert thread.flush(5)
    assert thread.running
    thread.close()
    wait_until(lambda: not thread.running)
    thread.post(lambda: seen.append(1))
    thread.wake()
    assert not thread.running
    assert seen == []


def test_at_rest_there_is_no_thread(make, monkeypatch):
    monkeypatch.setattr("difflens_widgets.widgets._task_thread._LINGER", 0.05)
    thread = make()
    thread.post(lambda: None)
    wait_until(lambda: not thread.running)
    seen = []
    thread.post(lambda: seen.append(1))
    wait_until(lambda: seen == [1])
