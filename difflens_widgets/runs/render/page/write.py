"""Writes pages: `to_html` for one or several results, and WithPage, the base of what has a page. No ipywidgets here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...format.atomic_write import replacing
from .budget import fitted
from .view import PageView


class WithPage:
    """Base of what can be written as a page: a run, a comparison, a training."""

    def page_views(self, thinning: int = 0) -> list[PageView]:
        """The widgets of its page; `thinning`, 0..`MAX_THINNING`, says how many pictures are left out.

        Raises
        ------
        ValueError
            If there is no picture yet.
        """
        raise NotImplementedError

    def to_html(self, path: str | Path, *, max_bytes: int | None = None) -> Path:
        """Write one HTML file with the widgets that show this; it works without network, kernel or server.

        A run has a layer slider, and a token-attention grid if it has attention maps; a comparison has a diff viewer; a
        training has an epoch scrubber. `difflens_widgets.to_html` writes several of them as one page.

        Parameters
        ----------
        path : str or Path
            The file to write. An existing file is replaced when the page is complete.
        max_bytes : int, optional
            The largest size of the file. A page that would be larger gets pictures of lower quality, then smaller ones,
            then fewer, and says so. By default nothing is reduced: 13 pictures of 512 × 512 take about 1 MB, and the
            attention maps of 13 layers 0.5 MB more for the embedded model, up to 3.5 MB more for SD 1.5.

        Raises
        ------
        ValueError
            If there is no picture yet, or if no page of `max_bytes` is possible.
        OSError
            If the file cannot be written (an existing file is unchanged), or if the front end is not built.
        """
        return to_html(self, path, max_bytes=max_bytes)


def to_html(
    sources: WithPage | Sequence[WithPage], path: str | Path, *, title: str | None = None, max_bytes: int | None = None
) -> Path:
    """Write runs, comparisons and trainings as one HTML file, with a menu if there is more than one widget.

    The file holds the widgets themselves and works without network, kernel or server, with keyboard and touch. The
    views of one run have their layer in common. Where scripts are switched off, the page shows still pictures.

    Parameters
    ----------
    sources : LensRun, Comparison, TrainingHistory, or a sequence of these
        What to show, in this order.
    path : str or Path
        The file to write. An existing file is replaced when the page is complete.
    title : str, optional
        The heading of the page; by default the prompt of the first run.
    max_bytes : int, optional
        The largest size of the file, see `LensRun.to_html`; for all sources together.

    Returns
    -------
    Path
        `path`.

    Raises
    ------
    TypeError
        If a source has no page.
    ValueError
        If there is no source, a source has no picture yet, or no page of `max_bytes` is possible.
    OSError
        If the file cannot be written (an existing file is unchanged), or if the front end is not built.

    Examples
    --------
    >>> to_html([run, comparison, history], "findings.html", max_bytes=5_000_000)  # doctest: +SKIP
    """
    each = [sources] if isinstance(sources, WithPage) else list(sources)
    for source in each:
        if not isinstance(source, WithPage):
            kind = type(source).__name__
            raise TypeError(f"to_html: expected a LensRun, a Comparison or a TrainingHistory, got {kind}")
    if not each:
        raise ValueError("there is nothing to write a page of")
    if max_bytes is not None and (isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 1):
        raise ValueError(f"max_bytes: expected a number of bytes, 1 or more, got {max_bytes!r}")
    page, title = fitted(lambda thinning: [source.page_views(thinning) for source in each], title, max_bytes)
    with replacing(Path(path), f"the page {title[:40]!r}") as file:
        file.write(page)
    return Path(path)
