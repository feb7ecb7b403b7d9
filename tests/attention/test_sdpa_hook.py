"""The probabilities that are captured are those of torch: with them the values give what torch gives."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from difflens_widgets.attention.sdpa_hook import SdpaCall, capture_sdpa

ROWS, HEADS, QUERIES, KEYS, WIDTH = 2, 3, 7, 7, 4


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


class Attention(torch.nn.Module):
    """Calls torch with whatever it is made with, by name or by place."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.args, self.kwargs = args, kwargs

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return scaled_dot_product_attention(query, key, value, *self.args, **self.kwargs)


BOOL_MASK = drawn(ROWS, 1, QUERIES, KEYS) < 0.8


@pytest.mark.parametrize(
    "module",
    [
        Attention(),
        Attention(scale=0.3),
        Attention(is_causal=True),
        Attention(None, 0.0, True),
        Attention(attn_mask=BOOL_MASK),
        Attention(drawn(1, HEADS, 1, KEYS)),
        Attention(attn_mask=BOOL_MASK[0, 0], scale=2.0),
    ],
    ids=["plain", "scale", "causal", "causal by place", "mask", "bias by place", "mask of all rows"],
)
def test_they_are_torchs_own(module) -> None:
    query, key, value = (drawn(ROWS, HEADS, count, WIDTH) + shift for shift, count in enumerate((QUERIES, KEYS, KEYS)))
    calls: list[SdpaCall] = []
    ended = []
    with capture_sdpa({"it": module}, lambda name, call: calls.append(call), ended.append):
        output = module(query, key, value)
    assert torch.equal(output, module(query, key, value))
    assert (len(calls), ended) == (1, ["it"])
    for row in range(ROWS):
        probabilities = calls[0].probabilities(row)
        torch.testing.assert_close(probabilities @ value[row], output[row])
        torch.testing.assert_close(probabilities.sum(-1), torch.ones(HEADS, QUERIES))


@pytest.mark.parametrize(
    "module", [Attention(), Attention(is_causal=True), Attention(attn_mask=BOOL_MASK), Attention(drawn(HEADS, 1, KEYS))]
)
@pytest.mark.parametrize(("queries", "sizes"), [(slice(None), (3, 3, 1)), (slice(2, 7), (3, 2)), (slice(1, 2), (1,))])
def test_chunks_of_some_queries(module, queries, sizes) -> None:
    query, key, value = (drawn(ROWS, HEADS, count, WIDTH) + shift for shift, count in enumerate((QUERIES, KEYS, KEYS)))
    calls: list[SdpaCall] = []
    with capture_sdpa({"it": module}, lambda name, call: calls.append(call), lambda name: None):
        module(query, key, value)
    for row in range(ROWS):
        chunks = [*calls[0].chunks(row, queries, max_values=3 * HEADS * KEYS)]
        assert tuple(chunk.shape[1] for chunk in chunks) == sizes
        torch.testing.assert_close(torch.cat(chunks, dim=1), calls[0].probabilities(row)[:, queries])
    assert [chunk.shape[1] for chunk in calls[0].chunks(0, queries, max_values=1)] == [1] * sum(sizes)


def test_they_are_computed_in_float32_whatever_surrounds_them() -> None:
    call = SdpaCall(drawn(1, HEADS, QUERIES, WIDTH).half(), drawn(1, HEADS, KEYS, WIDTH).half())
    plain = call.probabilities(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        surrounded = call.probabilities(0)
    assert plain.dtype == surrounded.dtype == torch.float32
    assert torch.equal(plain, surrounded)
    exact = call.query[0].double() @ call.key[0].double().transpose(-1, -2) / 2
    torch.testing.assert_close(plain, exact.softmax(-1).float())


def test_they_hold_no_gradient() -> None:
    query = drawn(1, HEADS, QUERIES, WIDTH).requires_grad_()
    assert not SdpaCall(query, query).probabilities(0).requires_grad
