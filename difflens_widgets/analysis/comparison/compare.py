"""compare(): paint one prompt with a raw and a tuned model, from the same noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ...lens.diffusion_lens import DiffusionLens
from ...models.sampling_defaults import sampling_defaults
from ...runs.progress_bar import with_progress_bar
from ...runs.run import LensRun
from ..judges import PictureJudge
from ..states import read_states
from . import measures as differences
from .comparison import Comparison
from .crossed import crossed, require_comparable, require_crossable, with_batch_size
from .file import CROSSED


def compare(
    raw_lens: DiffusionLens,
    tuned_lens: DiffusionLens,
    prompt: str,
    *,
    attribution: bool = False,
    judge: PictureJudge | None = None,
    **lens_options: Any,
) -> Comparison:
    """Paint one prompt with a raw and a tuned model, from the same noise, and measure what differs.

    Parameters
    ----------
    raw_lens, tuned_lens : DiffusionLens
        Two pipelines of their own: with a LoRA, load the model twice and the LoRA into one of them. Neither is changed.
        Both are painted with `raw_lens.batch_size`. The same lens twice is the control: every difference is zero.
    prompt : str
    attribution : bool
        Also paint with {tuned encoder, raw U-Net} and {raw encoder, tuned U-Net}: twice the time. The pipelines for
        that are made of the modules of the two; nothing is copied. Of SDXL both encoders change places together.
    judge : PictureJudge, optional
        Says of each picture whether it shows the prompt.
    **lens_options
        As for the lens itself: layers, seed, steps, attention and so on, the same for all runs.

    Raises
    ------
    ValueError, TypeError
        For models that cannot be compared (or crossed), options that cannot work, or a prompt that the judge cannot
        judge; before anything is computed.
    """
    lens_options = {name: list(v) if isinstance(v, Iterator) else v for name, v in lens_options.items()}
    for name, value in sampling_defaults(raw_lens.pipe)._asdict().items():  # for both: they differ in nothing else
        lens_options[name] = value if lens_options.get(name) is None else lens_options[name]
    require_comparable(raw_lens, tuned_lens, prompt, lens_options)
    if attribution:
        require_crossable(raw_lens, tuned_lens)
    if judge is not None:
        judge.judge([], prompt)
    lenses = {("raw", "raw"): raw_lens, ("tuned", "tuned"): with_batch_size(tuned_lens, raw_lens.batch_size)}
    if attribution:
        by_name = {"raw": raw_lens, "tuned": lenses["tuned", "tuned"]}
        lenses |= {(encoder, rest): crossed(by_name[encoder], by_name[rest]) for encoder, rest in CROSSED}
    jobs = {pair: lens._jobs(prompt, **lens_options)[0] for pair, lens in lenses.items()}  # all options are checked
    runs = {pair: with_progress_bar(job) for pair, job in jobs.items()}

    raw, tuned = runs.pop(("raw", "raw")), runs.pop(("tuned", "tuned"))
    scale = (lens_options.get("cross_attention_kwargs") or {}).get("scale")
    states = [_normed_states(lens, prompt, scale) for lens in (raw_lens, tuned_lens)]
    verdicts = {name: _verdicts(judge.judge, run) for name, run in (("raw", raw), ("tuned", tuned))} if judge else {}
    described = getattr(judge, "description", type(judge).__name__) if judge else ""
    return Comparison(raw, tuned, runs, differences.state_cosines(*states), True, verdicts, described)


def _normed_states(lens: DiffusionLens, prompt: str, lora_scale: float | None) -> npt.NDArray[np.float32]:
    """The states of the lensed encoder as its denoiser is given them."""
    return read_states(lens, prompt, normed=True, lora_scale=lora_scale).states


def _verdicts(judge: Callable[..., Any], run: LensRun) -> dict[int, bool]:
    painted = sorted(run.images)
    accepted = list(judge([run.images[layer] for layer in painted], run.prompt))
    if len(accepted) != len(painted):
        raise ValueError(f"judge: answered {len(accepted)} times for {len(painted)} pictures")
    return dict(zip(painted, map(bool, accepted), strict=True))
