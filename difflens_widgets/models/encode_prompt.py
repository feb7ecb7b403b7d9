"""A pipeline's own `encode_prompt`: with the stock call's arguments, or only up to what an encoder is given."""

from __future__ import annotations

import copy
import inspect
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .encoder_session import EncoderProxy
from .own_tokenizer import recorded_calls
from .tokenizer_call import TokenizerCall, first_row


def encode_prompt(pipe: Any, prompt: str | list[str], **options: Any) -> Any:
    """Call `pipe.encode_prompt` for prompts without guidance, and with the defaults of the pipeline's call.

    Parameters
    ----------
    pipe : a pipeline, or a view's copy of one
    prompt : str or list of str
    **options
        Other arguments, such as `device` and `lora_scale`; those that this pipeline does not take are left out.
    """
    given = {"prompt": prompt, "num_images_per_prompt": 1, "do_classifier_free_guidance": False, **options}
    stock = next(base for base in type(pipe).__mro__ if base.__module__.startswith("diffusers."))
    defaults = inspect.signature(stock.__call__).parameters
    arguments = {}
    for name, parameter in inspect.signature(pipe.encode_prompt).parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        if name in given:
            arguments[name] = given[name]
        elif parameter.default is None or parameter.default is False or parameter.default is parameter.empty:
            default = defaults[name].default if name in defaults else parameter.default
            arguments[name] = None if default is parameter.empty else default  # `prompt_2` None: the same prompt
    return pipe.encode_prompt(**arguments)


@dataclass(frozen=True)
class EncoderInput:
    """What a text encoder is given for one prompt.

    Attributes
    ----------
    ids : list of int
    mask : list of int or None
        The attention mask.
    calls : list of TokenizerCall
        The calls of tokenizers before.
    """

    ids: list[int]
    mask: list[int] | None
    calls: list[TokenizerCall]


class _Reached(Exception):
    """The encoder was called."""


def encoder_input(pipe: Any, encoder: str, prompt: str) -> EncoderInput | None:
    """What the pipeline gives to one of its text encoders for a prompt; no encoder runs. None: it does not call it.

    Parameters
    ----------
    pipe : a view's copy of a pipeline
    encoder : str
        The component's name.
    prompt : str
    """
    encoders = {name: module for name, module in vars(pipe).items() if name.startswith("text_encoder")}
    reader = _Reader(encoder, encoders)
    reading = copy.copy(pipe)
    for name, module in encoders.items():
        if isinstance(module, nn.Module):
            vars(reading)[name] = EncoderProxy(module, name, reader)
    with recorded_calls() as calls, _unwarned(type(pipe)):
        try:
            encode_prompt(reading, prompt, device=torch.device("cpu"))
        except _Reached:
            return EncoderInput(reader.ids, reader.mask, calls)
    return None


class _Reader:
    """Takes the place of an `EncoderSession`: stops at the encoder in question, and answers for others with zeros."""

    def __init__(self, encoder: str, encoders: dict[str, Any]) -> None:
        self.encoder, self.encoders = encoder, encoders
        self.ids: list[int] = []
        self.mask: list[int] | None = None

    def forward(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Note what the encoder in question is given, and stop; for another one return zeros."""
        ids = args[0] if args else kwargs["input_ids"]
        if name != self.encoder:
            return _Zeros(self.encoders[name], ids)
        mask = kwargs.get("attention_mask")
        self.ids, self.mask = first_row(ids), None if mask is None else first_row(mask)
        raise _Reached


class _Zeros:
    """The output of an encoder that did not run: its states and pooled vector are zeros."""

    def __init__(self, encoder: Any, ids: Tensor) -> None:
        config = encoder.config
        width = config.hidden_size
        pooled = getattr(config, "projection_dim", width) if hasattr(encoder, "text_projection") else width
        self.last_hidden_state = torch.zeros(*ids.shape, width)
        self.text_embeds = self.pooler_output = torch.zeros(len(ids), pooled)
        self.hidden_states = [self.last_hidden_state] * (config.num_hidden_layers + 1)
        self._first = self.text_embeds if hasattr(encoder, "text_projection") else self.last_hidden_state

    def __getitem__(self, index: int) -> Tensor:
        return self._first if index == 0 else self.hidden_states[index]


@contextmanager
def _unwarned(kind: type[Any]) -> Iterator[None]:
    """Without this thread's warnings of the pipeline's class: they come again when the prompt is encoded."""
    me = threading.get_ident()
    loggers = [logging.getLogger(base.__module__) for base in kind.__mro__ if base.__module__.startswith("diffusers.")]

    def of_others(record: logging.LogRecord) -> bool:
        return record.thread != me

    for logger in loggers:
        logger.addFilter(of_others)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(of_others)
