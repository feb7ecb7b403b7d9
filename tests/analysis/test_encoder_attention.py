"""The text encoder's self-attention, against arithmetic by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, EulerDiscreteScheduler

from difflens_widgets import DiffusionLens, encoder_attention
from pipelines import small_pipeline, small_sd2_pipeline, small_sdxl_pipeline
from stock import PROMPT


def by_hand(encoder, ids: torch.Tensor) -> np.ndarray:
    """(block, head, token, token) in float64, from the states before each block and its own weights."""
    with torch.inference_mode():
        states = encoder(ids, output_hidden_states=True).hidden_states
        weights = []
        for state, block in zip(states, getattr(encoder, "text_model", encoder).encoder.layers, strict=False):
            normed = block.layer_norm1(state)[0]
            attention = block.self_attn
            query, key = (
                project(normed).double().unflatten(-1, (attention.num_heads, -1)).transpose(0, 1).numpy()
                for project in (attention.q_proj, attention.k_proj)
            )
            scores = query @ key.transpose(0, 2, 1) / np.sqrt(query.shape[-1])
            scores[:, np.triu(np.ones(scores.shape[1:], dtype=bool), 1)] = -np.inf
            powers = np.exp(scores - scores.max(-1, keepdims=True))
            weights.append(powers / powers.sum(-1, keepdims=True))
    return np.stack(weights)


def count_hooks(encoder) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in encoder.modules())


LENSES = {
    "sd1": (lambda: DiffusionLens(small_pipeline(DDIMScheduler)), (4, 4)),
    "sd2": (lambda: DiffusionLens(small_sd2_pipeline(DDIMScheduler)), (3, 4)),
    "sdxl-1": (lambda: DiffusionLens(small_sdxl_pipeline(EulerDiscreteScheduler)), (2, 4)),
    "sdxl-2": (
        lambda: DiffusionLens(small_sdxl_pipeline(EulerDiscreteScheduler), text_encoder="text_encoder_2"),
        (4, 4),
    ),
}


@pytest.mark.parametrize("name", LENSES)
def test_it_is_the_encoders_own(name) -> None:
    make, (blocks, heads) = LENSES[name]
    lens = make()
    number = "" if lens.text_encoder == "text_encoder" else "_2"
    encoder, tokenizer = (getattr(lens.pipe, f"{part}{number}") for part in ("text_encoder", "tokenizer"))
    lens.encode(PROMPT)  # transformers puts hooks of its own on at first use
    before = count_hooks(encoder)
    seen = encoder_attention(lens, PROMPT)
    ids = tokenizer(PROMPT, padding="max_length", return_tensors="pt").input_ids
    assert seen.weights.shape == (blocks, heads, 77, 77)
    assert seen.weights.dtype == np.float32
    np.testing.assert_allclose(seen.weights, by_hand(encoder, ids)[:blocks], atol=2e-6)
    np.testing.assert_allclose(seen.weights.sum(-1), 1, atol=1e-5)
    assert not np.triu(seen.weights, 1).any()
    assert [token.text for token in seen.tokens[1:4]] == ["a", "red", "circle"]
    assert np.array_equal(seen.block(blocks), seen.weights[-1])
    assert count_hooks(encoder) == before


def test_another_prompt_is_another_attention() -> None:
    lens = DiffusionLens(small_pipeline(DDIMScheduler))
    first, second = (encoder_attention(lens, prompt) for prompt in (PROMPT, "a green star"))
    assert np.abs(first.weights - second.weights).max() > 1e-2


def test_errors() -> None:
    lens = DiffusionLens(small_pipeline(DDIMScheduler))
    for number in (0, 5):
        with pytest.raises(ValueError, match=rf"block: there is no number {number}; .* 1\.\.4"):
            encoder_attention(lens, PROMPT).block(number)
    with pytest.raises(TypeError, match="prompt: expected str"):
        encoder_attention(lens, ["a", "b"])
    lens.pipe.text_encoder.set_attn_implementation("eager")
    with pytest.raises(RuntimeError, match=r"block 1 of the text encoder .*set_attn_implementation\(.sdpa"):
        encoder_attention(lens, PROMPT)
    lens.pipe.text_encoder.set_attn_implementation("sdpa")
    assert encoder_attention(lens, PROMPT).weights.shape[0] == 4
