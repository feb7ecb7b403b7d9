"""LensWidget: the base of the four widgets: frames, heartbeat, saved files, and a picture for where no widget runs."""

from __future__ import annotations

import base64
import logging
import os
import sys
import threading
import time
import uuid
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import anywidget
import traitlets as t

from ..runs.render.page import PageView, embedded_page
from ._task_thread import TaskThread
from .channel import Channel

log = logging.getLogger(__name__)

_STATIC = Path(__file__).parent / "static"

CHOICE = {"sync": True, "echo_update": False}
"""Tags of a trait that the browser sets. The kernel does not echo it: an echo comes late and would undo a drag."""

_HEARTBEAT = 2.0  # seconds between two "alive" messages of a running job; the browser waits 4 s for one
_STILL_PATIENCE = 15.0  # seconds that a browser may delay the replacement of the cell's output


@cache
def read_static(name: str) -> str:
    """The text of a file of the built front end, as `_esm` and `_css` take it.

    It has to be text: given a Path, anywidget watches the file by a callback that keeps every widget alive, and with it
    the run that it shows.

    Parameters
    ----------
    name : str
        A file name in `widgets/static/`, for example "layer_slider.js".

    Raises
    ------
    FileNotFoundError
        If the front end is not built.
    """
    return (_STATIC / name).read_text("utf-8")


def in_colab() -> bool:
    """True in Google Colab, where messages from background threads do not reach the browser while a cell runs."""
    return "google.colab" in sys.modules


def is_static(static: bool) -> bool:
    """Whether a widget is displayed as a page: where it asks for it, or where DIFFLENS_STATIC is 1, as in a site."""
    return static or os.environ.get("DIFFLENS_STATIC") == "1"


class LensWidget(anywidget.AnyWidget):
    """Base of the widgets. A subclass sets `_esm` and implements `_stop`, `_write_file` and `_still_png`.

    The handlers of messages from the browser (`hello`, `stop`, `still`, `export`) return at once: they set events, post
    tasks or start threads.
    """

    _css = read_static("difflens.css")
    _file_types: ClassVar[dict[str, str]] = {"gif": "image/gif", "html": "text/html"}  # format → MIME type

    status = t.Enum(["empty", "running", "done", "stopped", "failed"], default_value="empty").tag(sync=True)
    message = t.Unicode(help="Why the run failed.").tag(sync=True)
    notice = t.Unicode(help="Information that needs no action.").tag(sync=True)

    _run = t.Int(0).tag(sync=True)  # counts the sources shown: late frames of an earlier source are recognised by it
    _acknowledged = t.Int(0).tag(**CHOICE)  # number of the last frame that the browser has decoded; set there
    # serialised as a copy: the task thread adds pictures in place while another thread may read
    _frames = t.Dict().tag(sync=True, to_json=lambda frames, _: dict(frames), echo_update=False)

    _static = False  # True: the cell's output is a page, see `_page_output`

    def __init__(self, **traits: Any) -> None:
        self._lock = threading.RLock()  # traits are set by the task thread and by messages from the browser
        self._channel = Channel(self.send)
        self._task_thread = TaskThread(self._tick)
        self._last_beat = 0.0
        self._browser_seen = False
        self._still_due = False
        self._still_timer: threading.Timer | None = None
        self._display_ids: list[str] = []
        self._exporting: set[str] = set()
        super().__init__(**traits)
        self.on_msg(self._on_message)

    def close(self) -> None:
        """Remove the widget from the page and end its thread. A job that it showed continues."""
        # ipywidgets also closes a widget whose `__init__` refused its source before there was a thread
        if "_task_thread" in self.__dict__:
            self._task_thread.close()
            if self._still_timer is not None:
                self._still_timer.cancel()
        super().close()

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take trait values from the browser, but not while the task thread sets traits: updates would be lost."""
        with self._lock:
            super().set_state(sync_data)

    @t.observe("_acknowledged")
    def _on_acknowledged(self, change: dict[str, Any]) -> None:
        self._channel.acknowledge(change["new"])
        self._task_thread.wake()

    def _tick(self) -> float | None:
        wait = self._channel.flush()
        if self.status != "running":
            return wait
        now = time.monotonic()
        if now - self._last_beat >= _HEARTBEAT:
            self._last_beat = now
            self.send({"type": "alive"})
        rest = _HEARTBEAT - (now - self._last_beat)
        return rest if wait is None else min(wait, rest)

    # -- messages from the browser

    def _on_message(self, _: Any, content: Any, __: Any) -> None:
        kind = content.get("type") if isinstance(content, dict) else None
        if kind == "hello":
            self._browser_seen = True
            self.send({"type": "alive"})
        elif kind == "stop":
            self._stop()
        elif kind == "still":
            self._task_thread.post(self._update_still)
        elif kind == "export":
            self._start_export(str(content.get("format")))

    def _start_export(self, file_format: str) -> None:
        if file_format not in self._file_types:
            self.send({"type": "file", "format": file_format, "error": f"cannot save as {file_format!r}"})
        elif file_format not in self._exporting:
            self._exporting.add(file_format)
            threading.Thread(target=self._export, args=(file_format,), name="difflens-export", daemon=True).start()

    def _export(self, file_format: str) -> None:
        answer: dict[str, Any] = {"type": "file", "format": file_format, "mime": self._file_types[file_format]}
        buffers: list[bytes] = []
        try:
            with TemporaryDirectory(prefix="difflens-") as folder:
                path = Path(folder) / f"lens.{file_format}"
                self._write_file(file_format, path)
                buffers = [path.read_bytes()]
        except Exception as error:  # any error: the user who pressed the button has to see it
            log.exception("saving as %s failed", file_format)
            answer["error"] = f"{type(error).__name__}: {error}"
        self._exporting.discard(file_format)
        self.send(answer, buffers)

    # -- the still picture in the notebook file

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        if self._static and (page := self._page_output()):
            return page, {}
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        data = {**data, "text/plain": repr(self)}
        png = self._still_png()
        if png is not None:
            data["image/png"] = base64.b64encode(png).decode("ascii")
        return data, metadata

    def _page_output(self) -> dict[str, Any] | None:
        """A page as the cell's output, at the layer and with the choices of now; None while there is no picture.

        It has no reference to this widget, so that no notebook looks for a kernel that is gone.
        """
        png = self._still_png()
        if png is None:
            return None
        chosen = {name: getattr(self, name) for name in self.trait_names(sync=True, echo_update=False)}
        choices = {name: value for name, value in chosen.items() if not name.startswith("_")}

        def view_of(thinning: int) -> PageView:
            view = self._page_view(thinning)
            return replace(view, state={**view.state, **choices})

        page = embedded_page(view_of, png)
        return {"text/html": page, "image/png": base64.b64encode(png).decode("ascii"), "text/plain": repr(self)}

    def _ipython_display_(self, **_: Any) -> None:
        from IPython.display import publish_display_data

        data, metadata = self._repr_mimebundle_()
        display_id = uuid.uuid4().hex
        self._display_ids.append(display_id)
        publish_display_data(data, metadata, transient={"display_id": display_id})

    def _renew_still(self) -> None:
        """Put the finished picture into the cell's output, so that the notebook file shows it without a kernel.

        Replacing the output makes the notebook render the view again. An open browser therefore says when the user is
        idle (message `still`); without a browser the output is replaced at once.
        """
        if not self._display_ids:
            return
        self._still_due = True
        if not self._browser_seen:
            self._update_still()
            return
        self.send({"type": "done"})
        self._still_timer = threading.Timer(_STILL_PATIENCE, partial(self._task_thread.post, self._update_still))
        self._still_timer.daemon = True
        self._still_timer.start()

    def _update_still(self) -> None:
        if not self._still_due:
            return
        self._still_due = False
        if self._still_timer is not None:
            self._still_timer.cancel()
        from IPython.display import publish_display_data

        data, metadata = self._repr_mimebundle_()
        for display_id in self._display_ids:
            publish_display_data(data, metadata, transient={"display_id": display_id}, update=True)

    # -- implemented by a subclass

    def _stop(self) -> None:
        """Cancel the running job, if there is one."""
        raise NotImplementedError

    def _write_file(self, file_format: str, path: Path) -> None:
        """Write what the widget shows to `path`; `file_format` is "gif" or "html"."""
        raise NotImplementedError

    def _page_view(self, thinning: int = 0) -> PageView:
        """Give this widget as part of a page, see `PageView`; called only while there is a picture."""
        raise NotImplementedError

    def _still_png(self) -> bytes | None:
        """A PNG that replaces the widget where none can run; None while there is no picture."""
        raise NotImplementedError
