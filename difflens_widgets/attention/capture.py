"""Captures attention maps during a call of the stock diffusers pipeline.

The images stay the same to the bit. The cost: for each image and layer, the attention probabilities are computed a
second time in float32, for some of the queries at a time (64 MB), and dropped; only their sums are kept.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from ..models import checks, families, family_of, require_encoder
from ..models.own_tokenizer import own_tokenizer
from ..models.tokenize import read_typed
from ..runs.maps.maps import AttentionMaps
from ..runs.maps.options import AttentionOptions, read_options
from ..runs.maps.plan import Plan, plan_capture
from ..runs.tokens import Token
from .accumulator import AttentionAccumulator
from .denoiser import AttentionLayer, Denoiser, Forward
from .sdpa_hook import SdpaCall, capture_sdpa, only_in
from .transformer import TransformerDenoiser, declared_attention
from .unet import UNetDenoiser

AttentionChoice = bool | str | AttentionOptions
PlanImages = Callable[[Forward, int], Mapping[int, Plan]]
"""(the first forward, the number of steps) → which images are captured, by their batch index, and how.

All plans are of one set of options, and have equally many tokens.
"""


@contextmanager
def captured(denoiser: Denoiser, plan_images: PlanImages) -> Iterator[Capture]:
    """Capture the attention of one call of the denoiser's pipeline, made inside this `with` in the same thread.

    Other threads may run the same modules meanwhile: what they compute is not captured.

    Yields
    ------
    Capture
        Its `maps` hold the result after the call.

    Raises
    ------
    RuntimeError
        From within the first step of the pipeline, if a module does not call `scaled_dot_product_attention`.
    """
    capture = Capture(denoiser, plan_images)
    modules = {layer.name: layer.module for layer in denoiser.layers}
    threads = {threading.get_ident()}
    begin, end = only_in(threads, capture.begin_forward), only_in(threads, capture.end_forward)
    cleanup = ExitStack()
    cleanup.callback(threads.clear)
    try:
        with cleanup:
            cleanup.callback(denoiser.module.register_forward_pre_hook(begin, with_kwargs=True).remove)
            cleanup.callback(denoiser.module.register_forward_hook(end).remove)
            cleanup.enter_context(capture_sdpa(modules, capture.on_sdpa_call, capture.end_layer))
            yield capture
    finally:
        cleanup.close()  # what is left to do if Ctrl-C came just before the `with` cleans up


class Capture:
    """The attention of one pipeline call, collected forward by forward; see `captured`."""

    def __init__(self, denoiser: Denoiser, plan_images: PlanImages) -> None:
        self.pipe, self._denoiser = denoiser.pipe, denoiser
        self.layers: dict[str, AttentionLayer] = {layer.name: layer for layer in denoiser.layers}
        self._plan_images = plan_images
        self._accumulators: dict[int, AttentionAccumulator] = {}
        self._forwards = 0
        self._timesteps: Any = None  # the scheduler's: the pipeline makes a new tensor in each call
        self._forward: Forward | None = None  # None: a forward that is not captured
        self._seen: set[str] = set()  # the layers whose SDPA call over the text came in this forward
        self._other_keys: list[int] = []  # how many keys a layer's other SDPA calls had

    @property
    def maps(self) -> dict[int, AttentionMaps]:
        """The maps of each captured image, by its batch index. Each access computes them: read it once, at the end."""
        return {index: one.finish() for index, one in self._accumulators.items() if one.has_steps}

    @property
    def _num_timesteps(self) -> int:
        """How many forwards of the prompt the call makes; not all pipelines tell."""
        return getattr(self.pipe, "num_timesteps", None) or len(self.pipe.scheduler.timesteps)

    def begin_forward(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Learn from a forward's arguments what its rows are; plan in the first forward."""
        self._forward = forward = self._denoiser.read(args, kwargs)
        if forward is None:
            return
        timesteps = self.pipe.scheduler.timesteps
        if self._timesteps is None:
            self._timesteps = timesteps
            self._begin(forward)
        elif self._timesteps is not timesteps:
            raise RuntimeError("attention: this captures one call of the pipeline, and this is a second one")
        self._seen = set()

    def _begin(self, forward: Forward) -> None:
        steps = -(-self._num_timesteps // self.pipe.scheduler.order)
        plans = self._plan_images(forward, steps)
        blocks = {block.name for plan in plans.values() for block in plan.blocks}
        self.layers = {name: layer for name, layer in self.layers.items() if layer.block in blocks}
        layers = tuple(self.layers.values())
        self._accumulators = {index: AttentionAccumulator(plan, layers) for index, plan in plans.items()}

    def on_sdpa_call(self, name: str, call: SdpaCall) -> None:
        """Add the attention of each captured image in one layer."""
        forward, layer = self._forward, self.layers.get(name)
        if forward is None or layer is None or not self._accumulators:
            return
        tokens = len(next(iter(self._accumulators.values())).plan.tokens)
        window = self._denoiser.window(layer, forward, tokens)
        queries, keys = window.shape
        if name in self._seen or call.key.shape[-2] != keys:
            self._other_keys.append(call.key.shape[-2])  # not over the text, such as an image adapter's call
            return
        expected = (forward.rows, layer.heads, queries)
        if tuple(call.query.shape[:-1]) != expected or tuple(call.key.shape[:2]) != expected[:2]:
            raise RuntimeError(
                f"attention: {layer.described} calls scaled_dot_product_attention with queries of shape "
                f"{tuple(call.query.shape)}, expected {(*expected, 'width')} (row, head, query); {layer.fix_hint}"
            )
        self._seen.add(name)
        for index, accumulator in self._accumulators.items():
            accumulator.add(layer, window, call.chunks(forward.first + index, window.queries))

    def end_layer(self, name: str) -> None:
        """Raise a RuntimeError if a layer made no SDPA call over the text: its maps would be empty."""
        layer = self.layers.get(name)
        if self._accumulators and self._forward is not None and layer is not None and name not in self._seen:
            keys = ", ".join(map(str, self._other_keys))
            over = f" over the text (only over {keys} keys)" if keys else ""
            raise RuntimeError(
                f"attention: {layer.described} does not call torch's scaled_dot_product_attention{over}, "
                f"so nothing can be read there; {layer.fix_hint}"
            )
        self._other_keys = []

    def end_forward(self, module: Any, args: tuple[Any, ...], output: Any) -> None:
        """End a forward and, if it is the last one of a step, the step."""
        if self._forward is None:
            return
        missing = [layer for name, layer in self.layers.items() if name not in self._seen]
        if self._accumulators and missing:
            raise RuntimeError(f"attention: {missing[0].described} did not run, so its maps would be empty")
        order = self.pipe.scheduler.order
        self._forwards += 1
        is_last = self._forwards == self._num_timesteps
        for accumulator in self._accumulators.values():
            accumulator.end_forward()
            if is_last or self._forwards % order == 0:
                accumulator.end_step((self._forwards - 1) // order)


@contextmanager
def capture_attention(
    pipe: Any,
    prompt: str | Sequence[str],
    *,
    attention: bool | str | AttentionOptions = True,
    text_encoder: str | None = None,
) -> Iterator[list[AttentionMaps]]:
    """Capture the attention of one plain call of a stock pipeline, made inside this `with`.

    Parameters
    ----------
    pipe : diffusers.StableDiffusionPipeline, StableDiffusionXLPipeline, StableDiffusion3Pipeline, FluxPipeline, ...
        As you set it up: LoRA, IP-Adapter and attention processors of your own stay in use. In SD3 and FLUX a pixel
        attends to the text and to the image in one softmax, so the shares of the words sum to less than 1;
        `AttentionMaps.rest("image")` has the remaining share. Your own processor must join text and image in the same
        order as diffusers does.
    prompt : str or sequence of str
        The prompt or prompts of the call. Capture takes the names of the tokens from here.
    attention : True, "mean", "daam" or AttentionOptions
        What to keep; True is "mean".
    text_encoder : str, optional
        The text encoder whose tokens get maps, in a pipeline that has several. Default: the first one that the
        denoiser attends to. SDXL: "text_encoder_2" is for a pipeline without the first encoder. SD3: the denoiser
        attends to the tokens of the first two encoders (CLIP), in 77 positions that both share, and then to those of
        "text_encoder_3" (T5). FLUX: only to those of "text_encoder_2" (T5).

    Yields
    ------
    list of AttentionMaps
        One for each image, in the pipeline's order. The list is empty until the `with` ends.

    Raises
    ------
    ValueError, TypeError
        Before anything is computed: for arguments that cannot work and for modules that cannot be captured. Before
        the first step: for steps outside the call, and for a budget that is too small.
    RuntimeError
        If a module does not call `scaled_dot_product_attention` (in the first step), if the number of images is not a
        multiple of the number of prompts, and if not exactly one call was made, in this thread.

    Examples
    --------
    >>> with capture_attention(pipe, "a red dog") as maps:  # doctest: +SKIP
    ...     image = pipe("a red dog").images[0]
    >>> maps[0].heatmap("dog")  # doctest: +SKIP
    """
    options = read_options(attention)
    if options is None:
        raise ValueError("attention: False; leave the `with` out")
    prompts = checks.prompts(prompt, None)
    denoiser, tokenize = _denoiser(pipe, text_encoder)

    def plan_images(forward: Forward, steps: int) -> dict[int, Plan]:
        images = forward.rows - forward.first
        if images % len(prompts):
            raise RuntimeError(f"attention: {len(prompts)} prompts were named, and the call draws {images} pictures")
        plans = [
            plan_capture(
                denoiser.layers,
                tokenize(text, forward),
                options,
                grid=forward.grid,
                vae_scale_factor=pipe.vae_scale_factor,
                steps=steps,
                pictures=images,
                rest_names=denoiser.rest_names,
            )
            for text in prompts
        ]
        return {index: plans[index * len(prompts) // images] for index in range(images)}

    maps: list[AttentionMaps] = []
    with captured(denoiser, plan_images) as capture:
        yield maps
    maps.extend(capture.maps.values())
    if not maps:
        raise RuntimeError("attention: the pipeline drew nothing inside this `with`, in this thread")


def _denoiser(pipe: Any, text_encoder: str | None) -> tuple[Denoiser, Callable[[str, Forward], tuple[Token, ...]]]:
    """The pipeline's denoiser, and a function that gives a prompt's tokens."""
    known = families()
    names = [base.__name__ for base in type(pipe).__mro__ if base.__name__ in known]  # a subclass: its parent's family
    family = known[names[0]] if names else family_of(pipe)  # which raises
    declared = declared_attention(pipe, family)
    if declared is None:
        encoder = require_encoder(pipe, family_of(pipe), text_encoder)
        tokenizer = own_tokenizer(getattr(pipe, encoder.tokenizer))
        return UNetDenoiser(pipe), lambda prompt, forward: read_typed(pipe, tokenizer, prompt)[0]
    # the class, because the property itself fails before the first call
    rows_known = declared.prompt != "second half" or hasattr(type(pipe), "do_classifier_free_guidance")
    if declared.template or not rows_known:
        raise ValueError(
            f"attention: a call of {type(pipe).__name__} does not tell which {'tokens' if rows_known else 'rows'} are "
            "the prompt's; what helps: DiffusionLens(pipe), and attention=True in its call"
        )
    transformer = TransformerDenoiser(pipe, family, text_encoder)
    return transformer, transformer.tokenize
