"""Waits for a job with a progress bar."""

from __future__ import annotations

import logging

from tqdm.auto import tqdm

from .events import Event, LayerImage, Message, TokenImage
from .job import LensJob
from .run import LensRun

log = logging.getLogger(__name__)


def with_progress_bar(job: LensJob) -> LensRun:
    """Start `job` and wait for it. The bar counts images; messages go to the log."""
    pictures = len(job.run.layers) * (1 + len(job.run.token_masks))
    with tqdm(total=pictures, desc="pictures" if job.run.token_masks else "layers", leave=False) as bar:

        def show(event: Event) -> None:
            if isinstance(event, (LayerImage, TokenImage)):
                bar.update()
            elif isinstance(event, Message):
                log.warning(event.message)

        job.subscribe(show, previews=False)
        return job.wait()
