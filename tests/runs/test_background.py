"""BackgroundJob: what its listeners may do to it."""

from __future__ import annotations

import logging

from browser import scripted
from difflens_widgets.runs.events import LayerImage
from difflens_widgets.runs.job import LensJob


def paint(job: LensJob) -> None:
    for layer in job.run.layers:
        job.emit(LayerImage(layer, scripted.picture(layer)))


def test_a_listener_that_unsubscribes_itself_and_raises_is_dropped_and_the_run_goes_on(caplog) -> None:
    job = LensJob(scripted.empty_run(layers=range(4)), paint)
    heard, others = [], []

    def listener(event) -> None:
        heard.append(event)
        unsubscribe()
        raise ValueError("of the user's")

    unsubscribe = job.subscribe(listener)
    job.subscribe(others.append)
    with caplog.at_level(logging.ERROR):
        run = job.start().result(10)
    assert run.status == "done"
    assert sorted(run.images) == [0, 1, 2, 3]
    assert len(heard) == 1
    assert [type(event).__name__ for event in others] == ["LayerImage"] * 4 + ["Done"]
    assert "of the user's" in caplog.text
    unsubscribe()  # twice does no harm


def test_a_listener_that_raises_each_time_is_asked_once(caplog) -> None:
    job = LensJob(scripted.empty_run(layers=range(4)), paint)
    heard = []

    def listener(event) -> None:
        heard.append(event)
        raise ValueError("of the user's")

    job.subscribe(listener)
    assert job.start().result(10).status == "done"
    assert len(heard) == 1
