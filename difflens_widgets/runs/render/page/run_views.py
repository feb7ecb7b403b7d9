"""A lens run as the views of a page: a LayerSlider, and a TokenAttentionGrid if the run has attention maps."""

from __future__ import annotations

from textwrap import shorten
from typing import Any

from PIL import Image

from ...record import BLACKED_OUT, RunRecord
from ..attention_front_end import attention_state, is_stock_picture, views_of
from ..attention_still import draw_still
from ..front_end import FOLLOW, frame_key, on_screen, record_state
from .view import PageView, kept, left_out

_MOST_LETTERS = 60  # of the changes in a title


def run_views(run: RunRecord, thinning: int = 0) -> list[PageView]:
    """The views of a run; see `WithPage.page_views`."""
    views = [] if is_stock_picture(run) else [slider_view(run, thinning)]
    if run.attention is not None and len(run.attention):
        views.append(attention_view(run, thinning))
    return views


def slider_view(run: RunRecord, thinning: int = 0) -> PageView:
    """The page of a LayerSlider. Thinned, it has fewer steps (1), no steps (2), and fewer layers (3, 4)."""
    state, words = _common(run, thinning, record_state(run))
    snapshots = state["snapshots"]
    if snapshots and thinning:
        state["snapshots"] = kept(snapshots, 2) if thinning == 1 else []
        gone = {frame_key(layer, step) for layer in run.layers for step in {*snapshots} - {*state["snapshots"]}}
        state["_frames"] = {key: frame for key, frame in state["_frames"].items() if key not in gone}
        words.insert(0, left_out(2, "denoising step") if thinning == 1 else "the denoising steps")
    return PageView("layer_slider", "Layers", name_of(run), state, _stills(run, state["layers"]), words)


def attention_view(run: RunRecord, thinning: int = 0) -> PageView:
    """The page of a TokenAttentionGrid. Thinned: no maps of steps (1), none of blocks (2), and fewer layers (3, 4)."""
    attention = run.attention
    if attention is None:
        raise ValueError(f"this run has no attention maps: {name_of(run)}")
    views = views_of(attention.plan)
    if thinning:
        views = [view for view in views if view.step is None and (view.block is None or thinning == 1)]
    state, words = _common(run, thinning, attention_state(run, attention, views=views))
    choices: dict[str, Any] = {
        "rows": "blocks" if is_stock_picture(run) else "layers",
        "block": None,
        "selected_tokens": [],
    }
    state |= {**choices, "normalize": "grid", "opacity": 0.65}
    if thinning > 1:
        words.insert(0, "the maps of single blocks")
    if thinning and attention.plan.steps:
        words.insert(0, "the maps of single denoising steps")
    stills = [("", draw_still(run, attention))]
    return PageView("token_attention_grid", "Attention", name_of(run), state, stills, words)


def _stills(run: RunRecord, layers: list[int]) -> list[tuple[str, Image.Image]]:
    """The images by layer; of a run with variants one of these, as they are all the same, and those of the variants."""
    black = f", {BLACKED_OUT}"
    found = [
        (run.name_of(layer) + black * (layer in run.flagged), image)
        for layer, image in sorted(run.images.items())
        if layer in layers
    ]
    if not run.variants:
        return found
    keys = [(layer, token) for token in run.variants for layer in layers]
    return found[:1] + [
        (run.name_of(*key) + black * (key in run.flagged_tokens), run.token_images[key])
        for key in keys
        if key in run.token_images
    ]


def name_of(run: RunRecord) -> str:
    """The prompt in one line; of a patch or steering also what it changes."""
    prompt = " ".join(run.prompt.split()) or "(empty prompt)"
    changes = shorten(", ".join(run.variants), _MOST_LETTERS, placeholder=" …")
    return f"{prompt} · {changes}" if changes else prompt


def _common(run: RunRecord, thinning: int, state: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The state with the traits that the browser sets, thinned to fewer layers; and what that left out."""
    if not run.images:
        raise ValueError(f"this run has no pictures yet: {name_of(run)}")
    every = {3: 2, 4: 4}.get(thinning, 1)
    layers = kept(state["layers"], every)
    gone = {*state["layers"]} - {*layers}
    # "layer/5", "layer/5/step/3", "maps/5"
    frames = {key: frame for key, frame in state["_frames"].items() if int(key.split("/")[1]) not in gone}
    first = on_screen(run)
    layer = first.layer if first.layer in layers else layers[-1]  # thinned
    choices = {"layer": layer, "token": first.token, "step": None, "_acknowledged": 0}
    notice = state["notice"].removesuffix(FOLLOW)
    words = [left_out(every, "layer")] if gone else []
    return {**state, **choices, "notice": notice, "layers": layers, "_frames": frames}, words
