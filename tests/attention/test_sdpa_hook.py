"""The probabilities that are captured are those of torch: with them the values give what torch gives."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode, _get_current_function_mode_stack

from difflens_widgets.attention import sdpa_hook
from difflens_widgets.attention.sdpa_hook import SdpaCall, capture_sdpa
from interrupts import interrupted

ROWS, HEADS, QUERIES, KEYS, WIDTH = 2, 3, 7, 7, 4


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(sum(shape)))


class Attention(torch.nn.Module):
    """Calls torch with whatever it is made with, by name or by position."""

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
    ids=["plain", "scale", "causal", "causal by position", "mask", "bias by position", "mask of all rows"],
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


# Ctrl-C


class Softmaxed(Attention):
    """Also calls a function of torch that is written in Python: for its time, torch takes the mode off the stack."""

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        return super().forward(query, key, torch.nn.functional.softmax(value, dim=-1))


class Mode(TorchFunctionMode):
    """A user's own."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return func(*args, **(kwargs or {}))


FILES = {sdpa_hook.__file__, torch.overrides.__file__, torch.nn.modules.module.__file__}


@pytest.mark.parametrize("modes", [[], [Mode()]], ids=["no mode", "a mode of the user's"])
def test_an_interrupt_at_any_line_is_a_keyboard_interrupt_and_leaves_nothing(modes) -> None:
    module, inputs = Softmaxed(), [drawn(1, HEADS, QUERIES, WIDTH)] * 3
    calls: list[SdpaCall] = []

    def work() -> None:
        with capture_sdpa({"it": module}, lambda name, call: calls.append(call), lambda name: None):
            module(*inputs)

    line = 0
    with ExitStack() as stack:
        for mode in modes:
            stack.enter_context(mode)
        while interrupted(work, line, FILES):
            assert _get_current_function_mode_stack() == modes, line
            calls.clear()
            module(*inputs)
            assert calls == [], line
            line += 1
    assert line > 100
    assert len(calls) == 1, "the last time it was not interrupted"


# threads


def elsewhere(work: Callable[[], Any]) -> None:
    """Do it in another thread, and wait for that."""
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_what_another_thread_does_meanwhile_is_not_captured() -> None:
    module, inputs = Softmaxed(), [drawn(1, HEADS, QUERIES, WIDTH)] * 3
    found: list[str] = []

    def forward() -> None:
        module(*inputs)
        found.append(f"{len(_get_current_function_mode_stack())} modes")

    def on_call(name: str, call: SdpaCall) -> None:
        found.append("call")
        if found.count("call") == 1:
            elsewhere(forward)

    with capture_sdpa({"it": module}, on_call, found.append):
        elsewhere(forward)
        module(*inputs)
        elsewhere(forward)
    assert found == ["0 modes", "call", "0 modes", "it", "0 modes"]
    assert _get_current_function_mode_stack() == []
