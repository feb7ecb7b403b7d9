"""The runs of a Microscope: what was asked for, and what was painted."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..runs.events import Status
from ..runs.job import LensJob
from ..runs.ranges import parse_layers
from ..runs.run import LensRun

PARTS_WITH_RUNS = ("lens", "second", "patch")
EXAMPLES = (
    ("Which color belongs to which shape?", "a red circle and a blue square", "a blue circle and a red square"),
    ("When does a color arrive?", "a pink cat on a blue background", "a green cat on a blue background"),
    ("Which thing is inside which?", "a yellow star inside a purple heart", "a purple star inside a yellow heart"),
    ("Does the number count?", "one red circle", "three red circles"),
)
"""What to ask, a prompt, and a related prompt to compare it with."""


@dataclass(frozen=True)
class Form:
    """What the boxes of a Microscope hold; None and "" leave a value to the model."""

    prompt: str
    negative_prompt: str
    seed: int
    num_inference_steps: int | None
    guidance_scale: float | None
    layers: str

    def options(self) -> dict[str, Any]:
        """Return the arguments of `DiffusionLens.start` besides the prompt.

        Raises
        ------
        ValueError
            If there is no prompt, or if the layers are not written as on the command line.
        """
        require_text("prompt", self.prompt)
        try:
            layers = parse_layers(self.layers.strip()) if self.layers.strip() else None
        except argparse.ArgumentTypeError as error:
            raise ValueError(f"layers: {error}") from None
        return {
            "negative_prompt": self.negative_prompt or None,
            "seed": self.seed,
            "num_inference_steps": self.num_inference_steps,
            "guidance_scale": self.guidance_scale,
            "layers": layers,
        }

    @classmethod
    def of(cls, run: LensRun) -> Form:
        """Return what to type to paint a run again."""
        settings = run.settings
        steps, guidance = settings.get("num_inference_steps"), settings.get("guidance_scale")
        every = sorted(run.layers) == list(range(run.num_layers))
        return cls(
            run.prompt,
            str(settings.get("negative_prompt") or ""),
            run.seed if 0 <= run.seed <= MOST_SEED else 0,
            steps if isinstance(steps, int) else None,
            float(guidance) if isinstance(guidance, int | float) else None,
            "" if every else ",".join(str(layer) for layer in run.layers),
        )


MOST_SEED = 2**53 - 1
"""The largest seed that a browser can hold exactly."""


@dataclass(eq=False)  # compared by identity
class Entry:
    """One line of the history.

    Attributes
    ----------
    number : int
        1 for the first of the session.
    form : Form
    second : str
        The second prompt, once it was painted, or the source of a patch.
    sources : dict of "lens", "second", "patch" → LensRun or LensJob
        A job while it runs, then its run: a job is not kept.
    """

    number: int
    form: Form
    second: str = ""
    sources: dict[str, LensRun | LensJob] = field(default_factory=dict)

    def run(self, part: str) -> LensRun | None:
        """Return the run of a part; None if it has none."""
        source = self.sources.get(part)
        return source.run if isinstance(source, LensJob) else source

    def settle(self) -> None:
        """Replace the jobs that have ended by their runs."""
        for part, source in self.sources.items():
            if isinstance(source, LensJob) and source.run.status != "running":
                self.sources[part] = source.run

    def parts(self) -> list[str]:
        """Return what can be shown: "lens", "tokens", "attention", "second", "patch"."""
        run = self.run("lens")
        has = {
            "lens": run is not None,
            "tokens": run is not None and bool(run.token_masks),
            "attention": run is not None and run.attention is not None,
            "second": "second" in self.sources,
            "patch": "patch" in self.sources,
        }
        return [part for part, there in has.items() if there]

    def shown(self, view: str) -> LensRun | None:
        """Return the run that a tab shows; in "compare" that of the first prompt. None if it has none."""
        return self.run("patch" if view == "patch" else "lens")

    def describe(self) -> dict[str, Any]:
        """Return the line as the browser gets it."""
        run = self.run("lens") or self.run("patch")
        return {
            "number": self.number,
            "prompt": self.form.prompt,
            "seed": self.form.seed,
            "second": self.second,
            "parts": self.parts(),
            "status": run.status if run is not None else "empty",
        }


def require_text(what: str, text: str) -> None:
    """Raise a ValueError for a box that is left empty."""
    if not text.strip():
        raise ValueError(f"{what}: the box is empty; type what to paint, for example a pink cat on a blue background")


class History:
    """The entries of a session, at most `limit` of them.

    Attributes
    ----------
    entries : list of Entry
        The oldest first.
    current : Entry or None
        The one on screen.
    jobs : dict of LensJob → Entry
        The jobs that run.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._count = 0
        self.entries: list[Entry] = []
        self.current: Entry | None = None
        self.jobs: dict[LensJob, Entry] = {}

    def new(self, form: Form, **sources: LensRun | LensJob) -> Entry:
        """Make an entry with the next number; `put` adds it."""
        self._count += 1
        return Entry(self._count, form, sources=sources)

    def put(self, entry: Entry) -> None:
        """Go to an entry, and add it if it is new; drop the oldest of those that are too many and do not run."""
        if entry not in self.entries:
            self.entries.append(entry)
        self.current = entry
        kept = {entry, *self.jobs.values()}
        for old in self.entries[: -self._limit]:
            if old not in kept:
                self.entries.remove(old)

    def find(self, number: Any) -> Entry:
        """Return the entry of a number.

        Raises
        ------
        ValueError
            If it was dropped.
        """
        for entry in self.entries:
            if entry.number == number:
                return entry
        raise ValueError("this run is no longer kept")

    def entry_of(self, form: Form, painted_alike: Callable[[LensRun], bool]) -> Entry | None:
        """Return the entry on screen if it is complete, and is what the lens would paint with these boxes."""
        if self.current is None or self.current.form != form:
            return None
        run = self.current.run("lens")
        return self.current if run is not None and run.status == "done" and painted_alike(run) else None

    def settle(self) -> set[Status]:
        """Forget the jobs that have ended, but not their runs; return how they ended, {} while others run."""
        ended = {job: entry for job, entry in self.jobs.items() if job.run.status != "running"}
        for job, entry in ended.items():
            del self.jobs[job]
            entry.settle()
        return {job.run.status for job in ended}

    def runs(self) -> list[LensRun]:
        """Return all runs, the oldest first, each followed by its second prompt's and its patch."""
        runs = [entry.run(part) for entry in list(self.entries) for part in PARTS_WITH_RUNS]
        return [run for run in runs if run is not None]
