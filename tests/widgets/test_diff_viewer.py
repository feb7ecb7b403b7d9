"""DiffViewer at the message line: what it sends against what the comparison knows, and its traits."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import traitlets
from diffusers import DDIMScheduler
from PIL import Image

from browser import training
from difflens_widgets import Comparison, DiffusionLens, DiffViewer, compare
from difflens_widgets.runs.maps.maps import LensAttention
from drawn_comparisons import DEPTH, drawn_comparison, tuned_run
from drawn_runs import attention_run, drawn_run
from pipelines import small_pipeline
from stock import PROMPT
from tuned_models import perturbed


@pytest.fixture(scope="module")
def comparison():
    raw, tuned = small_pipeline(DDIMScheduler), perturbed(small_pipeline(DDIMScheduler))
    lenses = (DiffusionLens(raw, batch_size=2, model="raw"), DiffusionLens(tuned, model="tuned"))
    return compare(*lenses, PROMPT, attribution=True, attention=True, layers=[4, 0, 2], num_inference_steps=2)


@pytest.fixture
def show():
    widgets = []

    def build(*args, **options):
        widgets.append(DiffViewer(*args, **options))
        return widgets[-1]

    yield build
    for widget in widgets:
        widget.close()


def plane(widget, kind, layer):
    scale = widget._scales[kind]
    values = np.frombuffer(widget._frames[f"{kind}/{layer}"]["data"], np.uint8)
    return values.reshape(-1, scale["height"], scale["width"]).astype(float), scale["most"]


def test_what_travels_is_what_the_comparison_knows(comparison, show) -> None:
    widget = show(comparison)
    runs = ("raw", "tuned", "tuned-raw", "raw-tuned", "difference", "attention")
    assert set(widget._frames) == {f"{run}/{layer}" for run in runs for layer in (0, 2, 4)}
    for name, run in comparison.runs.items():
        for layer, image in run.images.items():
            sent = Image.open(io.BytesIO(widget._frames[f"{name}/{layer}"]["data"])).convert("RGB")
            assert sent.tobytes() == image.tobytes()
    for layer in comparison.layers:
        values, most = plane(widget, "difference", layer)
        np.testing.assert_allclose(values[0] / 255 * most, comparison.difference(layer), atol=0.51 * most / 255)
        values, most = plane(widget, "attention", layer)
        for row, column in enumerate(widget.columns):
            expected = np.mean([comparison.attention_difference(p, layer=layer) for p in column["positions"]], axis=0)
            np.testing.assert_allclose((values[row] - 128) / 127 * most, expected, atol=0.51 * most / 127)
    assert [column["text"] for column in widget.columns] == PROMPT.split()
    assert max(plane(widget, "difference", layer)[0].max() for layer in (0, 2, 4)) == 255
    assert widget.models == {run: comparison.runs[run].settings["model"] for run in comparison.runs}
    assert (widget.status, widget.layers, widget.layer, widget.num_layers) == ("done", [0, 2, 4], 4, 5)


def test_metrics_have_null_for_what_is_not_there(comparison, show) -> None:
    widget = show(comparison)
    assert [each["name"] for each in widget.metrics] == ["state_cosine", "latent_rms", "ssim", "attribution"]
    for metric, chart in zip(widget.metrics, comparison.charts, strict=True):
        for series, (label, name) in zip(metric["series"], chart.series, strict=True):
            assert series == {"label": label, "values": comparison.metrics[name].tolist()}
    bare = drawn_comparison(swapped=False)
    del bare.tuned.images[1]
    of_ssim, of_judge = show(bare).metrics[2:]
    assert of_ssim["series"][0]["values"][1] is None
    assert [series["values"] for series in of_judge["series"]] == [[0.0, 0.0, 1.0], [0.0, None, 1.0]]


def test_large_pictures_have_smaller_difference_maps(show) -> None:
    raw, tuned = drawn_run(depth=1, size=512), drawn_run(depth=1, size=512)
    tuned.images = {0: Image.fromarray(255 - np.asarray(raw.images[0]))}
    comparison = Comparison(raw, tuned)
    values, most = plane(show(comparison), "difference", 0)
    assert values.shape == (1, 256, 256)
    assert values.mean() / 255 * most == pytest.approx(comparison.difference(0).mean(), rel=1e-2)


def test_equal_models_differ_nowhere(show) -> None:
    widget = show(Comparison(drawn_run(depth=2), drawn_run(depth=2)))
    assert widget._scales["difference"]["most"] == 0
    assert not any(widget._frames["difference/1"]["data"])
    assert (widget.columns, "attention" in widget._scales) == ([], False)


def test_attention_of_one_run_alone_is_no_difference(show) -> None:
    both = [attention_run(), attention_run()]
    widget = show(Comparison(*both))
    assert [column["text"] for column in widget.columns] == ["apink", "cat"]  # its tokens are joined
    assert set(widget._frames) >= {"attention/0", "attention/2"}
    assert "attention/1" not in widget._frames
    both[1].attention = None
    assert show(Comparison(*both)).columns == []
    both[1].attention = LensAttention(both[0].attention.plan)  # captured, and nothing painted yet
    assert show(Comparison(*both)).columns == []


def test_nothing_yet_and_the_still_picture(comparison, show) -> None:
    widget = show()
    assert (widget.status, repr(widget)) == ("empty", "DiffViewer()")
    assert "image/png" not in widget._repr_mimebundle_()[0]
    widget.show(comparison)
    assert (widget.status, widget.layer, widget.metric, widget._run) == ("done", 4, "state_cosine", 1)
    assert {entry["run"] for entry in widget._frames.values()} == {1}
    data = widget._repr_mimebundle_()[0]
    assert data["text/plain"] == f"DiffViewer({comparison!r})"
    assert max(Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).size) <= 768
    assert not widget._task_thread.running


def test_show_keeps_what_the_other_comparison_has_too(comparison, show) -> None:
    widget = show(comparison)
    widget.layer, widget.mode, widget.metric, widget.token = 2, "swap_grid", "attribution", 3
    widget.show(comparison)
    assert (widget.layer, widget.mode, widget.metric, widget.token) == (2, "swap_grid", "attribution", 3)
    widget.show(drawn_comparison(swapped=False))
    assert (widget.layer, widget.mode, widget.metric, widget.token) == (2, "side", "state_cosine", None)
    assert widget.layers == list(range(DEPTH))
    with pytest.raises(traitlets.TraitError, match=r"mode: there are no swapped runs.*attribution=True"):
        widget.mode = "swap_grid"


@pytest.mark.parametrize(
    ("trait", "value", "message"),
    [
        ("layer", 1, "layer 1 is not there: this comparison has layers 0, 2, 4"),
        ("mode", "wipe", "mode: 'wipe' is none of side, curtain, blink, difference, swap_grid"),
        ("metric", "judge", "metric: 'judge' is none of state_cosine, latent_rms, ssim, attribution"),
        ("token", "cat", "token"),
    ],
)
def test_values_that_cannot_be(comparison, show, trait, value, message) -> None:
    widget = show(comparison)
    before = getattr(widget, trait)
    with pytest.raises(traitlets.TraitError, match=message):
        setattr(widget, trait, value)
    assert getattr(widget, trait) == before


def test_what_is_no_comparison_is_refused(comparison, show) -> None:
    widget = show(comparison)
    for source in (comparison.raw, 3, None):
        with pytest.raises(TypeError, match=r"DiffViewer shows a Comparison.*compare\(raw, tuned, prompt\)"):
            widget.show(source)
    empty = Comparison(drawn_run(depth=2, images={}), drawn_run(depth=2, images={}))
    with pytest.raises(ValueError, match="no pictures yet"):
        widget.show(empty)
    assert (widget.prompt, widget._run) == (PROMPT, 0)


def test_a_run_that_was_stopped_or_failed_says_so(show) -> None:
    tuned = tuned_run()
    tuned.status, tuned.message, tuned.failures = "failed", "out of memory", {2: "not finite"}
    del tuned.images[2]
    widget = show(Comparison(drawn_run(depth=DEPTH), tuned))
    assert (widget.status, widget.message, widget.failures) == ("failed", "out of memory", {"tuned/2": "not finite"})


# -- of a training


def test_a_training_is_compared_with_the_model_before_it(tmp_path, show) -> None:
    history = training.finished((0, 50, 200), folder=tmp_path)
    widget = show(history, probe=1)
    assert widget._task_thread.flush(10)
    assert widget.models == {"raw": "difflens-tiny, epoch 0", "tuned": "difflens-tiny, epoch 200"}
    assert widget.prompt == "a photo of a dog"
    expected = show(Comparison(history.run(0, 1), history.run(200, 1)))
    assert widget.metrics == expected.metrics
    assert widget._frames["tuned/12"]["data"] == expected._frames["tuned/12"]["data"]


def test_a_job_is_followed_from_epoch_to_epoch(tmp_path, show) -> None:
    job = training.Training(training.new(tmp_path), (0, 50, 200), hold_at=50)
    widget = show(job.start())
    assert widget.status == "empty"
    assert "no epoch after epoch 0" in widget.notice
    job.go_on.set()
    job.result(60)
    assert widget._task_thread.flush(10)
    assert widget.models["tuned"] == "difflens-tiny, epoch 200"
    assert (widget.layer, widget.notice) == (12, "")


def test_a_training_shown_before_says_no_more(tmp_path, comparison, show) -> None:
    job = training.Training(training.new(tmp_path), (0, 50, 200), hold_at=200)
    widget = show(job.start())
    widget.show(comparison)
    job.go_on.set()
    job.result(60)
    assert widget._task_thread.flush(10)
    assert widget.prompt == comparison.prompt
    assert not any("epoch" in model for model in widget.models.values())


def test_an_unknown_prompt_of_a_training(tmp_path, show) -> None:
    history = training.finished((0, 50), folder=tmp_path)
    with pytest.raises(ValueError, match=r"probe: 3 is outside 0\.\.2"):
        show(history, probe=3)
