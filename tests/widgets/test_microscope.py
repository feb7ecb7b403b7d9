"""Microscope at the message line: a small real pipeline paints; what a browser sends is made by hand."""

from __future__ import annotations

import gc
import io
import json
import threading
import time
import weakref
import zipfile

import pytest
import torch
import traitlets
from diffusers import DDIMScheduler, EulerDiscreteScheduler

from browser import scripted
from browser.microscope import scope
from difflens_widgets import DiffusionLens, LayerSlider, LensRun, Microscope
from difflens_widgets.widgets import _base
from pipelines import small_pipeline
from tuned_models import perturbed

PROMPT = "a red circle and a blue square"
QUICK = {"num_inference_steps": 2, "layers": "0:5:2"}


@pytest.fixture(scope="module")
def lens() -> DiffusionLens:
    return DiffusionLens(small_pipeline(DDIMScheduler), model="small")


@pytest.fixture
def build(lens):
    """Builds Microscopes that note what they send to the browser."""
    opened = []

    class Recorded(Microscope):
        def _send(self, msg, buffers=None):
            self.__dict__.setdefault("messages", []).append((msg, buffers or []))

        def said(self, kind):
            contents = [(msg["content"], b) for msg, b in self.messages if msg["method"] == "custom"]
            return [(content, buffers) for content, buffers in contents if content["type"] == kind]

        def hear(self, *, buffers=(), **content):
            """A message of the browser; returns when it is answered."""
            answers = len(self.said("answer"))
            self._handle_custom_msg(content, list(buffers))
            if content["type"] in ("run", "entry"):
                wait_until(lambda: len(self.said("answer")) > answers)

        def ask(self, **form):
            self.hear(type="run", form={"prompt": PROMPT, "view": "layers", **QUICK, **form})

    def one(*args, **options):
        opened.append(Recorded(*(args or (lens,)), **options))
        opened[-1].messages = []
        return opened[-1]

    yield one
    for widget in opened:
        widget.close()


def wait_until(condition, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def at_rest(widget):
    wait_until(lambda: widget.status != "running")
    for part in widget._views._parts.values():
        assert part._task_thread.flush(5)
    return widget.get_state()


def test_the_box_paints_what_the_lens_paints(build, lens) -> None:
    widget = build()
    widget.ask(seed=3, guidance_scale=2.0)
    state = at_rest(widget)
    assert (widget.status, widget.message, widget.prompt, widget.seed) == ("done", "", PROMPT, 3)
    expected = lens(PROMPT, layers=[0, 2, 4], seed=3, num_inference_steps=2, guidance_scale=2.0)
    assert {layer: image.tobytes() for layer, image in widget.run.images.items()} == {
        layer: image.tobytes() for layer, image in expected.images.items()
    }
    parts = state["_parts"]
    frames = LayerSlider(expected)._frames
    shown = {key: entry["data"] for key, entry in parts["lens"]["_frames"].items()}
    assert shown == {key: entry["data"] for key, entry in frames.items()}
    assert {"layer/4", "maps/4"} <= set(parts["attention"]["_frames"])
    assert parts["second"]["_frames"] == {}
    assert widget._has == ["lens", "attention"]
    assert widget.layer == 4
    assert not {"_esm", "_css", "layout", "layer"} & set(parts["lens"])  # the code travels once, layer is shared


def test_the_views_hear_of_each_picture_while_it_is_painted(build) -> None:
    widget = build()
    widget.ask()
    at_rest(widget)
    told = [content for content, _ in widget.said("part")]
    frames = [each["content"]["key"] for each in told if each.get("content", {}).get("type") == "frame"]
    assert "layer/4" in frames  # the last of them may come with all others, at the end
    states = [(each["part"], each["state"]) for each in told if "state" in each]
    assert ("lens", {"status": "running"}) in states
    assert ("lens", {"status": "done"}) in states
    last, buffers = next(m for m in reversed(widget.said("part")) if "_frames" in m[0].get("state", {}))
    assert len(last["paths"]) == len(buffers) > 0


def test_words_are_painted_on_their_tab_and_a_second_prompt_beside_the_first(build, lens) -> None:
    widget = build()
    widget.ask(view="tokens", layers="4", prompt="a red circle")
    at_rest(widget)
    assert set(widget._has) == {"lens", "tokens", "attention"}
    assert len(widget.run.token_images) == 3
    first = widget.run
    widget.ask(view="compare", layers="4", prompt="a red circle", second_prompt="a blue circle")
    at_rest(widget)
    assert widget.run is first  # it is painted already
    assert [run.prompt for run in widget.runs] == ["a red circle", "a blue circle"]
    assert widget._has[-1] == "second"
    alone = lens("a blue circle", layers=[4], num_inference_steps=2)
    assert widget.runs[1].images[4].tobytes() == alone.images[4].tobytes()
    widget.ask(view="compare", layers="4", prompt="a green circle", second_prompt="a blue circle")
    at_rest(widget)
    assert [run.prompt for run in widget.runs][-2:] == ["a green circle", "a blue circle"]
    assert len(widget._entries) == 2


PATCH = {"view": "patch", "prompt": "a red circle", "second_prompt": "a blue circle", "patch_words": "red = blue"}
ONE = {"layers": [4], "num_inference_steps": 1}
NOISE = torch.randn(4, 8, 8, generator=torch.Generator().manual_seed(5))
SHOWN = {
    "own latents": lambda lens: lens("a red circle", latents=NOISE, **ONE),
    "another size": lambda lens: lens("a red circle", height=64, width=64, **ONE),
    "a generator": lambda lens: lens("a red circle", seed=torch.Generator().manual_seed(0), **ONE),
    "an ablation": lambda lens: lens.ablate("a red circle", **ONE),
    "a patch": lambda lens: lens.patch("a red circle", source="a blue circle", tokens={"red": "blue"}, **ONE),
    "another model": lambda lens: DiffusionLens(perturbed(small_pipeline(DDIMScheduler)), model="small")(
        "a red circle", **ONE
    ),
    "another scheduler": lambda lens: DiffusionLens(small_pipeline(EulerDiscreteScheduler), model="small")(
        "a red circle", **ONE
    ),
}


@pytest.mark.parametrize("what", SHOWN)
@pytest.mark.parametrize("view", ["compare", "patch"])
def test_a_run_of_something_else_is_not_taken_for_the_first_prompt(build, lens, what, view) -> None:
    widget = build()
    shown = SHOWN[what](lens)
    widget.show(shown)
    form = {"prompt": "a red circle", "layers": "4", "num_inference_steps": 1}
    widget.ask(**form, view=view, second_prompt="a blue circle")
    at_rest(widget)
    assert (widget.message, len(widget._entries)) == ("", 2)
    assert widget.runs[0] is shown
    if view == "compare":
        first = widget.run
        assert first.images[4].tobytes() == lens("a red circle", **ONE).images[4].tobytes()
        assert {run.settings["model_hash"] for run in widget.runs[1:]} == {first.settings["model_hash"]}


def test_a_run_of_this_very_lens_is_the_first_prompt_also_from_a_file(build, lens, tmp_path) -> None:
    widget = build()
    shown = LensRun.load(lens("a red circle", snapshots=[0], **ONE).save(tmp_path / "red.lens"))
    widget.show(shown)
    widget.ask(view="compare", prompt="a red circle", layers="4", num_inference_steps=1, second_prompt="a blue circle")
    at_rest(widget)
    assert (widget.message, len(widget._entries), widget.run) == ("", 1, shown)


@pytest.mark.skipif(not hasattr(DiffusionLens, "start_patch"), reason="this lens cannot patch")
def test_a_patch_takes_states_of_the_second_prompt(build, lens, tmp_path) -> None:
    widget = build()
    assert widget._tabs[-1] == "patch"
    widget.ask(**PATCH)
    at_rest(widget)
    assert widget.message == ""
    expected = lens.patch(
        "a red circle", source="a blue circle", tokens={"red": "blue"}, layers=[0, 2, 4], num_inference_steps=2
    )
    painted = {key: image.tobytes() for key, image in widget.run.token_images.items()}
    assert painted == {key: image.tobytes() for key, image in expected.token_images.items()}
    assert widget._has == ["patch"]
    assert (widget.layer, widget.token) == (0, -3)  # what the patch changes, and not the prompt without it
    for token, shown in [(2, 2), (3, -3), (None, -3)]:  # a patched word, one that is not, none
        widget.view, widget.layer, widget.token = "layers", 2, token
        widget.view = "patch"
        assert (widget.layer, widget.token) == (2, shown)
    widget.ask(**PATCH | {"patch_words": ""})  # those that differ
    at_rest(widget)
    assert [str(pair) for pair in widget.run.variants] == ["red ← blue"]
    widget.view = "layers"
    widget.show(LensRun.load(expected.save(tmp_path / "patch.lens")))
    assert (widget.layer, widget.token) == (2, -3)
    widget.view = "patch"


def test_a_lens_that_cannot_patch_has_no_tab_for_it() -> None:
    widget = scope("a cat")
    assert widget._tabs == ["layers", "tokens", "attention", "compare"]
    widget.close()


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({"prompt": " "}, "prompt: the box is empty"),
        ({"view": "compare", "second_prompt": ""}, "second prompt: the box is empty"),
        ({"layers": "cat"}, "layers: 'cat' is none of 0:13, 0:13:3, 5 or 0,4,12"),
        ({"layers": "99"}, "layers"),
        ({"num_inference_steps": 0}, "steps: 0 must be at least 1"),
        ({"num_inference_steps": 2.5}, "steps: 2.5 is not a whole number"),
        ({"guidance_scale": -1.0}, "guidance: -1.0 must be a finite number"),
        ({"seed": -1}, "seed: -1 is not a whole number from 0 to 9007199254740991"),
        ({"seed": 2**53}, "seed: 9007199254740992 is not a whole number from 0"),
        ({"seed": "a"}, "seed: a is not a whole number from 0"),
        (PATCH | {"patch_words": "red"}, "words: 'red' is not of the form"),
        (PATCH | {"patch_words": "green = blue"}, "words, in the prompt: 'green' is not in the prompt"),
        (PATCH | {"patch_words": "red = green"}, "words, in the second prompt: 'green' is not in the prompt"),
        ({"view": "nowhere"}, "view"),
    ],
)
def test_a_bad_box_is_refused_in_words_and_nothing_is_lost(build, form, words) -> None:
    widget = build()
    widget.show(scripted.finished_run("a cat"))
    widget.ask(**form)
    assert words in widget.message
    assert widget.status == "done"
    assert [run.prompt for run in widget.runs] == ["a cat"]
    widget.ask(guidance_scale=None)
    assert widget.message == ""
    at_rest(widget)


def test_a_refusal_is_gone_once_a_box_is_changed(build) -> None:
    widget = build()
    widget.ask(num_inference_steps=0)
    assert "steps: 0" in widget.message
    widget.num_inference_steps = 2
    assert widget.message == ""
    at_rest(widget)


def test_run_while_running_is_refused_and_stop_stops(build) -> None:
    widget = build()
    job = scripted.job("a cat", seconds=0.2, hold_after=4)
    widget.show(job)
    assert widget.status == "running"
    widget.ask()
    assert widget.message == "a run is being painted; stop it first, or wait until it is done"
    with pytest.raises(RuntimeError, match="a run is being painted"):
        widget.start()
    widget.layer = 7
    assert job.focus == 7  # the picture on screen is painted next
    widget.hear(type="stop")
    at_rest(widget)
    assert widget.status == "stopped"
    assert [entry["status"] for entry in widget._entries] == ["stopped"]


def test_going_back_fills_the_boxes_and_the_views(build) -> None:
    widget = build()
    other = scripted.finished_run("a small dog", words=["dog"])
    other.settings["negative_prompt"] = "blue"
    other.seed = 5
    widget.show(other)
    widget.show(scripted.finished_run("a cat"))
    assert (widget.prompt, widget._entry, widget._has) == ("a cat", 2, ["lens"])
    widget.hear(type="entry", number=1)
    boxes = widget.prompt, widget.negative_prompt, widget.seed, widget.num_inference_steps, widget.layers
    assert boxes == ("a small dog", "blue", 5, 20, "")
    assert widget.get_state()["_parts"]["lens"]["prompt"] == "a small dog"
    assert widget._has == ["lens", "tokens"]
    widget.hear(type="entry", number=9)
    assert widget.message == "this run is no longer kept"
    assert widget._entry == 1


def test_a_running_job_is_followed_again_after_a_look_at_another_run(build) -> None:
    widget = build()
    widget.show(scripted.finished_run("a dog"))
    job = scripted.job("a cat", seconds=0.2, hold_after=4)
    widget.show(job)
    widget.hear(type="entry", number=1)
    widget.hear(type="entry", number=2)
    assert widget.get_state()["_parts"]["lens"]["status"] == "running"
    job.go_on.set()
    state = at_rest(widget)
    wait_until(lambda: widget.get_state()["_parts"]["lens"]["status"] == "done")
    assert len(state["_parts"]["lens"]["_frames"]) == 13


def test_no_more_runs_are_kept_than_the_limit_and_no_job(build) -> None:
    widget = build(history_limit=3)
    runs, jobs = [], []
    for number in range(12):
        job = scripted.job(f"cat {number}", seconds=0, batch_size=13)
        runs.append(weakref.ref(job.run))
        jobs.append(weakref.ref(job))
        widget.show(job)
        at_rest(widget)
        del job
    assert [run.prompt for run in widget.runs] == ["cat 9", "cat 10", "cat 11"]

    def left(references):
        gc.collect()
        return sum(reference() is not None for reference in references)

    wait_until(lambda: left(runs) <= 4, 10)  # and the one before, of which a thread may still know
    wait_until(lambda: left(jobs) <= 2, 10)
    assert [entry["number"] for entry in widget._entries] == [10, 11, 12]


def uploaded(widget, content, name="run.lens", piece=1000):
    pieces = [content[at : at + piece] for at in range(0, len(content), piece)] or [b""]
    answers = len(widget.said("answer"))
    for index, each in enumerate(pieces):
        widget.hear(type="open", name=name, index=index, count=len(pieces), buffers=[memoryview(each)])
    wait_until(lambda: len(widget.said("answer")) > answers)


def test_a_file_is_opened_and_saved(build, tmp_path) -> None:
    widget = build()
    run = scripted.finished_run("a red star", words=["star"])
    uploaded(widget, run.save(tmp_path / "star.lens").read_bytes())
    assert (widget.message, widget.prompt, widget.status, widget._has) == ("", "a red star", "done", ["lens", "tokens"])
    widget.hear(type="export", format="lens")
    wait_until(lambda: widget.said("file"))
    answer, buffers = widget.said("file")[0]
    assert "error" not in answer
    (tmp_path / "again.lens").write_bytes(buffers[0])
    assert LensRun.load(tmp_path / "again.lens").token_images.keys() == run.token_images.keys()


def newer(content: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, json.dumps({**json.loads(data), "version": [99, 0]}) if name == "run.json" else data)
    return out.getvalue()


def test_a_file_that_cannot_be_read_says_why_and_loses_nothing(build, tmp_path) -> None:
    widget = build()
    content = scripted.finished_run("a red star").save(tmp_path / "star.lens").read_bytes()
    widget.show(scripted.finished_run("a cat"))
    for bad, words in ((newer(content), "version 99"), (content[:500], ""), (b"", "")):
        uploaded(widget, bad, "mine <b>.lens")
        assert widget.message.startswith("mine <b>.lens: ")
        assert words in widget.message
        assert "run.lens" not in widget.message  # no path of the kernel
        assert (widget.prompt, len(widget.runs), widget._entry) == ("a cat", 1, 1)
    widget.hear(type="open", name="a", index=1, count=2, buffers=[b"x"])
    wait_until(lambda: "did not arrive whole" in widget.message)


def test_traits_from_the_browser_reach_the_view_that_they_belong_to(build) -> None:
    widget = build()
    run = scripted.finished_run("a pink cat", attention=scripted.AttentionOptions())
    widget.show(run)
    widget.set_state({"token": 2, "layer": 3})
    parts = widget._views._parts
    assert (parts["attention"].selected_tokens, parts["attention"].layer, parts["lens"].layer) == ([2], 3, 3)
    widget.hear(type="part", part="attention", state={"rows": "blocks", "_acknowledged": 0, "lens": 1})
    assert parts["attention"].rows == "blocks"
    widget.hear(type="part", part="attention", state={"rows": "nonsense"})
    widget.hear(type="part", part="nothing", state={})
    widget.hear(type="part", part="lens", content={"type": "hello"})
    assert widget.said("part")[-1][0] == {"type": "part", "part": "lens", "content": {"type": "alive"}}
    assert parts["attention"].rows == "blocks"
    widget.set_state({"layer": 77})  # as a linked widget may ask for: the nearest below is shown
    assert parts["lens"].layer == 3


def test_a_page_that_missed_the_beginning_of_a_run_gets_all_of_it(build) -> None:
    """In marimo a widget that is shown later has the state of when it was made."""
    widget = build()
    widget.show(scripted.finished_run("a pink cat"))
    at_rest(widget)
    for run, answers in ((1, 0), (0, 1)):
        widget.messages.clear()
        widget.hear(type="part", part="lens", content={"type": "hello", "run": run})
        states = [(content["state"], content["paths"]) for content, _ in widget.said("part") if "state" in content]
        assert len(states) == answers
    state, paths = states[0]
    assert (state["_run"], state["prompt"], state["status"]) == (1, "a pink cat", "done")
    assert len(paths) == 13
    assert not {"_esm", "layer"} & set(state)


def test_colab_waits_for_the_run_in_the_message(build, monkeypatch) -> None:
    monkeypatch.setattr(_base, "in_colab", lambda: True)
    monkeypatch.setattr("difflens_widgets.widgets._scope_messages.in_colab", lambda: True)
    widget = build()
    widget._handle_custom_msg({"type": "run", "form": {"prompt": PROMPT, **QUICK}}, [])
    assert len(widget.get_state()["_parts"]["lens"]["_frames"]) == 3


def test_bad_arguments(lens) -> None:
    with pytest.raises(TypeError, match=r"Microscope needs a DiffusionLens, not str: try"):
        Microscope("tiny")
    with pytest.raises(ValueError, match=r"history_limit: expected an integer ≥ 1, got 0"):
        Microscope(lens, history_limit=0)
    widget = Microscope(lens)
    with pytest.raises(TypeError, match="Microscope shows a LensRun or a LensJob, not str"):
        widget.show("a.lens")
    with pytest.raises(traitlets.TraitError):
        widget.view = "nowhere"
    widget.close()


def test_a_closed_microscope_leaves_no_thread() -> None:
    widget = scope("a cat", seconds=0.05)
    widget.start().result(20)
    widget.close()
    wait_until(lambda: not [each for each in threading.enumerate() if each.name == "difflens-widget"], 10)
