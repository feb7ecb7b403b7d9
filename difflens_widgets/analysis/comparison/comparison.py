"""Two models on one prompt, from the same noise: what differs, at which layer, and which part of the model makes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ...runs.record import BLACKED_OUT
from ...runs.render.grid import png
from ...runs.render.page import PageView, WithPage
from ...runs.run import LensRun
from ...runs.tokens import PromptPart
from ..metrics import attribution, latent_rms, picture_difference, picture_ssim, state_cosine
from ..states import positions_of
from . import file, front_end, grid
from .charts import CHARTS, Chart
from .comparable import require_same_kind
from .figure import plot_metrics
from .file import SWAPPED

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(eq=False)  # compared and hashed by identity
class Comparison(WithPage):
    """A raw and a tuned model on one prompt, from the same noise and with the same settings.

    `compare` makes one. So do any two runs of that kind: ``Comparison(history.run(0), history.run(140))``.

    Attributes
    ----------
    raw, tuned : LensRun
    swapped : dict of (encoder, U-Net) → LensRun
        With attribution, ``("tuned", "raw")``, the tuned encoder with the raw U-Net, and ``("raw", "tuned")``; else
        empty.
    cosines : float32 array (num_layers, tokens) or None
        Cosine of the two models' states, token by token, -1..1.
    normed : bool
        True: of the states as the denoiser receives them, after the final norm (`compare`). False: of the states of the
        runs, before it (a Comparison made of two runs).
    verdicts : dict of "raw", "tuned" → dict of layer → bool
        What the judge said; empty without a judge.
    judge : str
        The judge's description.

    Raises
    ------
    ValueError
        If the runs differ in prompt, noise or settings.
    """

    raw: LensRun
    tuned: LensRun
    swapped: dict[tuple[str, str], LensRun] = field(default_factory=dict)
    cosines: npt.NDArray[np.float32] | None = None
    normed: bool = False
    verdicts: dict[str, dict[int, bool]] = field(default_factory=dict)
    judge: str = ""

    def __post_init__(self) -> None:
        if self.swapped and set(self.swapped) != set(SWAPPED):
            raise ValueError(f"swapped: has {sorted(self.swapped)}, expected {sorted(SWAPPED)} or nothing")
        for name, run in self.runs.items():
            require_same_kind(self.raw, run, name)
        whole = len(self.raw.state_positions) == len(self.raw.tokens)
        if self.cosines is None and whole and self.raw.states is not None and self.tuned.states is not None:
            self.cosines = state_cosine(self.raw.states, self.tuned.states).astype(np.float32)
            self.normed = False
        shape = (self.raw.num_layers, len(self.raw.tokens))
        if self.cosines is not None and self.cosines.shape != shape:
            raise ValueError(f"cosines: have the shape {self.cosines.shape}, expected {shape}, (num_layers, tokens)")

    @property
    def prompt(self) -> str:
        """The prompt of both."""
        return self.raw.prompt

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that are compared, in ascending order."""
        return tuple(sorted(self.raw.layers))

    @property
    def runs(self) -> dict[str, LensRun]:
        """All runs by name: "raw", "tuned"; with attribution also "tuned-raw" and "raw-tuned" (encoder, U-Net)."""
        return {"raw": self.raw, "tuned": self.tuned} | {"-".join(pair): run for pair, run in self.swapped.items()}

    @property
    def not_comparable(self) -> dict[int, str]:
        """Layers whose pictures cannot be compared, and why: in these runs the safety checker blacked them out."""
        found: dict[int, str] = {}
        for layer in self.layers:
            names = [name for name, run in self.runs.items() if layer in run.flagged]
            if names:
                found[layer] = f"not comparable: {BLACKED_OUT} in {' and '.join(names)}"
        return found

    @cached_property
    def metrics(self) -> Mapping[str, npt.NDArray[np.float64]]:
        """Numbers over `layers`, float64; NaN where a picture is missing.

        All but "state_cosine" are also NaN where the pictures are `not_comparable`.

        - "state_cosine": cosine of raw and tuned states, -1..1, mean over the word and end tokens (`normed`: after the
          final norm). The start token and the padding are left out; `cosines` has them.
        - "latent_rms": root mean square of the difference of the final latents, in their units.
        - "ssim": structural similarity of the pictures, -1..1 (Wang et al. 2004; mean over red, green and blue).
        - "judge_raw", "judge_tuned": 1 where the judge said yes, else 0; only with a judge.
        - "attribution_encoder", "attribution_unet", "attribution_both": shares of the change of the latents that the
          tuned encoder makes alone, that the tuned U-Net makes alone, and that only both together make. They sum to 1
          and may be negative; see `analysis.metrics.attribution`. NaN where nothing changed.
        """
        raw, tuned, layers = self.raw, self.tuned, self.layers
        found: dict[str, npt.NDArray[np.float64]] = {}
        if self.cosines is not None:
            positions = positions_of(raw, ("word", "eos"))
            found["state_cosine"] = self.cosines[list(layers)][:, positions].mean(1, dtype=np.float64)
        found["latent_rms"] = np.array([latent_rms(raw.latents.get(k), tuned.latents.get(k)) for k in layers])
        found["ssim"] = np.array([picture_ssim(raw.images.get(k), tuned.images.get(k)) for k in layers])
        for name, verdicts in self.verdicts.items():
            found[f"judge_{name}"] = np.array([float(verdicts.get(layer, np.nan)) for layer in layers])
        if self.swapped:
            by_encoder, by_unet = (self.swapped[pair] for pair in SWAPPED)
            shares = attribution(raw, by_encoder, by_unet, tuned, layers)
            names = ("attribution_encoder", "attribution_unet", "attribution_both")
            found.update(zip(names, shares, strict=True))
        hidden = [layer in self.not_comparable for layer in layers]
        return {
            name: values if name == "state_cosine" else np.where(hidden, np.nan, values)
            for name, values in found.items()
        }

    @property
    def charts(self) -> tuple[Chart, ...]:
        """Which of the metrics are drawn, and how they are labelled."""
        return tuple(chart for chart in CHARTS if chart.series[0][1] in self.metrics)

    @property
    def note(self) -> str:
        """Which layers are not comparable and why, in one line; "" if all are."""
        return "; ".join(f"layer {layer}: {why}" for layer, why in self.not_comparable.items())

    def difference(self, layer: int) -> npt.NDArray[np.float32]:
        """Absolute difference of each pixel of a layer's two pictures, 0..255: float32 (height, width), mean over RGB.

        Raises
        ------
        ValueError
            If a picture of that layer is missing, or they are not comparable.
        """
        if layer in self.not_comparable:
            raise ValueError(f"layer: {layer} is {self.not_comparable[layer]}")
        for name, run in (("raw", self.raw), ("tuned", self.tuned)):
            if layer not in run.images:
                raise ValueError(f"layer: {layer!r} has no picture in the {name} run")
        return picture_difference(self.raw.images[layer], self.tuned.images[layer])

    def attention_difference(
        self,
        word: int | str | PromptPart,
        *,
        layer: int | None = None,
        block: str | None = None,
        step: int | None = None,
    ) -> npt.NDArray[np.float32]:
        """Where the tuned model pays more (above 0) or less (below 0) attention to a word than the raw one.

        Parameters
        ----------
        word, layer, block, step
            As for `LensAttention.heatmap`.

        Returns
        -------
        float32 array (height, width)
            Tuned minus raw, -1..1 with the aggregator "mean".

        Raises
        ------
        ValueError
            If the runs have no attention maps, or not of that word, layer, block or step.
        """
        if self.raw.attention is None or self.tuned.attention is None:
            raise ValueError("attention: was not captured; compare with it: compare(..., attention=True)")
        where: dict[str, Any] = {"layer": layer, "block": block, "step": step}
        return self.tuned.attention.heatmap(word, **where) - self.raw.attention.heatmap(word, **where)

    def grid(self) -> Image.Image:
        """Put all pictures into one: a row for each model, a column for each layer."""
        return grid.grid(self.runs, self.layers)

    def plot(self) -> Figure:
        """Draw all metrics over the layers as a matplotlib figure."""
        raw, tuned = self.raw, self.tuned
        settings = raw.settings
        states = "after the final norm" if self.normed else "before the final norm"
        parts = [
            f"{settings.get('model')} → {tuned.settings.get('model')}",
            "draft" if settings.get("quality") == "draft" else "",
            f"seed {raw.seed}, {settings.get('num_inference_steps')} steps, guidance "
            f"{settings.get('guidance_scale')}, the same noise",
            f"states {states}, mean over words and end token" if self.cosines is not None else "",
            "SSIM: at about 256 pixels, Gaussian window of 11, mean over colors",
            f"judge: {self.judge}" if self.verdicts else "",
            "attribution: projections on the whole change, they sum to 1" if self.swapped else "",
            self.note,
        ]
        caption = " · ".join(filter(None, parts))
        return plot_metrics(self.charts, self.metrics, self.layers, f"“{self.prompt}”", caption)

    def page_views(self, thinning: int = 0) -> list[PageView]:
        """A diff viewer; see `WithPage.page_views`."""
        return [front_end.page_view(self, thinning)]

    def save(self, path: str | Path) -> Path:
        """Write everything into one file (a zip of ``.lens`` files and JSON; no pickle) and return its path.

        Raises
        ------
        ValueError, OSError
            As `LensRun.save`.
        """
        return file.save(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Comparison:
        """Read a file that `save` wrote, also one of version 1; needs no torch.

        Raises
        ------
        ValueError
            If the file is damaged, of a newer version, or holds anything that `save` never writes; names the reason.
        """
        fields = file.load(Path(path))
        try:
            return cls(**fields)
        except ValueError as error:  # the runs differ in prompt, noise or settings
            raise ValueError(f"{path}: {error}") from error

    def _repr_png_(self) -> bytes | None:
        return png(self.grid()) if self.raw.images or self.tuned.images else None

    def __repr__(self) -> str:
        models = " → ".join(str(run.settings.get("model")) for run in (self.raw, self.tuned))
        return f"Comparison({self.prompt!r}, {models}, {len(self.layers)} layers{', 2 × 2' if self.swapped else ''})"
