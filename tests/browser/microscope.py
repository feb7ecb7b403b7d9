"""A Microscope over a lens without a model: its jobs are those of `scripted`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from difflens_widgets.runs.job import LensJob
from difflens_widgets.runs.maps.options import AttentionOptions
from difflens_widgets.runs.tokens import read_words, word_text
from difflens_widgets.widgets.microscope import Microscope

try:
    from browser import scripted
except ImportError:  # in the kernel of a notebook, which has this folder on its path
    import scripted  # type: ignore[no-redef]


class Lens:
    """Starts jobs that paint drawn scenes in about `seconds`; with `hold_after` as `scripted.job`."""

    model = "difflens-tiny"
    num_layers = scripted.NUM_LAYERS
    pipe = None  # no run of it is taken for one of a model

    def __init__(self, seconds: float = 1.0, hold_after: int | None = None) -> None:
        self.seconds = seconds
        self.hold_after = hold_after
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def start(self, prompt: str, *, attention: bool = False, keep_tokens: str | None = None, **asked: Any) -> LensJob:
        """As `DiffusionLens.start`."""
        if asked["num_inference_steps"] == 0:
            raise ValueError("num_inference_steps: expected an integer ≥ 1, got 0")
        self.asked.append((prompt, asked))
        words = list(dict.fromkeys(word_text(word) for word in read_words(scripted.tokens(prompt))))
        return scripted.job(
            prompt,
            seconds=self.seconds,
            hold_after=self.hold_after,
            words=words if keep_tokens else (),
            attention=AttentionOptions() if attention else None,
        )

    def _jobs(self, prompt: str, **_: Any) -> list[SimpleNamespace]:
        return [SimpleNamespace(run=scripted.empty_run(prompt))]


class ScriptedMicroscope(Microscope):
    """A Microscope that reads no defaults of a pipeline."""

    def _read_defaults(self) -> dict[str, Any]:
        lens = self.lens
        steps = {"num_inference_steps": 20, "guidance_scale": 7.5}
        return {**steps, "num_layers": lens.num_layers, "model": lens.model}


def scope(prompt: str = "", seconds: float = 1.0, hold_after: int | None = None, **options: Any) -> Microscope:
    """A Microscope over a `Lens`."""
    return ScriptedMicroscope(Lens(seconds, hold_after), prompt, **options)  # type: ignore[arg-type]


def started(prompt: str) -> Microscope:
    """One whose run was painted before it is shown."""
    widget = scope(prompt, seconds=0.1)
    widget.start().result()
    return widget
