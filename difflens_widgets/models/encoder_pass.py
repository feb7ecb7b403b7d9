"""One forward of a text encoder for one prompt: its output, and the hidden state after each of its blocks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .family import TextEncoder


@dataclass(frozen=True)
class EncoderPass:
    """The result of one forward for one prompt.

    Attributes
    ----------
    output : Any
        What the encoder returned for a batch of one, with all hidden states.
    states : Tensor (layer, position, width)
        The state after each block, before the final norm. Layer 0 is the embeddings; the last layer is the one that the
        pipeline reads.
    read_states : Tensor (layer, position, width)
        The same states as the pipeline reads them: after the final norm, if the family applies it.
    """

    output: Any
    states: Tensor
    read_states: Tensor


def run_encoder(
    declared: TextEncoder, encoder: nn.Module, args: Sequence[Any], kwargs: dict[str, Any], skip: int | None = None
) -> EncoderPass:
    """Run the encoder once with the arguments of the pipeline's call, and collect all hidden states.

    Parameters
    ----------
    args, kwargs
        The arguments of the pipeline's call, for one prompt.
    skip : int, optional
        A block to skip, 1 is the first: it returns its input.

    Raises
    ------
    RuntimeError
        If the state that the declaration names is not the state that the encoder returned there: this release of
        transformers applies the norm or counts the states in another way.
    """
    blocks = declared.blocks_of(encoder)
    before_norm: list[Tensor] = []
    with ExitStack() as hooks:
        if skip is not None:
            hooks.enter_context(_skipped(blocks[skip - 1]))
        norm = declared.norm_of(encoder)
        hooks.enter_context(_pre_hook(norm, lambda given: before_norm.append(given[0])))
        output = _without_large(encoder(*args, **{**kwargs, "output_hidden_states": True}))
    if skip is not None and skip < len(blocks):
        output = _with_state(output, skip, hidden_states_of(output)[skip - 1])
    hidden = hidden_states_of(output)
    # whether the last one is normed depends on the version of transformers: take the norm's input
    raw = [*hidden[:-1], before_norm[-1] if before_norm else hidden[-1]]
    read = declared.read_layers(len(blocks))
    states = torch.cat(raw[: read[-1] + 1])
    read_states = norm(states) if declared.normed else states
    stock = read_of(declared, output)[-1]
    if stock.shape != read_states[-1:].shape or not torch.allclose(
        read_states[-1:].float(), stock.float(), rtol=1e-2, atol=1e-2, equal_nan=True
    ):
        raise RuntimeError(
            f"the last layer of {declared.name} is not what the pipeline reads: this version of transformers norms or "
            "counts its states otherwise; please report it"
        )
    return EncoderPass(output, states, read_states)


def hidden_states_of(output: Any) -> tuple[Tensor, ...]:
    """The hidden states in an encoder's output, which is a ModelOutput or a plain tuple."""
    found = getattr(output, "hidden_states", None)
    return found if found is not None else next(part for part in output if isinstance(part, tuple))


def read_of(declared: TextEncoder, output: Any) -> list[Tensor]:
    """The states in an output that the pipeline reads, each (row, position, width)."""
    if not declared.reads:
        return [output[0]]
    hidden = hidden_states_of(output)
    return [hidden[index] for index in declared.reads]


def with_reads(declared: TextEncoder, output: Any, states: Sequence[Tensor]) -> Any:
    """A copy of the output with `states` where the pipeline reads, in the order of `declared.reads`."""
    if not declared.reads:
        first = output[0]
        return map_tensors(lambda tensor: states[0] if tensor is first else tensor, output)
    hidden = list(hidden_states_of(output))
    replaced = {index % len(hidden): state for index, state in zip(declared.reads, states, strict=True)}
    exchanged = tuple(replaced.get(index, state) for index, state in enumerate(hidden))
    original = hidden_states_of(output)
    return _map_parts(lambda part: exchanged if part is original else part, output)


def _with_state(output: Any, layer: int, state: Tensor) -> Any:
    """A copy of the output with this state after a block that a hook changed or skipped.

    Before transformers 5, language models record what the block computed, ahead of the hook.
    """
    hidden = hidden_states_of(output)
    if torch.equal(hidden[layer], state):
        return output
    corrected = (*hidden[:layer], state, *hidden[layer + 1 :])
    return _map_parts(lambda part: corrected if part is hidden else part, output)


def map_tensors(change: Callable[[Tensor], Tensor], output: Any) -> Any:
    """A copy of the output with `change` applied to every tensor, also inside tuples; other values stay."""

    def part_of(part: Any) -> Any:
        if isinstance(part, Tensor):
            return change(part)
        if isinstance(part, tuple):
            return tuple(part_of(item) for item in part)
        return part

    return _map_parts(part_of, output)


def stacked(outputs: Sequence[Any]) -> Any:
    """Join outputs of one row each into one output with as many rows; a tensor that all of them share is not copied."""
    parts = [tensors_of(output) for output in outputs]
    rows = iter(zip(*parts, strict=True))

    def stack(_: Tensor) -> Tensor:
        same = next(rows)
        if all(tensor is same[0] for tensor in same):
            return same[0].expand(len(same), *same[0].shape[1:])
        return torch.cat(same)

    return map_tensors(stack, outputs[0])


def tensors_of(output: Any) -> list[Tensor]:
    """All tensors of an output, in the order of `map_tensors`."""
    found: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    map_tensors(keep, output)
    return found


def _without_large(output: Any) -> Any:
    """The output of a language model without its predictions and its cache, which no pipeline reads."""
    for name in ("logits", "past_key_values"):
        if getattr(output, name, None) is not None:
            output[name] = None
    return output


def _map_parts(change: Callable[[Any], Any], output: Any) -> Any:
    if isinstance(output, tuple):
        return tuple(map(change, output))
    if is_dataclass(output) and not isinstance(output, type):  # a ModelOutput
        names = [field.name for field in fields(output)]
        return type(output)(**{name: change(getattr(output, name)) for name in names})
    raise TypeError(f"a text encoder returned {type(output).__name__}, expected a ModelOutput or a tuple")


def run_changed(
    declared: TextEncoder,
    encoder: nn.Module,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    layer: int,
    change: Callable[[Tensor], Tensor],
) -> Any:
    """The output of a forward in which `change` is applied to the state after block `layer`, 0: the embeddings.

    The later blocks run on the changed state (1, position, width).

    Raises
    ------
    RuntimeError
        If the encoder does not run this block as a module: it is compiled.
    """
    blocks, states = declared.blocks_of(encoder), []

    def changed(state: Tensor) -> Tensor:
        states.append(change(state))
        return states[-1]

    hooked = _changed_output(blocks[layer - 1], changed) if layer else _changed_input(blocks[0], changed)
    with hooked:
        output = _without_large(encoder(*args, **{**kwargs, "output_hidden_states": True}))
    if len(states) != 1:
        raise RuntimeError(
            f"{declared.name} ran block {max(layer, 1)} {len(states)} times where one time was expected; if it is "
            "compiled (torch.compile), use the encoder that was not"
        )
    return _with_state(output, layer, states[0]) if layer < len(blocks) else output


def sharing_unread(declared: TextEncoder, output: Any, stock: Any) -> Any:
    """A copy of the output that holds `stock`'s hidden states where the pipeline does not read: they take no memory."""
    hidden, others = hidden_states_of(output), hidden_states_of(stock)
    read = {index % len(hidden) for index in declared.reads}
    shared = tuple(hidden[index] if index in read else other for index, other in enumerate(others))
    return _map_parts(lambda part: shared if part is hidden else part, output)


@contextmanager
def _pre_hook(module: nn.Module, listen: Callable[[tuple[Any, ...]], object]) -> Iterator[None]:
    """Call `listen` with a module's inputs, in this thread only: another thread may run the same encoder."""
    thread = threading.get_ident()

    def hear(module: nn.Module, args: tuple[Any, ...]) -> None:
        if threading.get_ident() == thread and args:
            listen(args)

    hook = module.register_forward_pre_hook(hear)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def _changed_input(block: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Change the state that a block gets, in this thread only."""
    thread = threading.get_ident()

    def exchange(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if threading.get_ident() != thread:
            return None
        if args:
            return (change(args[0]), *args[1:]), kwargs
        return args, {**kwargs, "hidden_states": change(kwargs["hidden_states"])}

    hook = block.register_forward_pre_hook(exchange, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def _changed_output(block: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Change the state that a block returns, in this thread only; runs before the hooks that record hidden states."""
    thread = threading.get_ident()

    def exchange(module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if threading.get_ident() != thread:
            return output
        return (change(output[0]), *output[1:]) if isinstance(output, tuple) else change(output)

    hook = block.register_forward_hook(exchange, prepend=True)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def _skipped(block: nn.Module) -> Iterator[None]:
    """Make a block return its input, in this thread only; runs before the hooks that record hidden states."""
    thread = threading.get_ident()

    def pass_on(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        if threading.get_ident() != thread:
            return output
        given = args[0] if args else kwargs["hidden_states"]
        return (given, *output[1:]) if isinstance(output, tuple) else given

    hook = block.register_forward_hook(pass_on, with_kwargs=True, prepend=True)
    try:
        yield
    finally:
        hook.remove()
