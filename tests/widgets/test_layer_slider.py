"""LayerSlider at the message line: real runs and jobs, what it sends recorded, what a browser sends made by hand."""

from __future__ import annotations

import base64
import io
import sys
import threading
import time
import types

import pytest
import traitlets
from PIL import Image, ImageChops, ImageStat

from browser import scripted
from difflens_widgets.runs.events import LayerImage, Message, Preview, Progress, Snapshot, TokenFailed, TokenImage
from difflens_widgets.runs.job import LensJob
from difflens_widgets.runs.render.front_end import on_screen
from difflens_widgets.runs.render.page.run_views import slider_view
from difflens_widgets.runs.run import LensRun
from difflens_widgets.runs.tokens import PromptPart
from difflens_widgets.runs.variant import Variant
from difflens_widgets.widgets import LayerSlider, _base


class Recorded(LayerSlider):
    """A LayerSlider whose messages to the browser are kept."""

    def __init__(self, *args):
        self.messages = []
        super().__init__(*args)

    def _send(self, msg, buffers=None):
        self.messages.append((msg, buffers or []))

    def custom(self, kind):
        found = [(m["content"], b) for m, b in self.messages if m["method"] == "custom"]
        return [(content, buffers) for content, buffers in found if content["type"] == kind]

    def from_browser(self, **content):
        self._handle_custom_msg(content, [])

    def settle(self):
        assert self._task_thread.flush(5)


class Stage:
    """A job whose work waits for the test: `play` does one thing in the worker thread."""

    def __init__(self, run=None):
        self.run = run or scripted.empty_run()
        self._tasks, self._changed = [], threading.Condition()
        self.job = LensJob(self.run, self._work).start()

    def _work(self, job):
        while True:
            with self._changed:
                while not self._tasks and not job.cancelled():
                    self._changed.wait(0.01)
                if not self._tasks:
                    return
                task, done = self._tasks.pop(0)
            try:
                if task is None:
                    return
                task(job)
            finally:
                done.set()

    def play(self, task):
        done = threading.Event()
        with self._changed:
            self._tasks.append((task, done))
            self._changed.notify_all()
        assert done.wait(5)

    def emit(self, *events):
        self.play(lambda job: [job.emit(event) for event in events])

    def finish(self):
        self.play(None)
        return self.job.result(5)


@pytest.fixture
def show():
    widgets = []

    def build(*args):
        widgets.append(Recorded(*args))
        return widgets[-1]

    yield build
    for widget in widgets:
        widget.close()


@pytest.fixture
def stage():
    stage = Stage()
    yield stage
    stage.job.cancel()


def wait_until(condition, seconds=5.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


# -- a record


def test_a_finished_run_is_complete_in_the_state_that_opens_the_widget(show):
    run = scripted.finished_run("a dog")
    widget = show(run)
    assert (widget.status, widget.prompt, widget.layers, widget.num_layers) == ("done", "a dog", list(range(13)), 13)
    assert widget.layer == 12  # the model's usual picture
    assert widget.settings["seed"] == 0
    assert widget.settings["model"] == "difflens-tiny"
    assert widget.tokens[1] == {"index": 1, "text": "a", "kind": "word", "is_continuation": False, "span": None}
    assert set(widget._frames) == {f"layer/{layer}" for layer in range(13)}
    frame = widget._frames["layer/4"]
    back = Image.open(io.BytesIO(frame["data"])).convert("RGB")
    assert back.tobytes() == run.images[4].tobytes()
    assert (frame["mime"], frame["step"], frame["final"]) == ("image/webp", 20, True)
    assert not widget._task_thread.running
    assert [message for message, _ in widget.messages if message["method"] == "custom"] == []


def test_nothing_yet(show):
    widget = show()
    assert (widget.status, widget.layers, repr(widget)) == ("empty", [], "LayerSlider()")
    data, _ = widget._repr_mimebundle_()
    assert "image/png" not in data


def test_a_run_that_is_shown_without_its_job_says_how_to_follow_it(show, stage):
    widget = show(stage.run)
    assert widget.status == "stopped"
    assert "job" in widget.notice


@pytest.mark.parametrize("source", ["a pink cat", 3, [scripted.empty_run()]])
def test_what_is_no_run_is_refused(show, source):
    with pytest.raises(TypeError, match=r"shows a LensRun or a LensJob.*lens\.start"):
        show(source)


def test_failures_of_a_record(show):
    run = scripted.finished_run()
    del run.images[3]
    run.failures[3] = "not finite"
    assert show(run).failures == {"3": "not finite"}


# -- layer


def test_layer_is_checked_and_says_which_there_are(show):
    widget = show(scripted.finished_run())
    widget.layer = 5
    with pytest.raises(traitlets.TraitError, match="layer 13 is not there: this run has layers 0 to 12"):
        widget.layer = 13
    with pytest.raises(traitlets.TraitError):
        widget.layer = "5"
    assert widget.layer == 5


def test_layer_of_a_part_of_the_layers(show):
    run = scripted.empty_run(layers=(8, 0, 4))
    run.images = {layer: scripted.picture(layer) for layer in run.layers}
    run.status = "done"
    widget = show(run)
    assert widget.layers == [0, 4, 8]
    with pytest.raises(traitlets.TraitError, match="layers 0, 4, 8"):
        widget.layer = 5


# -- a job


def test_frames_of_a_running_job_reach_the_browser(show, stage):
    widget = show(stage.job)
    assert widget.status == "running"
    stage.emit(Preview(7, 12, 20, scripted.picture(7)), LayerImage(12, scripted.picture(12)))
    widget.settle()
    wait_until(lambda: len(widget.custom("frame")) == 2)
    frames = {content["key"]: content for content, _ in widget.custom("frame")}
    assert (frames["layer/7"]["step"], frames["layer/7"]["final"]) == (12, False)
    assert (frames["layer/12"]["step"], frames["layer/12"]["final"]) == (20, True)
    assert set(widget.get_state("_frames")["_frames"]) == {"layer/12"}  # a view opened now has what is finished


def test_pictures_are_sent_as_state_once_and_only_at_the_end(show, stage):
    widget = show(stage.job)
    widget.messages.clear()
    for layer in range(13):
        stage.emit(LayerImage(layer, scripted.picture(layer)))
    widget.settle()
    updates = [m for m, _ in widget.messages if m["method"] == "update" and "_frames" in m["state"]]
    assert updates == []
    stage.finish()
    updates = [(m, b) for m, b in widget.messages if m["method"] == "update" and "_frames" in m["state"]]
    assert len(updates) == 1
    assert len(updates[0][1]) == 13
    assert widget.status == "done"


def test_when_result_returns_everything_is_sent(show):
    """A notebook that runs without a browser ends at once: what is not sent by then is lost."""
    job = scripted.job(seconds=0.2)
    widget = show(job)
    job.result(20)
    assert widget.status == "done"
    assert any("_frames" in m.get("state", {}) for m, _ in widget.messages)


def test_no_browser_never_holds_a_run_up(show):
    started = time.monotonic()
    job = scripted.job(seconds=0.2)
    show(job)
    job.result(20)
    assert time.monotonic() - started < 5


def test_progress_and_notices(show, stage):
    widget = show(stage.job)
    stage.emit(Progress(3, 13, (4, 5), 7, 20, 4.1), Message("smaller batches"))
    widget.settle()
    expected = {"layers_done": 3, "layers_total": 13, "running": [4, 5], "step": 7, "steps": 20, "seconds_left": 4.1}
    expected |= {"tokens_done": 0, "tokens_total": 0, "running_tokens": []}
    assert widget.progress == expected
    assert widget.notice == "smaller batches"


def test_what_is_being_painted_is_never_old_news(show, stage):
    widget = show(stage.job)
    batch = [Progress(4, 13, (4, 5), step, 20, 3.9) for step in (1, 2)]
    stage.emit(Progress(4, 13, (), 20, 20, 4.0), *batch)
    widget.settle()
    assert widget.progress["running"] == [4, 5]
    stage.emit(Progress(4, 13, (6,), 1, 20, 3.7, 0, 39, ((4, PINK),)), Progress(4, 13, (6,), 1, 20, 3.7))
    widget.settle()
    assert widget.progress["running_tokens"] == []


def test_focus_follows_the_layer_on_screen(show, stage):
    widget = show(stage.job)
    assert stage.job.focus == 12
    widget.set_state({"layer": 4})  # as from the browser
    assert stage.job.focus == 4
    assert widget._channel.first == "layer/4"


def test_stop_from_the_browser_stops_and_keeps_what_is_painted(show, stage):
    widget = show(stage.job)
    stage.emit(LayerImage(12, scripted.picture(12)))
    widget.from_browser(type="stop")
    stage.job.result(5)
    assert widget.status == "stopped"
    assert set(widget._frames) == {"layer/12"}
    widget.from_browser(type="stop")  # once more, with nothing to stop


def test_a_job_that_breaks_tells_why(show, stage):
    widget = show(stage.job)

    def fail(job):
        raise MemoryError("no memory for the decoder")

    stage.play(fail)
    with pytest.raises(MemoryError):
        stage.job.result(5)
    assert widget.status == "failed"
    assert widget.message == "MemoryError: no memory for the decoder"


def test_a_layer_that_fails_is_named(show, stage):
    from difflens_widgets.runs.events import Failed

    widget = show(stage.job)
    stage.emit(Failed(3, "not finite"), LayerImage(4, scripted.picture(4)))
    widget.settle()
    assert widget.failures == {"3": "not finite"}


def test_a_job_that_is_done_already(show):
    job = scripted.job(seconds=0)
    job.result(20)
    widget = show(job)
    assert widget.status == "done"
    assert len(widget._frames) == 13


def test_a_job_joined_in_the_middle_shows_what_there_is(show, stage):
    stage.emit(LayerImage(2, scripted.picture(2)))
    widget = show(stage.job)
    widget.settle()
    assert set(widget._frames) == {"layer/2"}


def test_show_switches_and_late_events_of_the_former_job_are_ignored(show, stage):
    widget = show(stage.job)
    stage.emit(LayerImage(2, scripted.picture(2)))
    widget.settle()
    other = scripted.finished_run("a red heart")
    widget.layer = 2
    widget.show(other)
    stage.emit(LayerImage(3, scripted.picture(12)), Message("of the former"))
    stage.finish()
    assert (widget.prompt, widget.status, widget.notice, widget.layer) == ("a red heart", "done", "", 2)
    back = Image.open(io.BytesIO(widget._frames["layer/3"]["data"])).convert("RGB")
    assert back.tobytes() == other.images[3].tobytes()
    assert {entry["run"] for entry in widget._frames.values()} == {widget._run}
    assert not stage.job.cancelled()


def test_show_a_run_that_lacks_the_layer_on_screen(show):
    widget = show(scripted.finished_run())
    few = scripted.empty_run(layers=range(3))
    few.images = {layer: scripted.picture(layer) for layer in few.layers}
    widget.show(few)
    assert widget.layer == 2


def test_close_lets_go_of_the_job_and_of_its_thread(show, stage):
    widget = show(stage.job)
    stage.emit(LayerImage(2, scripted.picture(2)))
    widget.settle()
    widget.close()
    wait_until(lambda: not widget._task_thread.running)
    stage.emit(LayerImage(3, scripted.picture(3)))
    assert set(widget._frames) == {"layer/2"}
    assert not stage.job.cancelled()


def test_an_observer_that_fails_does_not_end_the_run(show, stage, caplog):
    widget = show(stage.job)

    def fail(change):
        raise ValueError("of the user's")

    widget.observe(fail, "progress")
    stage.emit(Progress(0, 13, (0,), 1, 20, None), LayerImage(0, scripted.picture(0)))
    stage.finish()
    assert widget.status == "done"
    assert "of the user's" in caplog.text


# -- liveness


def test_hello_is_answered(show):
    widget = show(scripted.finished_run())
    widget.from_browser(type="hello")
    assert len(widget.custom("alive")) == 1


def test_a_running_job_is_heard_of_while_nothing_happens(show, stage, monkeypatch):
    monkeypatch.setattr(_base, "_HEARTBEAT", 0.05)
    widget = show(stage.job)
    stage.emit(Progress(0, 13, (0,), 1, 20, None))
    wait_until(lambda: len(widget.custom("alive")) >= 3)


@pytest.mark.parametrize("content", [None, "stop", {}, {"type": "no such"}, {"type": None}])
def test_what_it_does_not_understand_is_ignored(show, content):
    widget = show(scripted.finished_run())
    widget._handle_custom_msg(content, [])
    assert [m for m, _ in widget.messages if m["method"] == "custom"] == []


# -- files


@pytest.mark.parametrize(("file_format", "start"), [("gif", b"GIF89a"), ("html", b"<!doctype html>")])
def test_export_sends_the_file(show, file_format, start):
    widget = show(scripted.finished_run())
    widget.from_browser(type="export", format=file_format)
    wait_until(lambda: widget.custom("file"), 20)
    [(content, buffers)] = widget.custom("file")
    assert "error" not in content
    assert content["format"] == file_format
    assert buffers[0].lower().startswith(start.lower())


def test_export_errors_reach_the_browser(show, monkeypatch):
    def fail(run, path):
        raise OSError("no space left on device")

    monkeypatch.setattr(LensRun, "to_gif", fail)
    widget = show(scripted.finished_run())
    widget.from_browser(type="export", format="gif")
    wait_until(lambda: widget.custom("file"))
    [(content, buffers)] = widget.custom("file")
    assert content["error"] == "OSError: no space left on device"
    assert buffers == []
    assert not widget._exporting


def test_export_of_nothing_and_of_an_unknown_format(show):
    widget = show()
    widget.from_browser(type="export", format="gif")
    wait_until(lambda: widget.custom("file"))
    assert "no picture to save" in widget.custom("file")[0][0]["error"]
    widget.from_browser(type="export", format="../../exe")
    assert "cannot save" in widget.custom("file")[1][0]["error"]


# -- the still picture


def still(widget):
    data, metadata = widget._repr_mimebundle_()
    assert isinstance(metadata, dict)
    return Image.open(io.BytesIO(base64.b64decode(data["image/png"])))


@pytest.mark.parametrize("size", [64, 512])
def test_the_bundle_carries_a_small_picture_of_all_layers(show, size):
    widget = show(scripted.finished_run(size=size))
    image = still(widget)
    assert image.format == "PNG"
    assert max(image.size) <= 768
    data, _ = widget._repr_mimebundle_()
    assert data["application/vnd.jupyter.widget-view+json"]["model_id"] == widget.model_id
    assert data["text/plain"] == "LayerSlider('a pink cat on a blue background', 13 of 13 layers, done)"
    assert len(data["image/png"]) < 600_000


@pytest.mark.parametrize("form", ["dict", "tuple", "none"])
def test_the_bundle_is_made_whatever_the_base_class_gives(show, monkeypatch, form):
    bundle = {"text/plain": "x"}
    forms = {"dict": bundle, "tuple": (bundle, {"a": 1}), "none": None}
    monkeypatch.setattr(_base.anywidget.AnyWidget, "_repr_mimebundle_", lambda self, **_: forms[form])
    widget = show(scripted.finished_run())
    data, metadata = widget._repr_mimebundle_()
    assert "image/png" in data
    assert metadata == ({"a": 1} if form == "tuple" else {})


@pytest.fixture
def published(monkeypatch):
    import IPython.display

    calls = []
    monkeypatch.setattr(
        IPython.display,
        "publish_display_data",
        lambda data, metadata=None, *, transient=None, update=False: calls.append((data, transient, update)),
    )
    return calls


def test_the_output_gets_the_picture_when_the_run_is_done(show, stage, published):
    widget = show(stage.job)
    widget._ipython_display_()
    stage.emit(LayerImage(12, scripted.picture(12)))
    stage.finish()
    assert [update for _, _, update in published] == [False, True]
    assert published[0][1] == published[1][1]
    assert "image/png" not in published[0][0]
    assert "image/png" in published[1][0]


def test_with_a_browser_the_output_is_exchanged_when_it_agrees(show, stage, published):
    widget = show(stage.job)
    widget._ipython_display_()
    widget.from_browser(type="hello")
    stage.emit(LayerImage(12, scripted.picture(12)))
    stage.finish()
    assert len(published) == 1
    assert len(widget.custom("done")) == 1
    for _ in range(2):  # two views both say so
        widget.from_browser(type="still")
    widget.settle()
    assert [update for _, _, update in published] == [False, True]


def test_a_browser_that_is_gone_does_not_keep_the_picture_from_the_notebook(show, stage, published, monkeypatch):
    monkeypatch.setattr(_base, "_STILL_PATIENCE", 0.05)
    widget = show(stage.job)
    widget._ipython_display_()
    widget.from_browser(type="hello")
    stage.emit(LayerImage(12, scripted.picture(12)))
    stage.finish()
    wait_until(lambda: len(published) == 2)


# -- where threads are not heard, and where there is no kernel


def test_in_colab_everything_happens_in_the_cell(show, monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    widget = show(scripted.job(seconds=0.2))
    assert widget.status == "done"
    assert len(widget._frames) == 13
    assert not widget._task_thread.running
    widget.show(scripted.job("a dog", seconds=0.2))
    assert (widget.status, widget.prompt) == ("done", "a dog")


def test_in_colab_interrupting_the_cell_stops_the_job(show, monkeypatch):
    monkeypatch.setitem(sys.modules, "google.colab", types.ModuleType("google.colab"))
    job = scripted.job(seconds=0.3, hold_after=4)

    def interrupted(seconds):
        time.sleep(seconds)
        if len(job.run.images) >= 4 and not job.cancelled():
            raise KeyboardInterrupt

    clock = types.SimpleNamespace(sleep=interrupted, monotonic=time.monotonic)
    monkeypatch.setattr("difflens_widgets.widgets._run_widget.time", clock)
    widget = show(job)
    assert widget.status == "stopped"
    assert len(widget._frames) >= 4


def test_the_page_has_what_the_widget_has(show):
    run = scripted.finished_run()
    state = slider_view(run).state
    live = show(run).get_state()
    for name in state:
        assert state[name] == live[name], name
    missing = {name for name in LayerSlider.class_trait_names(sync=True) if not name.startswith("_")} - {*state}
    assert missing - {"tabbable", "tooltip"} == {"layout"}  # ipywidgets 7 has the last one only


# -- steps and tokens

WORDS = ("pink", PromptPart.PADDING, PromptPart.PROMPT)
PINK = 2  # its position in the prompt


def opened(entry):
    return Image.open(io.BytesIO(entry["data"])).convert("RGB")


def test_a_record_with_snapshots_and_tokens_is_there_at_once(show):
    run = scripted.finished_run(snapshots=(0, 18), words=WORDS)
    widget = show(run)
    assert (widget.snapshots, widget.step, widget.token) == ([0, 18], None, None)
    assert [row["token"] for row in widget.token_masks] == [PINK, -1, -2]
    assert widget.token_masks[0]["positions"] == [PINK]
    assert len(widget._frames) == 13 * (1 + 2 + 3)
    assert widget._frames["layer/3/step/18"]["step"] == 19  # the prediction at step 19 of 20
    assert widget._frames["layer/3/token/-2"]["step"] == 20
    for key, painted in {
        "layer/3/step/18": run.snapshots[3, 18],
        f"layer/3/token/{PINK}": run.token_images[3, PINK],
        "layer/3/token/-1": run.token_images[3, PromptPart.PADDING],
    }.items():
        difference = ImageChops.difference(opened(widget._frames[key]), painted)
        assert max(ImageStat.Stat(difference).mean) < 8, key


def test_the_many_pictures_are_small(show):
    run = scripted.finished_run(size=640, snapshots=(10,), words=("pink",))
    frames = show(run)._frames
    assert opened(frames["layer/3"]).size == (640, 640)
    for key in ("layer/3/step/10", f"layer/3/token/{PINK}"):
        assert opened(frames[key]).size == (512, 512)
        assert len(frames[key]["data"]) < 120_000  # noise costs the most


def test_snapshots_and_token_pictures_of_a_running_job_reach_the_browser(show):
    stage = Stage(scripted.empty_run(snapshots=(5,), words=WORDS))
    widget = show(stage.job)
    assert (widget.snapshots, len(widget.token_masks), widget.status) == ([5], 3, "running")
    stage.emit(
        Snapshot(4, 5, scripted.snapshot(4, 5)),
        TokenImage(4, PromptPart.PADDING, scripted.picture(1)),
        TokenFailed(4, PINK, "not finite"),
        Progress(0, 13, (4,), 6, 20, None, 1, 39, ((4, PINK), (8, PromptPart.PROMPT))),
    )
    widget.settle()
    wait_until(lambda: len(widget.custom("frame")) == 2)
    frames = {content["key"]: (content["step"], content["final"]) for content, _ in widget.custom("frame")}
    assert frames == {"layer/4/step/5": (6, True), "layer/4/token/-1": (20, True)}
    assert widget.token_failures == {f"layer/4/token/{PINK}": "not finite"}
    assert widget.progress["running_tokens"] == [[4, PINK], [8, -2]]
    stage.finish()
    assert set(widget._frames) == set(frames)

    late = show(stage.job)  # one that comes to it later has all of it
    assert set(late._frames) == set(frames)
    assert late.token_failures == widget.token_failures


def test_a_job_joined_in_the_middle_shows_its_snapshots(show):
    stage = Stage(scripted.empty_run(snapshots=(5,), words=WORDS))
    stage.emit(Snapshot(4, 5, scripted.picture(4)), TokenImage(4, PINK, scripted.picture(5)))
    widget = show(stage.job)
    widget.settle()
    assert set(widget._frames) == {"layer/4/step/5", f"layer/4/token/{PINK}"}
    stage.job.cancel()


def test_what_is_on_screen_goes_first_at_its_step_and_token(show):
    widget = show(scripted.finished_run(snapshots=(5,), words=WORDS))
    widget.layer, widget.step = 4, 5
    assert widget._channel.first == "layer/4/step/5"
    widget.token = PromptPart.PADDING
    assert (widget.token, widget._channel.first) == (-1, "layer/4/token/-1")
    widget.token = PINK + 1  # only marked: it has no pictures of its own
    assert widget._channel.first == "layer/4/step/5"
    with pytest.raises(traitlets.TraitError):
        widget.token = "pink"


@pytest.mark.parametrize("junk", [None, "5", {"a": 1}, [True, -1, 20, 2.5, "x"]])
def test_steps_that_a_file_may_claim_are_not_believed(show, junk):
    run = scripted.finished_run()
    run.settings["snapshots"] = junk
    assert show(run).snapshots == []


def test_show_takes_steps_and_tokens_of_the_former_run_away(show):
    widget = show(scripted.finished_run(snapshots=(5,), words=WORDS))
    widget.show(scripted.finished_run("a dog"))
    assert (widget.snapshots, widget.token_masks, len(widget._frames)) == ([], [], 13)


def test_a_page_and_a_loaded_file_have_steps_and_tokens_too(tmp_path):
    run = scripted.finished_run(snapshots=(5,), words=WORDS)
    live, loaded = (slider_view(each).state for each in (run, LensRun.load(run.save(tmp_path / "a.lens"))))
    assert live["_frames"] == loaded["_frames"]
    assert (loaded["snapshots"], loaded["token_masks"], len(loaded["_frames"])) == ([5], live["token_masks"], 13 * 5)


def test_a_patch_opens_on_what_it_changes(show):
    patched, plain = scripted.finished_run(), scripted.finished_run("a dog")
    changes = [Variant("red ← blue", 0), Variant("circle ← square", 1)]
    patched.token_masks, patched.settings["method"] = dict.fromkeys(changes, (2,)), "patch"
    patched.token_images = {(layer, each): scripted.picture(layer) for layer in range(13) for each in changes}
    opened = LayerSlider(patched)
    page = slider_view(patched).state
    assert slider_view(patched).label == "Layers"
    assert slider_view(patched).title.endswith(" · red ← blue, circle ← square")
    assert (opened.layer, opened.token) == (page["layer"], page["token"]) == (0, -3)
    assert opened._key_on_screen() == "layer/0/token/-3"
    widget = show(plain)
    assert (widget.layer, widget.token) == (12, None)
    widget.layer = 5
    widget.show(patched)
    assert (widget.layer, widget.token) == (5, -3)  # the layer that the user went to
    widget.token, widget.layer = changes[1], 7
    widget.show(patched)  # once more: what the user looks at stays
    assert (widget.layer, widget.token) == (7, -4)
    widget.show(plain)
    assert (widget.layer, widget.token) == (7, None)


def test_which_picture_of_a_patch_comes_first():
    run = scripted.finished_run()
    red, blue = changes = [Variant("red ← blue", 0), Variant("circle ← square", 1)]
    run.token_masks, run.settings["method"] = {red: (2,), blue: (3, 4)}, "patch"
    run.token_images = {(layer, each): scripted.picture(layer) for layer in range(13) for each in changes}
    assert on_screen(run) == (0, -3)
    assert on_screen(run, 6, 4) == (6, 4)  # a word that is patched
    assert on_screen(run, 6, 1) == (6, -3)
    assert on_screen(run, 20, -4) == (0, -4)
    run.status = "stopped"
    run.token_images = {(8, blue): scripted.picture(8), (5, blue): scripted.picture(5)}
    assert on_screen(run) == (5, -4)
    run.token_images = {}
    assert on_screen(run) == (12, None)  # what there is
    run.status = "running"
    assert on_screen(run) == (0, -3)


def test_variants_of_a_running_job_reach_the_browser(show):
    red, blue = Variant("red ← blue", 0), Variant("circle ← square", 1)
    run = scripted.empty_run()
    run.token_masks, run.settings["method"] = {red: (2,), blue: (3,)}, "patch"
    stage = Stage(run)
    widget = show(stage.job)
    assert [(row["token"], row["label"]) for row in widget.token_masks] == [(-3, red), (-4, blue)]
    widget.token = blue
    assert (widget.token, widget._key_on_screen()) == (-4, "layer/0/token/-4")
    stage.emit(
        TokenImage(4, blue, scripted.picture(1)),
        TokenFailed(4, red, "not finite"),
        Progress(0, 1, (), 6, 20, None, 1, 26, ((5, blue),)),
    )
    widget.settle()
    assert set(widget._frames) == {"layer/4/token/-4"}
    assert widget.token_failures == {"layer/4/token/-3": "not finite"}
    assert widget.progress["running_tokens"] == [[5, -4]]
    stage.finish()
