"""Two models on one prompt, from the same noise: what differs, at which layer, and which part of the model made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from ...runs.render.grid import png
from ...runs.run import LensRun
from ...runs.tokens import PromptPart
from ..states import places_of
from . import file, grid
from . import measures as differences
from .comparable import require_same_kind
from .figure import plot_metrics
from .file import CROSSED

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(eq=False)
class Comparison:
    """A raw and a tuned model on one prompt, from the same noise and with the same settings.

    `compare` makes one; so do any two runs of that kind: ``Comparison(history.run(0), history.run(350))``.

    Attributes
    ----------
    raw, tuned : LensRun
    crossed : dict of (encoder, U-Net) → LensRun
        Where attribution was asked for, ``("tuned", "raw")``, the tuned encoder with the raw U-Net, and
        ``("raw", "tuned")``.
    cosines : float32 array (num_layers, tokens) or None
        Cosine of the two models' states, token by token, -1..1.
    normed : bool
        Whether these are of the states as the denoiser is given them, after the encoder's final norm (what `compare`
        takes), or of the runs' own states, before it (where a Comparison is made of two runs).
    verdicts : dict of "raw", "tuned" → dict of layer → bool
        What the judge said, where there was one.
    judge : str
        Which judge that was.

    Raises
    ------
    ValueError
        If the runs are not of one prompt, noise and settings.
    """

    raw: LensRun
    tuned: LensRun
    crossed: dict[tuple[str, str], LensRun] = field(default_factory=dict)
    cosines: npt.NDArray[np.float32] | None = None
    normed: bool = False
    verdicts: dict[str, dict[int, bool]] = field(default_factory=dict)
    judge: str = ""

    def __post_init__(self) -> None:
        if self.crossed and set(self.crossed) != set(CROSSED):
            raise ValueError(f"crossed: has {sorted(self.crossed)}, expected {sorted(CROSSED)} or nothing")
        for name, run in self.runs.items():
            require_same_kind(self.raw, run, name)
        if self.cosines is None and self.raw.states is not None and self.tuned.states is not None:
            self.cosines, self.normed = differences.state_cosines(self.raw.states, self.tuned.states), False
        shape = (self.raw.num_layers, len(self.raw.tokens))
        if self.cosines is not None and self.cosines.shape != shape:
            raise ValueError(f"cosines: have the shape {self.cosines.shape}, expected {shape}, (num_layers, tokens)")

    @property
    def prompt(self) -> str:
        """What both were asked to paint."""
        return self.raw.prompt

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that are compared, the lowest first."""
        return tuple(sorted(self.raw.layers))

    @property
    def runs(self) -> dict[str, LensRun]:
        """All runs by name: "raw", "tuned", and "tuned-raw", "raw-tuned" (encoder, U-Net) where they were asked for."""
        return {"raw": self.raw, "tuned": self.tuned} | {"-".join(pair): run for pair, run in self.crossed.items()}

    @cached_property
    def metrics(self) -> Mapping[str, npt.NDArray[np.float64]]:
        """Measures over `layers`, float64; NaN where a picture is missing.

        - "state_cosine": cosine of raw and tuned states (`normed`: after the final norm), -1..1, the mean over words
          and end token; the start token and the padding are left out, see `cosines` for them.
        - "latent_distance": root mean square difference of the final latents, in their units.
        - "ssim": structural similarity of the pictures, -1..1 (Wang et al. 2004; mean over colours).
        - "judge_raw", "judge_tuned": 1 where the judge said yes, else 0; where there was a judge.
        - "attribution_encoder", "attribution_unet", "attribution_both": shares of the change of the latents that the
          tuned encoder makes alone, the tuned U-Net makes alone, and only both together make. They sum to 1 and may be
          negative; see `analysis.differences.attribution`. NaN where nothing changed.
        """
        raw, tuned, layers = self.raw, self.tuned, self.layers
        found: dict[str, npt.NDArray[np.float64]] = {}
        if self.cosines is not None:
            places = places_of(raw, ("word", "eos"))
            found["state_cosine"] = self.cosines[list(layers)][:, places].mean(1, dtype=np.float64)
        found["latent_distance"] = differences.latent_distance(raw, tuned, layers)
        found["ssim"] = differences.picture_ssim(raw, tuned, layers)
        for name, verdicts in self.verdicts.items():
            found[f"judge_{name}"] = np.array([float(verdicts.get(layer, np.nan)) for layer in layers])
        if self.crossed:
            by_encoder, by_unet = (self.crossed[pair] for pair in CROSSED)
            shares = differences.attribution(raw, by_encoder, by_unet, tuned, layers)
            names = ("attribution_encoder", "attribution_unet", "attribution_both")
            found.update(zip(names, shares, strict=True))
        return found

    @property
    def charts(self) -> tuple[differences.Chart, ...]:
        """Which measures there are, and how they are named and drawn."""
        return tuple(chart for chart in differences.CHARTS if chart.series[0][1] in self.metrics)

    def difference(self, layer: int) -> npt.NDArray[np.float32]:
        """How far each pixel of the two pictures of a layer is apart, 0..255: float32 (height, width), mean over RGB.

        Raises
        ------
        ValueError
            If a picture of that layer is missing.
        """
        for name, run in (("raw", self.raw), ("tuned", self.tuned)):
            if layer not in run.images:
                raise ValueError(f"layer: {layer!r} has no picture in the {name} run")
        return differences.picture_difference(self.raw.images[layer], self.tuned.images[layer])

    def attention_difference(
        self,
        word: int | str | PromptPart,
        *,
        layer: int | None = None,
        block: str | None = None,
        step: int | None = None,
    ) -> npt.NDArray[np.float32]:
        """Where a word is looked at more (above 0) or less (below) by the tuned model than by the raw one.

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
        asked: dict[str, Any] = {"layer": layer, "block": block, "step": step}
        return self.tuned.attention.heatmap(word, **asked) - self.raw.attention.heatmap(word, **asked)

    def grid(self) -> Image.Image:
        """All pictures as one: a row for each model, a column for each layer."""
        return grid.grid(self.runs, self.layers)

    def plot(self) -> Figure:
        """All measures over the layers as a matplotlib figure."""
        raw, tuned = self.raw, self.tuned
        settings = raw.settings
        states = "after the final norm" if self.normed else "before the final norm"
        parts = [
            f"{settings.get('model')} → {tuned.settings.get('model')}",
            f"seed {raw.seed}, {settings.get('num_inference_steps')} steps, guidance "
            f"{settings.get('guidance_scale')}, the same noise",
            f"states {states}, mean over words and end token" if self.cosines is not None else "",
            "SSIM: Gaussian window of 11 pixels, mean over colours",
            f"judge: {self.judge}" if self.verdicts else "",
            "attribution: projections on the whole change, they sum to 1" if self.crossed else "",
        ]
        caption = " · ".join(filter(None, parts))
        return plot_metrics(self.charts, self.metrics, self.layers, f"“{self.prompt}”", caption)

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
        """Read such a file; needs no torch.

        Raises
        ------
        ValueError
            If the file is damaged, of a newer version, or holds anything that `save` never writes; names the reason.
        """
        fields = file.load(Path(path))
        try:
            return cls(**fields)
        except ValueError as error:  # its runs do not belong together
            raise ValueError(f"{path}: {error}") from error

    def _repr_png_(self) -> bytes | None:
        return png(self.grid()) if self.raw.images or self.tuned.images else None

    def __repr__(self) -> str:
        models = " → ".join(str(run.settings.get("model")) for run in (self.raw, self.tuned))
        return f"Comparison({self.prompt!r}, {models}, {len(self.layers)} layers{', 2 × 2' if self.crossed else ''})"
