"""The blocks of a U-Net that read the text, and pictures for which one of them reads the empty prompt in its place."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, nn

_ORDER = ("down_blocks", "mid_block", "up_blocks")  # as they run; named_modules() has mid_block last


def text_blocks(unet: nn.Module) -> tuple[str, ...]:
    """The names of the blocks with cross-attention in the order in which they run, such as "up_blocks.1"."""
    found = dict.fromkeys(_block_of(name) for name in _cross_attention(unet))
    return tuple(sorted(found, key=lambda name: _ORDER.index(name.split(".")[0])))


def check_text_blocks(unet: nn.Module, asked: Sequence[str]) -> tuple[str, ...]:
    """The requested blocks, each once; a module inside a block may be named too.

    Raises
    ------
    TypeError, ValueError
        If one is not a str, reads no text, or is given twice; the message lists the blocks that do. Also if the U-Net
        projects the text before its blocks read it, as DeepFloyd IF's does.
    """
    if getattr(unet.config, "encoder_hid_dim_type", None) is not None:
        raise ValueError("without_text: this U-Net projects the text before its blocks read it, which is not supported")
    there = ", ".join(map(repr, text_blocks(unet)))
    for name in asked:
        if not isinstance(name, str):
            raise TypeError(f"without_text: expected names of blocks, got {name!r}; those that read the text: {there}")
        if not _inside(unet, name):
            raise ValueError(f"without_text: {name!r} is no part that reads the text; those that do: {there}")
        if asked.count(name) > 1:
            raise ValueError(f"without_text: {name!r} is given {asked.count(name)} times")
    if not asked:
        raise ValueError(f"without_text: empty; give some of {there}")
    return tuple(asked)


@contextmanager
def without_text(unet: nn.Module, empty: Tensor, left_out: Sequence[str | None]) -> Iterator[None]:
    """In this thread, let one block read `empty` in place of the text, another block for each row.

    Parameters
    ----------
    empty : Tensor (1, position, width)
        What the denoiser gets for the empty prompt.
    left_out : sequence of str or None
        The block of each row; None: all blocks read the text. The negative prompt is read everywhere.

    Raises
    ------
    RuntimeError
        If the denoiser did not run such a block as a module: it is compiled.
    """
    rows_of: dict[str, list[int]] = {}
    for row, block in enumerate(left_out):
        for name in _inside(unet, block) if block is not None else ():
            rows_of.setdefault(name, []).append(row)
    unheard = set(rows_of)
    modules, thread = dict(unet.named_modules()), threading.get_ident()
    with ExitStack() as hooks:
        for name, rows in rows_of.items():

            def exchange(
                module: nn.Module,
                args: tuple[Any, ...],
                kwargs: dict[str, Any],
                name: str = name,
                rows: list[int] = rows,
            ) -> Any:
                if threading.get_ident() != thread:  # the user may call the pipeline meanwhile
                    return None
                unheard.discard(name)
                text: Tensor = kwargs["encoder_hidden_states"].clone()
                prompts = len(text) - len(left_out)  # with guidance, the first half has the negative prompt
                text[[prompts + row for row in rows]] = empty.to(text)
                return args, {**kwargs, "encoder_hidden_states": text}

            hook = modules[name].register_forward_pre_hook(exchange, with_kwargs=True)
            hooks.callback(hook.remove)
        yield
    if unheard:
        raise RuntimeError(
            f"without_text: the denoiser did not run {min(unheard)} as a module; if it is compiled (torch.compile), "
            "use the denoiser that was not"
        )


def _cross_attention(unet: nn.Module) -> list[str]:
    return [name for name, module in unet.named_modules() if getattr(module, "is_cross_attention", False)]


def _inside(unet: nn.Module, block: str) -> list[str]:
    return [name for name in _cross_attention(unet) if name == block or name.startswith(f"{block}.")]


def _block_of(name: str) -> str:
    first, second, *_ = name.split(".")
    return first if first == "mid_block" else f"{first}.{second}"
