"""What a Microscope starts for each of its tabs: the jobs, and the entry of the history that they belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..runs.job import LensJob
from ..runs.run import LensRun
from ._scope_history import Entry, Form, History, require_text

if TYPE_CHECKING:
    from ..lens.diffusion_lens import DiffusionLens

Started = tuple[Entry, list[LensJob]]


def defaults_of(lens: DiffusionLens) -> dict[str, Any]:
    """Return what is used where a box is empty, and the number of layers and the name of the model."""
    from ..models.sampling_defaults import sampling_defaults  # it needs torch, this module does not

    return {**sampling_defaults(lens.pipe)._asdict(), "num_layers": lens.num_layers, "model": lens.model}


def start_lens(lens: DiffusionLens, history: History, form: Form, attention: Any, *, words: bool) -> Started:
    """Paint all layers; with `words` also each word by itself.

    Raises
    ------
    ValueError, TypeError
        If there is no prompt, or as `DiffusionLens.start`.
    """
    options = form.options()
    job = lens.start(form.prompt, **options, attention=attention, keep_tokens="all" if words else None)
    return history.new(form, lens=job), [job]


def start_second(lens: DiffusionLens, history: History, form: Form, second: str, attention: Any) -> Started:
    """Paint a second prompt from the same noise, and the first one unless it is on screen already.

    Raises
    ------
    ValueError, TypeError
        If a prompt is missing, or as `DiffusionLens.start`.
    """
    options = form.options()
    require_text("second prompt", second)
    entry, jobs = _entry_of(lens, history, form), []
    if entry is None:
        jobs.append(lens.start(form.prompt, **options, attention=attention))
        entry = history.new(form, lens=jobs[0])
    try:
        jobs.append(lens.start(second, **options))
    except BaseException:
        for job in jobs:
            job.cancel()
        raise
    entry.second, entry.sources["second"] = second, jobs[-1]
    return entry, jobs


def start_patch(lens: Any, history: History, form: Form, source: str, words: str) -> Started:
    """Paint the prompt with states of a second one.

    Raises
    ------
    ValueError, TypeError
        If a prompt is missing, the words are no pairs, or as `DiffusionLens.patch`.
    """
    options = form.options()
    require_text("second prompt", source)
    pairs = parse_pairs(words)
    job: LensJob = lens.start_patch(form.prompt, source=source, tokens=pairs, **options)
    entry = _entry_of(lens, history, form) or history.new(form)
    entry.second, entry.sources["patch"] = source, job
    return entry, [job]


_CHANGE_NO_PICTURE = {"snapshots", "batch_size", "cut_off"}  # of the settings


def _entry_of(lens: Any, history: History, form: Form) -> Entry | None:
    """Return the entry on screen if this lens, as it is now, would paint the same: `show` takes runs of anything."""

    def painted_alike(run: LensRun) -> bool:
        from ..models.weight_hash import weight_hash  # it needs torch, this module does not

        asked: LensRun = lens._jobs(form.prompt, **form.options())[0].run  # this job is not started
        facts = {name: value for name, value in asked.settings.items() if name not in _CHANGE_NO_PICTURE}
        facts["model_hash"] = weight_hash(lens.pipe)
        same_places = (asked.seed, asked.layers) == (run.seed, run.layers)
        return same_places and all(run.settings.get(name) == value for name, value in facts.items())

    return history.entry_of(form, painted_alike)


def parse_pairs(text: str) -> list[tuple[str, str]] | str:
    """Read which words a patch exchanges: "red = blue, circle = square", "all", or nothing for those that differ.

    Raises
    ------
    ValueError
        If something between two commas has not the form of a pair.
    """
    if text.strip() in ("", "all"):
        return text.strip() or "different"
    pairs = [tuple(word.strip() for word in pair.split("=")) for pair in text.split(",")]
    if any(len(pair) != 2 or not all(pair) for pair in pairs):
        raise ValueError(
            f"words: {text!r} is not of the form red = blue, circle = square; nothing means the words that differ"
        )
    return [(mine, theirs) for mine, theirs in pairs]
