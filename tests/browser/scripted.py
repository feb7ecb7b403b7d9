"""A lens job without a model: it "paints" drawn scenes slowly, and emits the events of a real job.

Notebooks of the browser tests import it in the kernel, so it imports no torch.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from difflens_widgets.analysis.comparison.comparison import Comparison
from difflens_widgets.analysis.comparison.file import SWAPPED
from difflens_widgets.runs.events import (
    Failed,
    LayerImage,
    Message,
    Preview,
    Progress,
    Snapshot,
    TokenFailed,
    TokenImage,
)
from difflens_widgets.runs.job import LensJob
from difflens_widgets.runs.maps.maps import AttentionMaps, BlockMaps, LensAttention
from difflens_widgets.runs.maps.options import AttentionOptions
from difflens_widgets.runs.maps.plan import Plan, plan_capture
from difflens_widgets.runs.run import LensRun
from difflens_widgets.runs.tokens import PromptPart, Token, TokenKey, read_words
from difflens_widgets.tiny.drawing import draw
from difflens_widgets.tiny.scenes import Item, Scene

NUM_LAYERS = 13
COLOURS = (
    "orange",
    "brown",
    "red",
    "yellow",
    "green",
    "blue",
    "purple",
    "black",
    "white",
    "orange",
    "pink",
    "pink",
    "pink",
)
KINDS = ("ring", "circle", "heart", "star", "bear", "dog", "bear", "rabbit", "cat", "cat", "cat", "cat", "cat")


@cache
def picture(layer: int, size: int = 64) -> Image.Image:
    """The picture of a layer; each layer shows another thing in another colour."""
    item = Item(KINDS[layer], COLOURS[layer], 0.5, 0.52, 0.1 + 0.02 * layer)
    background = "white" if layer < 4 else "blue" if COLOURS[layer] != "blue" else "yellow"
    return draw(Scene((item,), background, "object", ""), size)


@cache
def token_picture(layer: int, token: TokenKey, size: int = 64) -> Image.Image:
    """The picture of a layer with only `token` kept."""
    number = [PromptPart.PADDING, PromptPart.PROMPT].index(token) + 7 if isinstance(token, PromptPart) else token
    item = Item(KINDS[(3 * number + layer // 4) % 13], COLOURS[(5 * number) % 13], 0.5, 0.5, 0.12 + 0.015 * layer)
    return draw(Scene((item,), "white", "object", ""), size)


def snapshot(layer: int, step: int, steps: int = 20, size: int = 64) -> Image.Image:
    """The prediction of a layer at denoising step `step`."""
    return _noisy(layer, (step + 1) / steps, size, np.random.default_rng(step))


def tokens(prompt: str) -> tuple[Token, ...]:
    """One token for each word, and two for a word of more than six letters."""
    found = [Token(0, "<|startoftext|>", "bos")]
    for word in prompt.split():
        cut = len(word) - 3 if len(word) > 6 else len(word)
        found.append(Token(len(found), word[:cut], "word"))
        if word[cut:]:
            found.append(Token(len(found), word[cut:], "word", is_continuation=True))
    found.append(Token(len(found), "<|endoftext|>", "eos"))
    found += [Token(index, "<|endoftext|>", "pad") for index in range(len(found), 77)]
    return tuple(found)


@dataclass
class CrossLayer:
    """A cross-attention layer of a U-Net that does not exist, with what a plan asks of it."""

    block: str
    num_downsamples: int
    heads: int = 2

    def size(self, height: int, width: int) -> tuple[int, int]:
        """The resolution there."""
        return height >> self.num_downsamples, width >> self.num_downsamples


def plan(tokens: tuple[Token, ...], options: AttentionOptions, size: int = 64) -> Plan:
    """The plan of the attention maps of pictures of `size` pixels a side, with latents of 16 × 16."""
    layers = [CrossLayer("down_blocks.0", 0), CrossLayer("mid_block", 2), CrossLayer("up_blocks.2", 0)]
    sizes = {"grid": (16, 16), "vae_scale_factor": size // 16, "steps": 20, "pictures": NUM_LAYERS}
    return plan_capture(layers, tokens, options, **sizes)


def attention_maps(plan: Plan, layer: int) -> AttentionMaps:
    """Maps in which each token looks at a spot of its own, higher up in every layer, and the start token everywhere."""
    return AttentionMaps(
        plan,
        BlockMaps(
            {block.name: _spots(plan.num_maps, layer, block.height, block.width) * 40 for block in plan.blocks}, 40
        ),
        {
            step: BlockMaps(
                {block.name: _spots(plan.num_maps, step, block.height, block.width) for block in plan.blocks}, 1
            )
            for step in plan.steps
        },
    )


def _spots(rows: int, layer: int, height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width] / np.array([height, width])[:, None, None]
    centres = 0.15 + 0.7 * np.arange(rows)[:, None, None] / rows
    spots = np.exp(-40 * ((x - centres) ** 2 + (y - 0.85 + 0.05 * layer) ** 2)) * 0.1
    spots[0] = 0.5
    return spots.astype(np.float32)


def empty_run(
    prompt: str = "a pink cat on a blue background",
    layers: range = range(NUM_LAYERS),
    snapshots: Sequence[int] = (),
    words: Sequence[str | PromptPart] = (),
    attention: AttentionOptions | None = None,
) -> LensRun:
    """A record of which nothing is painted yet, that has room for `snapshots`, single `words` and `attention`."""
    settings = {"num_inference_steps": 20, "guidance_scale": 7.5, "negative_prompt": "", "model": "difflens-tiny"}
    run = LensRun(prompt, tokens(prompt), tuple(layers), NUM_LAYERS, 0, {**settings, "snapshots": list(snapshots)})
    for requested in words:
        if isinstance(requested, PromptPart):
            kinds = ("pad",) if requested is PromptPart.PADDING else ("word", "eos")
            run.token_masks[requested] = tuple(token.index for token in run.tokens if token.kind in kinds)
        else:
            found = next(word for word in read_words(run.tokens) if "".join(piece.text for piece in word) == requested)
            run.token_masks[found[0].index] = tuple(piece.index for piece in found)
    run.attention = LensAttention(plan(run.tokens, attention)) if attention else None
    return run


def finished_run(
    prompt: str = "a pink cat on a blue background",
    size: int = 64,
    snapshots: Sequence[int] = (),
    words: Sequence[str | PromptPart] = (),
    attention: AttentionOptions | None = None,
) -> LensRun:
    """A record with everything painted."""
    run = empty_run(prompt, snapshots=snapshots, words=words, attention=attention)
    for layer in run.layers if run.attention is not None else ():
        run.attention.add(layer, attention_maps(run.attention.plan, layer))
    run.images = {layer: picture(layer, size) for layer in run.layers}
    run.snapshots = {(layer, step): snapshot(layer, step, size=size) for layer in run.layers for step in snapshots}
    run.token_images = {
        (layer, token): token_picture(layer, token, size) for token in run.token_masks for layer in run.layers
    }
    run.status = "done"
    return run


def comparison(prompt: str = "a pink cat on a blue background", size: int = 64) -> Comparison:
    """Two finished runs and the two swapped ones: the tuned parts paint other scenes, more so in later layers."""
    runs = {}
    for number, (encoder, unet) in enumerate((("raw", "raw"), ("tuned", "tuned"), *SWAPPED)):
        run = finished_run(prompt, size, attention=AttentionOptions())
        for layer in run.layers:
            rng = np.random.default_rng(layer)  # for all runs the same
            start, by_encoder, by_unet = (rng.normal(size=(4, 8, 8)) for _ in range(3))
            tuned = (encoder == "tuned") * layer / 12 * by_encoder + (unet == "tuned") * 0.3 * by_unet
            run.latents[layer] = (start + tuned).astype(np.float32)
            if number:
                rng = np.random.default_rng([layer, number])
                run.images[layer] = Image.blend(run.images[layer], picture((layer + number) % 13, size), layer / 24)
                maps = run.attention[layer].total.maps  # type: ignore[index]
                for of_block in maps.values():
                    of_block *= 1 + 0.1 * rng.normal(size=of_block.shape)
        runs[encoder, unet] = run
    return Comparison(runs.pop(("raw", "raw")), runs.pop(("tuned", "tuned")), runs)


def job(
    prompt: str = "a pink cat on a blue background",
    *,
    seconds: float = 3.0,
    size: int = 64,
    batch_size: int = 4,
    fail_after: int | None = None,
    fail_layer: int | None = None,
    hold_after: int | None = None,
    snapshots: Sequence[int] = (),
    words: Sequence[str | PromptPart] = (),
    attention: AttentionOptions | None = None,
) -> LensJob:
    """A job that takes about `seconds`, started.

    After `fail_after` pictures the run breaks; `fail_layer` alone has no picture; after `hold_after` pictures the job
    waits until it is cancelled, or until its `go_on` is set.
    """
    run = empty_run(prompt, snapshots=snapshots, words=words, attention=attention)
    steps: int = run.settings["num_inference_steps"]
    go_on = threading.Event()

    def work(job: LensJob) -> None:
        todo: list[tuple[int, TokenKey | None]] = [
            (layer, token) for token in (None, *run.token_masks) for layer in run.layers
        ]
        total, finished = len(todo), 0
        rng = np.random.default_rng(0)
        pause = seconds / (-(-total // batch_size) * steps)

        def tell(now: Sequence[tuple[int, TokenKey | None]], step: int, left: float | None) -> None:
            layers = tuple(layer for layer, token in now if token is None)
            rows = tuple((layer, token) for layer, token in now if token is not None)
            counts = len(run.token_images) + len(run.token_failures), total - len(run.layers)
            done = len(run.images) + len(run.failures)
            job.emit(Progress(done, len(run.layers), layers, step, steps, left, *counts, rows))

        while todo and not job.cancelled():
            if (job.focus, None) in todo:
                todo.remove((job.focus, None))
                todo.insert(0, (job.focus, None))
            now, todo = todo[:batch_size], todo[batch_size:]
            for step in range(1, steps + 1):
                holding = hold_after is not None and finished >= hold_after and step == steps // 2
                while holding and not job.cancelled() and not go_on.wait(0.02):
                    pass
                if job.cancelled():
                    return
                if fail_after is not None and finished >= fail_after and step == steps // 2:
                    raise RuntimeError("the decoder gave NaN. Try dtype=torch.float32.")
                time.sleep(pause)
                tell(now, step, pause * (steps - step + steps * (-(-len(todo) // batch_size))))
                for layer, token in now:
                    if token is None and step - 1 in snapshots:
                        job.emit(Snapshot(layer, step - 1, snapshot(layer, step - 1, steps, size)))
                    if token is None and step % 2 == 0 and step < steps:
                        job.emit(Preview(layer, step, steps, _noisy(layer, step / steps, size, rng)))
            for layer, token in now:
                if layer == fail_layer:
                    why = "its latents are not finite (overflow in float16)"
                    job.emit(Failed(layer, why) if token is None else TokenFailed(layer, token, why))
                elif token is None:
                    if run.attention is not None:
                        run.attention.add(layer, attention_maps(run.attention.plan, layer))
                    job.emit(LayerImage(layer, picture(layer, size)))
                else:
                    job.emit(TokenImage(layer, token, token_picture(layer, token, size)))
            finished += len(now)
            tell((), steps, None)
        if fail_layer is not None:
            job.emit(Message("Out of memory: going on with 2 layers at a time."))

    started = LensJob(run, work)
    started.go_on = go_on  # type: ignore[attr-defined]
    return started.start()


def _noisy(layer: int, done: float, size: int, rng: np.random.Generator) -> Image.Image:
    clean = np.asarray(picture(layer, size), dtype=np.float32)
    noise = rng.normal(128, 60, clean.shape)
    return Image.fromarray(np.clip(done * clean + (1 - done) * noise, 0, 255).astype(np.uint8))
