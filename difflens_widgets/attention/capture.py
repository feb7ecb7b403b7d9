"""Attention captured around a call of the stock diffusers pipeline.

The pictures are the same to the bit. Cost: the probabilities of one picture and one layer are computed a second time,
in float32, for some of its queries at once (64 MB), and dropped; nothing is kept but sums.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ..models import checks, family_of, require_encoder
from ..models.tokenize import read_prompt
from ..models.view import own_tokenizer
from ..runs.maps.maps import AttentionMaps, LensAttention
from ..runs.maps.options import AttentionOptions, read_options
from ..runs.maps.plan import Plan, plan_capture
from ..runs.tokens import Token
from .accumulate import Sums
from .denoiser import AttentionLayer, Denoiser, Forward
from .joint import joint_denoiser
from .probe import Call, heard
from .unet import UNetDenoiser, cross_attention_layers

AttentionChoice = bool | str | AttentionOptions
PlanPictures = Callable[[Forward, int], Mapping[int, Plan]]
"""(the first forward, steps) → which of the pictures are captured, and how."""


@contextmanager
def captured(denoiser: Denoiser, plan_pictures: PlanPictures) -> Iterator[Capture]:
    """Capture the attention of one call of the denoiser's stock pipeline; afterwards `maps` has what was seen.

    Raises
    ------
    RuntimeError
        From within the pipeline's first step, if a module turns out not to call `scaled_dot_product_attention`.
    """
    capture = Capture(denoiser, plan_pictures)
    modules = {name: layer.module for name, layer in capture.layers.items()}
    hooks = (
        denoiser.module.register_forward_pre_hook(capture.begin_forward, with_kwargs=True),
        denoiser.module.register_forward_hook(capture.end_forward),
    )
    try:
        with heard(modules, capture.listen, capture.end_layer):
            yield capture
    finally:
        for hook in hooks:
            hook.remove()


class Capture:
    """What is heard of the denoiser's attention to the text, forward by forward; made by `captured`."""

    def __init__(self, denoiser: Denoiser, plan_pictures: PlanPictures) -> None:
        self.pipe, self._denoiser = denoiser.pipe, denoiser
        self.layers: dict[str, AttentionLayer] = {layer.name: layer for layer in denoiser.layers}
        self._plan_pictures = plan_pictures
        self._sums: dict[int, Sums] = {}
        self._forwards = 0
        self._timesteps: Any = None  # the scheduler's, a new tensor for each call of the pipeline
        self._forward: Forward | None = None  # None: one of no interest
        self._heard: set[str] = set()
        self._others: list[int] = []  # numbers of keys of calls that were not over the text

    @property
    def maps(self) -> dict[int, AttentionMaps]:
        """The maps of each captured picture, by its place in the batch; once the call is over."""
        return {picture: sums.finish() for picture, sums in self._sums.items() if sums.has_steps}

    def begin_forward(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Learn what this forward's rows are."""
        pipe = self.pipe
        self._forward = forward = self._denoiser.read(args, kwargs)
        if forward is None:
            return
        steps = -(-pipe.num_timesteps // pipe.scheduler.order)
        if self._timesteps is None:
            self._timesteps = pipe.scheduler.timesteps
            plans = self._plan_pictures(forward, steps)
            self._sums = {picture: Sums(plan, tuple(self.layers.values())) for picture, plan in plans.items()}
        elif self._timesteps is not pipe.scheduler.timesteps:
            raise RuntimeError("attention: this captures one call of the pipeline, and this is a second one")
        self._heard = set()

    def listen(self, name: str, call: Call) -> None:
        """Add what one layer's rows of interest look at."""
        forward, layer = self._forward, self.layers[name]
        if forward is None or not self._sums:
            return
        tokens = len(next(iter(self._sums.values())).plan.tokens)  # of all plans: they are padded to one length
        window = self._denoiser.window(layer, forward, tokens)
        queries, keys = window.shape
        if name in self._heard or call.key.shape[-2] != keys:
            self._others.append(call.key.shape[-2])  # such as an image adapter's
            return
        expected = (forward.rows, layer.heads, queries)
        if tuple(call.query.shape[:-1]) != expected or tuple(call.key.shape[:2]) != expected[:2]:
            raise RuntimeError(
                f"attention: {layer.described} calls scaled_dot_product_attention with queries of shape "
                f"{tuple(call.query.shape)}, expected {(*expected, 'width')} (row, head, query); {layer.way_out}"
            )
        self._heard.add(name)
        for picture, sums in self._sums.items():
            sums.add(layer, window, call.pieces(forward.first + picture, window.queries))

    def end_layer(self, name: str) -> None:
        """Refuse to give an empty map."""
        if self._sums and self._forward is not None and name not in self._heard:
            over = f" over the text (only over {', '.join(map(str, self._others))} keys)" if self._others else ""
            raise RuntimeError(
                f"attention: {self.layers[name].described} does not call torch's scaled_dot_product_attention{over}, "
                f"so nothing can be read there; {self.layers[name].way_out}"
            )
        self._others = []

    def end_forward(self, module: Any, args: tuple[Any, ...], output: Any) -> None:
        """A forward is over; where it ends a step, so is that."""
        if self._forward is None:
            return
        silent = [layer for name, layer in self.layers.items() if name not in self._heard]
        if self._sums and silent:
            raise RuntimeError(f"attention: {silent[0].described} did not run, so its maps would be empty")
        order = self.pipe.scheduler.order
        self._forwards += 1
        last = self._forwards == self.pipe.num_timesteps
        for sums in self._sums.values():
            sums.end_forward()
            if last or self._forwards % order == 0:
                sums.end_step((self._forwards - 1) // order)


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
    pipe : diffusers.StableDiffusionPipeline, StableDiffusionXLPipeline, StableDiffusion3Pipeline or FluxPipeline
        As you set it up: LoRA, IP-Adapter and processors of your own are used as they are. In SD3 and FLUX a pixel
        looks at the text and at the picture in one softmax: the words' shares are less than 1 together, and
        `AttentionMaps.other("image")` has the rest. A processor of your own has to join the two in diffusers' order.
    prompt : str or sequence of str
        What the call is given; it names the tokens.
    attention : True, "mean", "daam" or AttentionOptions
    text_encoder : str, optional
        Which text encoder's tokens have maps, where the pipeline has several. Default: the first. "text_encoder_2" is
        for an SDXL without its first encoder; FLUX looks at the tokens of "text_encoder_2" (T5) only, which is its
        default; SD3 at those of the first two (CLIP) in 77 positions they share, then at those of T5.

    Yields
    ------
    list of AttentionMaps
        One for each picture, in the pipeline's order; empty until the `with` is left.

    Raises
    ------
    ValueError, TypeError
        For arguments that cannot work, and modules that cannot be watched, before anything is computed; for steps or a
        budget that cannot be, before the first step.
    RuntimeError
        If a module turns out not to call `scaled_dot_product_attention` (in the first step), if the prompts do not fit
        the pictures, and if not exactly one call was made.

    Examples
    --------
    >>> with capture_attention(pipe, "a red dog") as maps:  # doctest: +SKIP
    ...     image = pipe("a red dog").images[0]
    >>> maps[0].map("dog")  # doctest: +SKIP
    """
    options = read_options(attention)
    if options is None:
        raise ValueError("attention: False; leave the `with` out")
    prompts = checks.prompts(prompt, None)
    denoiser, tokenize = _denoiser(pipe, text_encoder)

    def plan_pictures(forward: Forward, steps: int) -> dict[int, Plan]:
        pictures = forward.rows - forward.first
        if pictures % len(prompts):
            raise RuntimeError(f"attention: {len(prompts)} prompts were named, and the call draws {pictures} pictures")
        sizes = {"grid": forward.grid, "factor": pipe.vae_scale_factor, "steps": steps, "pictures": pictures}
        plans = [
            plan_capture(denoiser.layers, tokenize(text, forward), options, others=denoiser.others, **sizes)
            for text in prompts
        ]
        return {picture: plans[picture * len(prompts) // pictures] for picture in range(pictures)}

    maps: list[AttentionMaps] = []
    with captured(denoiser, plan_pictures) as capture:
        yield maps
    if not capture.maps:
        raise RuntimeError("attention: the pipeline drew nothing inside this `with`")
    maps.extend(capture.maps.values())


def _denoiser(pipe: Any, text_encoder: str | None) -> tuple[Denoiser, Callable[[str, Forward], tuple[Token, ...]]]:
    """The pipeline's denoiser, and what names a prompt's tokens."""
    joint = joint_denoiser(pipe, text_encoder)
    if joint is not None:
        return joint, joint.tokenize
    encoder = require_encoder(pipe, family_of(pipe), text_encoder)
    tokenizer = own_tokenizer(getattr(pipe, encoder.tokenizer))
    return UNetDenoiser(pipe), lambda prompt, forward: read_prompt(pipe, tokenizer, prompt)[0]


def lens_attention(
    asked: bool | str | AttentionOptions,
    pipe: Any,
    tokens: Sequence[Token],
    *,
    height: int,
    width: int,
    steps: int,
    pictures: int,
) -> LensAttention | None:
    """Where the maps of a lens run of `pictures` layers go; None: not asked for.

    Raises
    ------
    ValueError, TypeError
        If they cannot be captured as asked, as far as that can be told before anything is computed.
    """
    options = read_options(asked)
    if options is None:
        return None
    factor = pipe.vae_scale_factor
    sizes = {
        "grid": (height // factor, width // factor),
        "factor": factor,
        "steps": steps,
        "pictures": pictures,
    }
    layers = cross_attention_layers(pipe.unet)
    return LensAttention(plan_capture(layers, tokens, options, **sizes))
