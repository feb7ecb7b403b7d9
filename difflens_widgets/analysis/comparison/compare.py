"""compare(): paint one prompt with a raw and a tuned model, from the same noise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ...lens.diffusion_lens import DiffusionLens
from ...lens.settings import RunOptions, takes_run_options
from ...models.sampling_defaults import sampling_defaults
from ...runs.progress_bar import with_progress_bar
from ...runs.run import LensRun
from ..metrics import state_cosine
from ..states import read_states
from .comparison import Comparison
from .file import SWAPPED
from .swapped import require_comparable, require_swappable, swapped_lens, with_rows_of

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..judges import PictureJudge


@takes_run_options
def compare(
    raw: DiffusionLens,
    tuned: DiffusionLens,
    prompt: str,
    *,
    attribution: bool = False,
    judge: PictureJudge | None = None,
    **options: Unpack[RunOptions],
) -> Comparison:
    """Paint one prompt with a raw and a tuned model, from the same noise, and measure what differs.

    Parameters
    ----------
    raw, tuned : DiffusionLens
        Each on a pipeline of its own: to compare a LoRA, load the model twice and the LoRA into one of them. Neither
        is changed. Both paint with `raw.batch_size`, or with what fits in memory for both. The same lens twice is the
        control: then nothing differs.
    prompt : str
    attribution : bool
        Also paint with {tuned encoder, raw U-Net} and with {raw encoder, tuned U-Net}; takes twice the time. These two
        pipelines are made of the modules of `raw` and `tuned`; nothing is copied. Of SDXL both text encoders are
        swapped together.
    judge : PictureJudge, optional
        Says of each picture of `raw` and `tuned` whether it shows the prompt.
    **options
        As in `DiffusionLens.start`, such as layers, seed, num_inference_steps, attention; the same for all runs.

    Raises
    ------
    ValueError, TypeError
        For models that cannot be compared, or whose parts cannot be swapped; arguments that cannot work; a prompt that
        the judge cannot judge. Before anything is computed.
    """
    values: dict[str, Any] = {  # an iterator would be read by the first run alone
        name: list(value) if isinstance(value, Iterator) else value for name, value in options.items()
    }
    for name, value in sampling_defaults(raw.pipe)._asdict().items():  # for both: they differ in nothing else
        values[name] = value if values.get(name) is None else values[name]
    require_comparable(raw, tuned, prompt, options.get("height"), options.get("width"))
    if attribution:
        require_swappable(raw, tuned)
    if judge is not None:
        judge.judge([], prompt)
    raw_lens, tuned_lens = with_rows_of(raw, raw), with_rows_of(raw, tuned)
    lenses = {("raw", "raw"): raw_lens, ("tuned", "tuned"): tuned_lens}
    if attribution:
        by_name = {"raw": raw_lens, "tuned": tuned_lens}
        lenses |= {(encoder, unet): swapped_lens(by_name[encoder], by_name[unet]) for encoder, unet in SWAPPED}
    runs = _paint(lenses, prompt, values)

    raw_run, tuned_run = runs.pop(("raw", "raw")), runs.pop(("tuned", "tuned"))
    lora_scale = (options.get("cross_attention_kwargs") or {}).get("scale")
    states = [read_states(lens, prompt, normed=True, lora_scale=lora_scale).states for lens in (raw, tuned)]
    verdicts, described = {}, ""
    if judge is not None:
        verdicts = {"raw": _verdicts(judge.judge, raw_run), "tuned": _verdicts(judge.judge, tuned_run)}
        described = getattr(judge, "description", type(judge).__name__)
    cosines = state_cosine(*states).astype(np.float32)
    return Comparison(raw_run, tuned_run, runs, cosines, True, verdicts, described)


def _paint(lenses: dict[tuple[str, str], DiffusionLens], prompt: str, values: dict[str, Any]) -> dict[Any, LensRun]:
    """Run all lenses, with equally many rows in all forwards, also if one of them has run out of memory."""
    jobs = {pair: lens._jobs(prompt, **values)[0] for pair, lens in lenses.items()}  # checks the arguments of all
    runs = {pair: with_progress_bar(job) for pair, job in jobs.items()}
    least = min(run.settings["batch_size"] for run in runs.values())
    for pair, run in runs.items():
        if run.settings["batch_size"] != least:
            again = with_rows_of(lenses[pair], lenses[pair], least)
            runs[pair] = with_progress_bar(again._jobs(prompt, **values)[0])
    return runs


def _verdicts(judge: Callable[..., Any], run: LensRun) -> dict[int, bool]:
    """What the judge says of each picture, by layer."""
    painted = sorted(set(run.images) - run.flagged)
    accepted = list(judge([run.images[layer] for layer in painted], run.prompt))
    if len(accepted) != len(painted):
        raise ValueError(f"judge: answered {len(accepted)} times for {len(painted)} pictures")
    return dict(zip(painted, map(bool, accepted), strict=True))
