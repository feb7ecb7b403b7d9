"""Waits for a job with a progress bar."""

from __future__ import annotations

import logging

from tqdm.auto import tqdm

from .events import Event, Message, Progress
from .job import LensJob
from .run import LensRun

log = logging.getLogger(__name__)


def with_progress_bar(job: LensJob) -> LensRun:
    """Start `job` and wait for it. The bar grows with each denoising step; messages go to the log."""
    unit = "pictures" if job.run.token_masks else "layers"
    pictures = len(job.run.layers) * (1 + len(job.run.token_masks))
    style = "{desc}: {percentage:3.0f}%|{bar}| [{elapsed}<{remaining}]"
    with tqdm(total=pictures, desc=unit, bar_format=style, leave=False) as bar:

        def show(event: Event) -> None:
            if isinstance(event, Progress):
                done, at_once = event.layers_done + event.tokens_done, len(event.running) + len(event.running_tokens)
                count = f"all {pictures} {unit} at once" if at_once == pictures > 1 else f"{done} of {pictures} {unit}"
                bar.set_description_str(f"{count}, step {event.step} of {event.steps}", refresh=False)
                bar.update(max(0.0, min(pictures, painted(event)) - bar.n))
            elif isinstance(event, Message):
                log.warning(event.message)

        job.subscribe(show, previews=False)
        return job.wait()


def painted(event: Progress) -> float:
    """How many pictures are painted, with the share of those that are being painted: at once, many of them are."""
    done = event.layers_done + event.tokens_done
    under_way = len(event.running) + len(event.running_tokens)
    return done + under_way * (event.step / event.steps if event.step < event.steps else 0)
