"""Lens runs for tests of the record and the exports, made of drawn scenes: real pictures, no model."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from difflens_widgets.runs.maps.maps import AttentionMaps, BlockMaps, LensAttention
from difflens_widgets.runs.maps.plan import Block, Plan
from difflens_widgets.runs.run import LensRun
from difflens_widgets.runs.tokens import Token
from difflens_widgets.tiny.drawing import draw
from difflens_widgets.tiny.scenes import sample_scene

SETTINGS: dict[str, Any] = {
    "num_inference_steps": 4,
    "guidance_scale": 7.5,
    "negative_prompt": "",
    "height": 64,
    "width": 64,
    "scheduler": "DDIMScheduler",
    "model": "difflens-tiny",
    "model_hash": "00ff",
    "dtype": "float32",
    "batch_size": 4,
    "versions": {"diffusers": "0.42.1", "extra": [1, 2.5, None, True]},
}


def picture(index: int, size: int = 64) -> Image.Image:
    """A drawn scene with a little noise, as painted pictures have."""
    rng = np.random.default_rng(index)
    noise = rng.integers(-6, 7, (size, size, 3))
    return Image.fromarray((np.asarray(draw(sample_scene(rng), size), dtype=int) + noise).clip(0, 255).astype(np.uint8))


def tokens_of(prompt: str) -> tuple[Token, ...]:
    """Tokens as a word-wise tokenizer would give them."""
    words = prompt.split()
    inner = [Token(i, word, "word", is_continuation=i == 2) for i, word in enumerate(words, 1)]
    return (Token(0, "<|startoftext|>", "bos"), *inner, Token(len(words) + 1, "<|endoftext|>", "eos"))


def padded_tokens(prompt: str, length: int) -> tuple[Token, ...]:
    """As `tokens_of`, padded as the text encoder's input is."""
    tokens = tokens_of(prompt)
    return (*tokens, *(Token(index, "<|endoftext|>", "pad") for index in range(len(tokens), length)))


def drawn_attention(
    tokens: tuple[Token, ...], layers: tuple[int, ...], steps: tuple[int, ...] = (1, 3), aggregator: str = "mean"
) -> LensAttention:
    """Made-up maps of two blocks, the first one's single steps pooled, of 4 steps of two forwards each."""
    blocks = (Block("down_blocks.0", 8, 4, 3, step_pool_factor=2), Block("mid_block", 2, 1, 1))
    plan = Plan(tokens, aggregator, 64, 32, (8, 4), blocks, steps, len(layers))
    attention = LensAttention(plan)
    for layer in layers:
        rng = np.random.default_rng(layer)

        def maps(field: str, rng: np.random.Generator = rng) -> dict[str, np.ndarray]:
            sizes = {block.name: block.size(getattr(block, field)) for block in blocks}
            return {name: rng.random((plan.num_maps, *size), dtype=np.float32) for name, size in sizes.items()}

        by_step = {step: BlockMaps(maps("step_pool_factor"), 2) for step in steps}
        attention.add(layer, AttentionMaps(plan, BlockMaps(maps("pool_factor"), 8), by_step))
    return attention


def drawn_run(
    prompt: str = "a pink cat on a blue background", depth: int = 13, size: int = 64, **fields: Any
) -> LensRun:
    """A finished run with everything a run can have."""
    rng = np.random.default_rng(0)
    tokens = tokens_of(prompt)
    arguments: dict[str, Any] = {
        "prompt": prompt,
        "tokens": tokens,
        "layers": tuple(range(depth)),
        "num_layers": depth,
        "seed": 0,
        "settings": dict(SETTINGS),
        "states": rng.normal(size=(depth, len(tokens), 8)).astype(np.float16),
        "images": {layer: picture(layer, size) for layer in range(depth)},
        "latents": {layer: rng.normal(size=(4, 16, 16)).astype(np.float32) for layer in range(depth)},
        "snapshots": {(layer, step): picture(100 + layer + step, size) for layer in (0, depth - 1) for step in (0, 2)},
        "status": "done",
    }
    return LensRun(**{**arguments, **fields})


TOKENS = padded_tokens("a pink cat", 8)


def attention_run(**fields: Any) -> LensRun:
    """A finished run of three layers, two of which have attention maps."""
    attention = drawn_attention(TOKENS, (0, 2))
    return drawn_run("a pink cat", depth=3, **{"tokens": TOKENS, "attention": attention, "states": None, **fields})


def assert_same(a: LensRun, b: LensRun) -> None:
    """Every field equal, pictures and arrays bit by bit."""
    for name in ("prompt", "tokens", "layers", "num_layers", "seed", "settings", "failures", "status", "message"):
        assert getattr(a, name) == getattr(b, name), name
    assert (list(a.token_masks.items()), a.token_failures) == (list(b.token_masks.items()), b.token_failures)
    for mine, theirs in ((a.images, b.images), (a.snapshots, b.snapshots), (a.token_images, b.token_images)):
        assert list(mine) == list(theirs)
        for key, image in mine.items():
            assert (image.mode, image.size, image.tobytes()) == (
                theirs[key].mode,
                theirs[key].size,
                theirs[key].tobytes(),
            )
    assert list(a.latents) == list(b.latents)
    pairs = [(array, b.latents[layer]) for layer, array in a.latents.items()]
    assert_same_attention(a.attention, b.attention)
    assert (a.states is None) == (b.states is None)
    if a.states is not None and b.states is not None:
        pairs.append((a.states, b.states))
    for mine, theirs in pairs:
        assert (mine.dtype, mine.shape, mine.tobytes()) == (theirs.dtype, theirs.shape, theirs.tobytes())


def assert_same_attention(a: LensAttention | None, b: LensAttention | None) -> None:
    """Plan and maps equal, bit by bit."""
    assert (a is None) == (b is None)
    if a is None or b is None:
        return
    assert (a.plan, a.layers, a.words, a.blocks, a.steps) == (b.plan, b.layers, b.words, b.blocks, b.steps)
    for layer in a:
        assert list(a[layer].by_step) == list(b[layer].by_step)
        pairs = [(a[layer].total, b[layer].total)]
        pairs += [(a[layer].by_step[step], b[layer].by_step[step]) for step in a[layer].by_step]
        for mine, theirs in pairs:
            assert (mine.forwards, list(mine.maps)) == (theirs.forwards, list(theirs.maps))
            for block, maps in mine.maps.items():
                other = theirs.maps[block]
                assert (maps.dtype, maps.shape, maps.tobytes()) == (other.dtype, other.shape, other.tobytes())
