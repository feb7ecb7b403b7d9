"""TokenAttentionGrid at the message line: what it sends against what the run knows, its traits, its jobs."""

from __future__ import annotations

import base64
import io
import time
from dataclasses import replace

import numpy as np
import pytest
import traitlets
from diffusers import DDIMScheduler
from PIL import Image

from browser import scripted
from difflens_widgets import AttentionOptions, DiffusionLens, LensRun, PromptPart, TokenAttentionGrid, capture_attention
from difflens_widgets.runs.events import Failed, LayerImage
from difflens_widgets.runs.job import LensJob
from difflens_widgets.runs.maps.maps import AttentionMaps, BlockMaps, LensAttention
from difflens_widgets.runs.maps.plan import Block, Plan
from difflens_widgets.runs.render.attention_front_end import columns_of, encode_maps, view_maps, views_of
from difflens_widgets.runs.render.attention_still import draw_still
from difflens_widgets.runs.tokens import Token
from pipelines import small_pipeline
from stock import PROMPT

KEPT = AttentionOptions(steps=[0, 10])
CAT = 3  # its place in the scripted prompt


class Recorded(TokenAttentionGrid):
    """A grid whose messages to the browser are kept."""

    def __init__(self, *args):
        self.messages = []
        super().__init__(*args)

    def _send(self, msg, buffers=None):
        self.messages.append((msg, buffers or []))

    def custom(self, kind):
        found = [(m["content"], b) for m, b in self.messages if m["method"] == "custom"]
        return [(content, buffers) for content, buffers in found if content["type"] == kind]


@pytest.fixture
def show():
    widgets = []

    def build(*args):
        widgets.append(Recorded(*args))
        return widgets[-1]

    yield build
    for widget in widgets:
        widget.close()


@pytest.fixture(scope="module")
def run():
    return scripted.finished_run(attention=KEPT)


@pytest.fixture(scope="module")
def lens():
    return DiffusionLens(small_pipeline(DDIMScheduler), batch_size=2)


def decoded(widget, layer):
    """The maps of a layer as a browser reads them: by (block, step, column), with what one of 255 steps is."""
    data = widget._frames[f"maps/{layer}"]["data"]
    count = len(widget._views) * len(widget.columns)
    scales = np.frombuffer(data[: 4 * count], dtype="<f4").astype(float)
    maps, at = {}, 4 * count
    for view in widget._views:
        for column in widget.columns:
            scale = scales[len(maps)]
            pixels = view["height"] * view["width"]
            values = np.frombuffer(data[at : at + pixels], dtype=np.uint8).reshape(view["height"], view["width"])
            maps[view["block"], view["step"], column["token"]] = (values * scale / 255, scale / 255)
            at += pixels
    assert at == len(data)
    return maps


# -- what travels is what the run knows


def test_the_maps_are_those_of_the_run(lens, show) -> None:
    options = {"layers": [0, 4], "num_inference_steps": 3, "guidance_scale": 4.0}
    run = lens(PROMPT, attention=AttentionOptions(steps=[0, 2]), **options)
    widget = show(run)
    assert set(widget._frames) == {"layer/0", "layer/4", "maps/0", "maps/4"}
    assert widget._frames["maps/4"]["mime"] == "application/x-difflens-maps"
    blocks, steps = run.attention.blocks, (0, 2)
    assert (widget.blocks, widget.steps, widget.aggregator) == (list(blocks), [0, 2], "mean")
    for layer in (0, 4):
        maps = decoded(widget, layer)
        assert len(maps) == len(widget.columns) * (1 + len(blocks) + len(steps))
        for block, step in [(None, None), *((block, None) for block in blocks), *((None, step) for step in steps)]:
            for column in widget.columns:
                pieces = [PromptPart.PADDING] if column["kind"] == "pad" else column["positions"]
                asked = {"layer": layer, "block": block, "step": step}
                expected = np.mean([run.attention.heatmap(piece, **asked) for piece in pieces], axis=0)
                found, unit = maps[block, step, column["token"]]
                assert unit * 255 == pytest.approx(expected.max(), rel=1e-5)
                np.testing.assert_allclose(found, expected, atol=0.51 * unit)


def test_a_words_column_has_all_its_pieces_and_the_rest_stands_behind() -> None:
    columns = columns_of(scripted.tokens("two chameleons"))
    assert [(c.token, c.text, c.kind) for c in columns] == [
        (1, "two", "word"),
        (2, "chameleons", "word"),
        (0, "start", "bos"),
        (4, "end", "eos"),
        (-1, "padding", "pad"),
    ]
    assert columns[1].positions == [2, 3]
    assert columns[4].positions == list(range(5, 77))


def large_maps() -> AttentionMaps:
    """As of SDXL at 1024 × 768: maps of 128 × 96; a prompt without padding."""
    tokens = scripted.tokens("a dog")[:4]
    plan = Plan(tokens, "daam", 768, 1024, (96, 128), (Block("up_blocks.0", 96, 128, 2),), (3,), 1)
    rng = np.random.default_rng(0)
    maps = {"up_blocks.0": rng.random((4, 96, 128), dtype=np.float32)}
    return AttentionMaps(plan, BlockMaps(maps, 9), {3: BlockMaps(maps, 1)})


def test_a_template_is_one_column() -> None:
    around = [Token(0, "<|im_start|>", "template"), Token(2, "<|im_end|>", "template"), Token(3, "", "pad")]
    columns = columns_of((around[0], Token(1, "dog", "word", span=(0, 3)), *around[1:]))
    assert [(column.text, column.kind, column.positions) for column in columns] == [
        ("dog", "word", [1]),
        ("template", "template", [0, 2]),
        ("padding", "pad", [3]),
    ]


def test_large_maps_travel_smaller_and_keep_their_mean() -> None:
    maps = large_maps()
    assert [(view.height, view.width) for view in views_of(maps.plan)] == [(48, 64), (48, 64), (24, 32)]
    for view in views_of(maps.plan):
        means = view_maps(maps, view).mean((1, 2))
        expected = [maps.heatmap(word, block=view.block, step=view.step).mean() for word in ("a", "dog", 0, 3)]
        np.testing.assert_allclose(means, expected, rtol=1e-5)
    _, data = encode_maps(maps)
    assert len(data) == 4 * (3 * 4 + 2 * 48 * 64 + 24 * 32)


def test_what_is_looked_at_beside_the_tokens_has_no_column() -> None:
    """Of joint attention, where the picture looks at itself too."""
    maps = large_maps()
    tokens = scripted.tokens("a dog")[:6]  # two of padding
    plan = replace(maps.plan, tokens=tokens, rest_names=("image",))
    rng = np.random.default_rng(0)
    total = BlockMaps({"up_blocks.0": rng.random((plan.num_maps, 96, 128), dtype=np.float32)}, 9)
    joint = AttentionMaps(plan, total)
    found = view_maps(joint, views_of(plan)[0])
    assert [column.text for column in columns_of(tokens)] == ["a", "dog", "start", "end", "padding"]
    expected = [joint.heatmap(word).mean() for word in ("a", "dog", 0, 3, PromptPart.PADDING)]
    np.testing.assert_allclose(found.mean((1, 2)), expected, rtol=1e-5)


def test_a_run_from_a_file_has_its_maps(show, tmp_path) -> None:
    run = scripted.finished_run(attention=KEPT)
    saved, loaded = show(run), show(LensRun.load(run.save(tmp_path / "a.lens")))
    for layer in run.layers:
        assert loaded._frames[f"maps/{layer}"]["data"] == saved._frames[f"maps/{layer}"]["data"]
    assert (loaded.columns, loaded._views, loaded.status) == (saved.columns, saved._views, "done")


def test_maps_of_nothing_are_nothing() -> None:
    maps = large_maps()
    maps.total.maps["up_blocks.0"][:] = 0
    assert not any(encode_maps(maps)[1])


# -- what it opens with


def test_a_finished_run_is_complete_in_the_state_that_opens_the_widget(show, run) -> None:
    widget = show(run)
    assert set(widget._frames) == {f"{kind}/{layer}" for kind in ("layer", "maps") for layer in range(13)}
    assert (widget.status, widget.rows, widget.layer, widget.block, widget.step) == ("done", "layers", 12, None, None)
    assert (widget.selected_tokens, widget.token, widget.normalize, widget.opacity) == ([], None, "grid", 0.65)
    assert repr(widget) == "TokenAttentionGrid('a pink cat on a blue background', 13 of 13 layers, done)"
    assert widget._views[0] == {"block": None, "step": None, "height": 16, "width": 16}
    assert not widget._task_thread.running
    assert widget._esm


def test_nothing_yet(show) -> None:
    widget = show()
    assert (widget.status, repr(widget)) == ("empty", "TokenAttentionGrid()")
    assert "image/png" not in widget._repr_mimebundle_()[0]
    with pytest.raises(traitlets.TraitError, match="there are no words yet"):
        widget.selected_tokens = ["cat"]


@pytest.mark.parametrize("of", ["run", "job"])
def test_a_run_without_attention_is_refused_with_the_way_out(show, run, of) -> None:
    source = scripted.finished_run() if of == "run" else scripted.job(seconds=0.2)
    with pytest.raises(ValueError, match=r"has no attention maps.*lens\(prompt, attention=True\)"):
        show(source)
    widget = show(run)
    with pytest.raises(ValueError, match="has no attention maps"):
        widget.show(source)
    assert (widget.prompt, widget.status, widget._run) == (run.prompt, "done", 0)


@pytest.mark.parametrize("source", ["a pink cat", 3, {}])
def test_what_is_no_run_is_refused(show, source) -> None:
    with pytest.raises(TypeError, match=r"TokenAttentionGrid shows a LensRun or a LensJob.*lens\.start"):
        show(source)


# -- one stock picture


def test_the_maps_of_a_stock_picture(lens, show) -> None:
    pipe = lens.pipe
    with capture_attention(pipe, PROMPT, attention=AttentionOptions(steps=[1])) as maps:
        picture = pipe(PROMPT, num_inference_steps=2, height=32, width=32).images[0]
    widget = show(maps[0], picture)
    assert (widget.rows, widget.layers, widget.status, widget.steps) == ("blocks", [0], "done", [1])
    assert "seed" not in widget.settings
    assert widget.prompt == " ".join(maps[0].words)
    found, unit = decoded(widget, 0)["mid_block", None, 1]
    np.testing.assert_allclose(found, maps[0].heatmap(1, block="mid_block"), atol=0.51 * unit)
    assert Image.open(io.BytesIO(widget._frames["layer/0"]["data"])).convert("RGB").tobytes() == picture.tobytes()
    widget.rows = "steps"
    with pytest.raises(traitlets.TraitError, match="rows: a single picture has no layers"):
        widget.rows = "layers"
    with pytest.raises(TypeError, match=r"several pictures; show one: TokenAttentionGrid\(maps\[0\], picture\)"):
        show(maps, picture)
    with pytest.raises(TypeError, match=r"TokenAttentionGrid\(maps, picture\), a PIL image"):
        show(maps[0])
    with pytest.raises(TypeError, match="a PIL image"):
        show(maps[0], np.zeros((32, 32, 3)))
    with pytest.raises(ValueError, match="has 16 × 32 pixels; the maps are of one with 32 × 32"):
        show(maps[0], picture.resize((16, 32)))


def test_a_run_brings_its_own_pictures(show, run) -> None:
    with pytest.raises(TypeError, match="a picture belongs to AttentionMaps only"):
        show(run, run.images[0])


# -- traits


@pytest.mark.parametrize(
    ("trait", "value", "message"),
    [
        ("rows", "words", 'rows: expected "layers", "blocks" or "steps", got \'words\''),
        ("rows", None, "rows"),
        ("block", "attic", "block 'attic' is not there: there are down_blocks.0, mid_block, up_blocks.2"),
        ("layer", 13, "layer 13 is not there"),
        ("opacity", 1.2, r"opacity is 0\.\.1, not 1.2"),
        ("opacity", float("nan"), "opacity is"),
        ("opacity", "thin", "opacity"),
        ("normalize", "row", 'normalize: expected "grid" or "cell", got \'row\''),
        ("normalize", None, "normalize"),
        ("step", "first", "step"),
        ("token", "cat", "token"),
        ("selected_tokens", ["dog"], "selected_tokens: 'dog' is not in the prompt; its words are: 'a', 'pink'"),
        (
            "selected_tokens",
            ["a"],
            r"selected_tokens: 'a' stands 2 times .* give one of its positions: 1, 5",
        ),
        ("selected_tokens", [40], "selected_tokens: 40 is beyond this prompt, whose tokens are 0..9"),
        ("selected_tokens", [-2], "selected_tokens: -2 is beyond"),
        ("selected_tokens", ["pink cat"], "selected_tokens: 'pink cat' is more than one word; select each by itself"),
        ("selected_tokens", [PromptPart.PROMPT], "is more than one word"),
        ("selected_tokens", [2.5], "selected_tokens: expected a word"),
        ("selected_tokens", [1, 2, 3], "selected_tokens: at most 2 words, got 3"),
        ("selected_tokens", 3, "selected_tokens"),
    ],
)
def test_values_that_cannot_be(show, run, trait, value, message) -> None:
    widget = show(run)
    before = getattr(widget, trait)
    with pytest.raises(traitlets.TraitError, match=message):
        setattr(widget, trait, value)
    assert getattr(widget, trait) == before


def test_rows_of_steps_only_where_some_were_kept(show, run) -> None:
    widget = show(run)
    for rows in ("blocks", "steps", "layers"):
        widget.rows = rows
    widget.show(scripted.finished_run("a dog", attention=AttentionOptions()))
    with pytest.raises(traitlets.TraitError, match=r"rows: no step was kept.*AttentionOptions\(steps=\[0, 5, 10\]\)"):
        widget.rows = "steps"


def test_words_are_selected_by_text_position_or_part(show) -> None:
    widget = show(scripted.finished_run("two chameleons", attention=KEPT))
    for requested, selected in [
        (["chameleons"], [2]),
        ([3], [2]),  # its second piece
        ([np.int64(1), "CHAMELEONS"], [1, 2]),
        ([PromptPart.PADDING, 0], [-1, 0]),
        ([-1, 4], [-1, 4]),
        ([2, 3, "chameleons"], [2]),
        ([], []),
    ]:
        widget.selected_tokens = requested
        assert widget.selected_tokens == selected
        assert all(type(token) is int for token in widget.selected_tokens)


def test_token_is_the_first_selected_word(show, run) -> None:
    widget = show(run)
    widget.selected_tokens = ["cat", "blue"]
    assert widget.token == CAT
    widget.token = 2  # as by a link with another widget
    assert widget.selected_tokens == [2]
    widget.token = None
    assert widget.selected_tokens == []
    widget.token = PromptPart.PADDING
    assert (widget.token, widget.selected_tokens) == (-1, [-1])
    widget.token = PromptPart.PROMPT  # what a LayerSlider may have, and has no map
    assert (widget.token, widget.selected_tokens) == (-2, [])
    widget.set_state({"token": CAT, "selected_tokens": [CAT, 2]})  # as from the browser
    assert (widget.token, widget.selected_tokens) == (CAT, [CAT, 2])
    widget.selected_tokens = [2]
    assert widget.token == 2
    widget.selected_tokens = []
    assert widget.token is None


def test_a_piece_of_a_word_marks_the_word_and_stays_what_it_is(show) -> None:
    widget = show(scripted.finished_run("two chameleons", attention=KEPT))
    widget.token = 3
    assert (widget.token, widget.selected_tokens) == (3, [2])


# -- other runs


def test_show_keeps_what_the_other_run_has_too(show, run) -> None:
    widget = show(run)
    widget.rows, widget.block, widget.selected_tokens, widget.layer = "steps", "mid_block", ["cat"], 4
    widget.show(scripted.finished_run(attention=KEPT))
    assert (widget.rows, widget.block, widget.selected_tokens, widget.layer) == ("steps", "mid_block", [CAT], 4)
    widget.show(scripted.finished_run("a dog", attention=AttentionOptions()))
    assert (widget.rows, widget.block, widget.selected_tokens, widget.token) == ("blocks", "mid_block", [], None)
    maps = large_maps()
    widget.show(maps, Image.new("RGB", (1024, 768)))
    assert (widget.rows, widget.block, widget.layer, widget.blocks) == ("blocks", None, 0, ["up_blocks.0"])
    assert set(widget._frames) == {"layer/0", "maps/0"}
    assert {entry["run"] for entry in widget._frames.values()} == {widget._run} == {3}


# -- a job


def wait_until(condition, seconds=10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_maps_travel_once_when_their_layer_is_painted(show) -> None:
    job = scripted.job(seconds=0.3, hold_after=4, attention=KEPT)
    widget = show(job)
    assert (widget.status, widget.blocks) == ("running", ["down_blocks.0", "mid_block", "up_blocks.2"])
    wait_until(lambda: len(widget._frames) == 8)
    painted = sorted(job.run.images)
    assert set(widget._frames) == {f"{kind}/{layer}" for kind in ("layer", "maps") for layer in painted}
    while widget._channel.in_flight:
        widget.set_state({"_acknowledged": widget._channel._sent})
    wait_until(lambda: sum(content["key"].startswith("maps/") for content, _ in widget.custom("frame")) == 4)
    for content, [data] in widget.custom("frame"):
        if content["key"].startswith("maps/"):
            assert data == encode_maps(job.run.attention[int(content["key"][5:])])[1]
            assert content["final"]
    job.cancel()
    job.result(10)
    assert (widget.status, len(widget._frames)) == ("stopped", 8)
    assert set(widget.get_state("_frames")["_frames"]) == set(widget._frames)


def test_a_job_joined_in_the_middle_has_the_maps_that_are_there(show) -> None:
    job = scripted.job(seconds=0.2, hold_after=4, attention=KEPT)
    wait_until(lambda: len(job.run.images) == 4)
    widget = show(job)
    assert widget._task_thread.flush(5)
    assert len(widget._frames) == 8
    job.go_on.set()
    job.result(20)
    assert (widget.status, len(widget._frames)) == ("done", 26)


def test_a_real_job_brings_maps_layer_by_layer(lens, show) -> None:
    job = lens.start(PROMPT, num_inference_steps=2, attention=True)
    widget = show(job)
    run = job.result(60)
    assert widget.status == "done"
    expected = {f"maps/{layer}": encode_maps(run.attention[layer])[1] for layer in run.layers}
    assert {key: entry["data"] for key, entry in widget._frames.items() if key in expected} == expected


def test_a_layer_that_fails_or_has_no_maps_leaves_the_others(show) -> None:
    run = scripted.empty_run(attention=KEPT)

    def work(job):
        run.attention.add(4, scripted.attention_maps(run.attention.plan, 4))
        for event in (Failed(3, "not finite"), LayerImage(4, scripted.picture(4)), LayerImage(5, scripted.picture(5))):
            job.emit(event)

    job = LensJob(run, work)
    widget = show(job)
    job.start().result(5)
    assert widget.failures == {"3": "not finite"}
    assert set(widget._frames) == {"layer/4", "maps/4", "layer/5"}


def test_the_layer_on_screen_is_painted_next(show) -> None:
    job = scripted.job(seconds=0.2, hold_after=4, attention=KEPT)
    widget = show(job)
    widget.set_state({"layer": 9})
    assert (job.focus, widget._channel.first) == (9, "layer/9")
    widget._handle_custom_msg({"type": "stop"}, [])
    job.result(10)
    assert widget.status == "stopped"


# -- without a widget


def test_the_bundle_carries_a_small_picture_of_words_and_layers(show, run) -> None:
    data, _ = show(run)._repr_mimebundle_()
    image = Image.open(io.BytesIO(base64.b64decode(data["image/png"])))
    assert image.format == "PNG"
    assert max(image.size) <= 768
    assert len(data["image/png"]) < 600_000


def test_the_still_picture_shows_where_words_look(run) -> None:
    sheet = draw_still(run, run.attention)
    other = scripted.finished_run(attention=KEPT)
    maps = other.attention[12]
    for of_block in maps.total.maps.values():
        of_block[CAT] = 0
    ours, theirs = np.asarray(sheet).astype(int), np.asarray(draw_still(other, other.attention)).astype(int)
    ys, xs = np.nonzero(np.abs(ours - theirs).sum(2))
    cell = {"top": 24 + 12 * 60, "left": 92 + 2 * 60}  # the last row, the third word
    assert cell["top"] <= ys.min() < ys.max() < cell["top"] + 56
    assert cell["left"] <= xs.min() < xs.max() < cell["left"] + 56


def test_a_still_picture_of_very_much_is_as_large_as_others() -> None:
    run = scripted.finished_run("word " * 60, attention=KEPT)
    run.layers = tuple(range(32))
    for layer in run.layers:
        run.images[layer] = scripted.picture(layer % 13)
        run.attention.add(layer, scripted.attention_maps(run.attention.plan, layer))
    sheet = draw_still(run, run.attention)
    assert max(sheet.size) < 900
    one = scripted.finished_run("a dog", attention=KEPT)
    one.images = {4: one.images[4]}
    assert draw_still(one, one.attention).height == 48 + 4 * 60  # of one picture its blocks


def test_a_still_picture_of_a_prompt_without_words() -> None:
    run = scripted.finished_run("", attention=KEPT)
    assert draw_still(run, run.attention).width == 320


def test_files_it_does_not_write_are_refused(show, run) -> None:
    widget = show(run)
    widget._handle_custom_msg({"type": "export", "format": "gif"}, [])
    wait_until(lambda: widget.custom("file"))
    assert "a TokenAttentionGrid is not saved as gif" in widget.custom("file")[0][0]["error"]


def test_a_record_of_a_running_job_says_how_to_follow_it(show) -> None:
    run = scripted.empty_run(attention=KEPT)
    assert isinstance(run.attention, LensAttention)
    widget = show(run)
    assert (widget.status, widget._frames) == ("stopped", {})
    assert "job" in widget.notice
