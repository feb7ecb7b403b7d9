"""check_family: whether a pipeline does what its family declares, tried on the pipeline itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..models import family_of, require_encoder
from ..models.encoder_pass import read_of, with_reads
from ..models.encoder_session import EncoderSession, Source
from ..models.view import PipelineView
from ..runs.events import Event, LayerImage
from .batch import Batch, BatchRow, batch_index
from .diffusion_lens import DiffusionLens
from .edits import Edit, Layer
from .settings import DEFAULTS, SamplingSettings, read_settings
from .sharing import run_in_worker
from .stock_call import RunSoFar, StockCall

_PROMPT = "a red circle on a blue background"
_ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 2e-2, torch.float16: 2e-3}  # of the largest latent


@dataclass(frozen=True)
class Check:
    """One rule, whether it holds, and what was found."""

    rule: str
    holds: bool
    found: str = ""


@dataclass(frozen=True)
class FamilyReport:
    """What holds for a pipeline; `print` shows one line for each rule.

    Attributes
    ----------
    pipeline : str
        The class of the pipeline.
    checks : dict of text encoder → tuple of Check
    """

    pipeline: str
    checks: Mapping[str, Sequence[Check]]

    @property
    def holds(self) -> bool:
        """Whether every rule holds for every text encoder."""
        return all(check.holds for checks in self.checks.values() for check in checks)

    def __str__(self) -> str:
        lines = [f"{self.pipeline}: {'all rules hold' if self.holds else 'SOME RULES DO NOT HOLD'}"]
        for encoder, checks in self.checks.items():
            lines.append(encoder)
            for check in checks:
                found = f": {check.found}" if check.found else ""
                lines.append(f"  {'holds ' if check.holds else 'FAILS '} {check.rule}{found}")
        return "\n".join(lines)

    __repr__ = __str__


def check_family(
    pipe: Any,
    prompt: str = _PROMPT,
    *,
    num_inference_steps: int = 2,
    height: int | None = None,
    width: int | None = None,
) -> FamilyReport:
    """Try on a pipeline whether its family's declaration is true, for each of its text encoders.

    The rules: the last layer's picture is the stock pipeline's; other layers' pictures differ from it; a layer's
    picture is the same, alone or among others; with NaN in every encoder state but the declared ones the conditioning
    stays the same to the bit, and with a declared one zeroed it changes; each text goes through an encoder once.

    Parameters
    ----------
    pipe : diffusers.DiffusionPipeline
        Of a family of this package or a registered one (`register_family`).
    prompt : str
    num_inference_steps : int
        Two are enough to see whether pictures differ.
    height, width : int, optional
        In pixels; small ones save time. Default: the size that the model was trained for.

    Returns
    -------
    FamilyReport
        Also for a family that fails: `report.holds` is then false, and its text says where.

    Raises
    ------
    ValueError, TypeError
        If the pipeline has no family, or an argument is not valid.

    Examples
    --------
    >>> print(check_family(pipe, height=64, width=64))  # doctest: +SKIP
    """
    family = family_of(pipe)
    options = {"num_inference_steps": num_inference_steps, "height": height, "width": width}
    read_settings(pipe, 1, {**DEFAULTS, **options})  # type: ignore[typeddict-item]
    checks = {}
    for encoder in family.examined:
        if getattr(pipe, encoder.name, None) is not None:
            require_encoder(pipe, family, encoder.name)
            trial = _Trial(DiffusionLens(pipe, batch_size=2, text_encoder=encoder.name), prompt, options)
            checks[encoder.name] = [each for rule in trial.rules for each in _tried(rule)]
    return FamilyReport(type(pipe).__name__, checks)


def _tried(rule: Callable[[], list[Check]]) -> list[Check]:
    """The checks of a rule; a failing one if it cannot be tried at all."""
    try:
        return rule()
    except Exception as error:  # noqa: BLE001 (a wrong declaration may fail anywhere; the report tells where)
        name = (rule.__doc__ or "").rstrip(".")
        return [Check(name, holds=False, found=f"{type(error).__name__}: {error}")]


class _Trial:
    """The rules, for one text encoder."""

    def __init__(self, lens: DiffusionLens, prompt: str, options: dict[str, Any]) -> None:
        self.lens, self.prompt, self.options = lens, prompt, options
        self.rules = (self.contract, self.reads, self.encoded_once, self.pictures)

    def contract(self) -> list[Check]:
        """With NaN in every other state the conditioning stays the same."""

        def encode(view: PipelineView) -> tuple[Any, Any, Any]:
            view.session.begin_encoding("prompt", probe=True)
            probed = view.encode_stock(self.prompt)
            view.session.begin_encoding("prompt")
            whole = view.encode_stock(self.prompt)
            _take_out(view)
            return probed, whole, view.encode_stock(self.prompt)

        probed, whole, stock = run_in_worker(self.lens.pipe, lambda: encode(self.lens.view()))
        return [
            Check("with NaN in every other state the conditioning stays the same", _same(probed, stock)),
            Check("the encoders' outputs, encoded apart, are the stock ones", _same(whole, stock)),
        ]

    def reads(self) -> list[Check]:
        """With a declared state zeroed the conditioning changes."""
        reads = self.lens.family.encoder(self.lens.text_encoder).reads or (-1,)

        def encode(view: PipelineView) -> list[Any]:
            view.session.begin_encoding("prompt")
            found = [view.encode_stock(self.prompt)]
            for slot in range(len(reads)):
                view.session.begin([_Zeroed(self.lens.text_encoder, slot)])
                found.append(view.encode_stock(self.prompt))
            return found

        stock, *zeroed = run_in_worker(self.lens.pipe, lambda: encode(self.lens.view()))
        return [
            Check(f"with declared state {index} zeroed the conditioning changes", not _same(stock, changed))
            for index, changed in zip(reads, zeroed, strict=True)
        ]

    def encoded_once(self) -> list[Check]:
        """Each text goes through the encoder once."""
        calls: list[int] = []

        def encode() -> int:
            view = self.lens.view()
            hook = getattr(self.lens.pipe, self.lens.text_encoder).register_forward_pre_hook(lambda *_: calls.append(1))
            try:
                view.encode(self.prompt)
                texts = len(calls)
                view.session.begin([Layer(self.lens.text_encoder, layer) for layer in self.lens.layers])
                view.encode_stock([self.prompt] * self.lens.num_layers)
            finally:
                hook.remove()
            return len(calls) - texts

        again = run_in_worker(self.lens.pipe, encode)
        found = f"{again} more for {self.lens.num_layers} layers" if again else ""
        return [Check("each text goes through the encoder once, for all layers", not again, found)]

    def pictures(self) -> list[Check]:
        """The last layer's picture is the stock picture."""
        last = self.lens.num_layers - 1
        layers = sorted({0, last // 2, last})
        run = self.lens(self.prompt, layers=layers, **self.options)
        stock = run_in_worker(self.lens.pipe, lambda: self._stock_latents(last))
        largest = float(np.abs(stock).max())
        apart = {layer: float(np.abs(run.latents[layer] - stock).max()) / largest for layer in layers}
        rounding = _ROUNDING.get(self.lens.family.denoiser_of(self.lens.pipe).dtype, 1e-5)
        alone = self.lens(self.prompt, layers=[0], **self.options)
        moved = int(np.abs(np.asarray(alone.images[0]).astype(int) - np.asarray(run.images[0])).max())
        others = ", ".join(f"layer {layer} {apart[layer]:.1e}" for layer in layers[:-1])
        return [
            Check(
                "the last layer's picture is the stock picture",
                apart[last] <= rounding,
                f"layer {last} differs by {apart[last]:.1e} of the largest latent",
            ),
            Check("other layers' pictures differ from it", min(apart[0], 1.0) > 10 * rounding, others),
            Check("a layer's picture is the same without the others", moved <= 1, f"{moved} of 255"),
        ]

    def _stock_latents(self, layer: int) -> np.ndarray:
        """The final latents of the stock pipeline, with as many rows as the lens's calls."""
        view, settings = self.lens.view(), self._settings()
        _take_out(view)
        row, size = BatchRow(layer), self.lens.batch_size
        batch = Batch(
            view=view,
            prompt=self.prompt,
            negative_prompt=None,
            layers=(layer,),
            num_layers=self.lens.num_layers,
            edit=lambda layer, _: Layer(self.lens.text_encoder, layer),
            name_of=lambda layer, _: "stock",
        )
        found: list[Event] = []
        rows = {batch_index(row, size, self.lens.num_layers): row}
        StockCall(batch, settings, found.append, _Control(), rows, size, lambda *_: None, RunSoFar()).paint()
        latents = next((event.latents for event in found if isinstance(event, LayerImage)), None)
        if latents is None:
            raise RuntimeError("the stock picture is not finite")
        return latents

    def _settings(self) -> SamplingSettings:
        return read_settings(self.lens.pipe, self.lens.batch_size, {**DEFAULTS, **self.options})  # type: ignore[typeddict-item]


@dataclass(frozen=True)
class _Zeroed(Edit):
    """Zeros in place of one of the states that the pipeline reads."""

    slot: int

    def _edited(self, session: EncoderSession, source: Source) -> Any:
        declared = session.family.encoder(self.encoder)
        output = session.encoded(self.encoder, source).output
        states = read_of(declared, output)
        states[self.slot] = torch.zeros_like(states[self.slot])
        return with_reads(declared, output, states)


class _Control:
    """Nobody watches, and nobody cancels."""

    focus: int | None = None
    watched = False

    def cancelled(self) -> bool:
        """Never."""
        return False


def _take_out(view: PipelineView) -> None:
    """Put the pipeline's own encoders back into a view of it."""
    for name, encoder in view.session.encoders.items():
        vars(view.pipe)[name] = encoder


def _same(a: Any, b: Any) -> bool:
    """Whether two conditionings, nested tensors, are equal to the bit."""
    if isinstance(a, Tensor):
        return a.shape == b.shape and bool(torch.equal(a, b))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)
