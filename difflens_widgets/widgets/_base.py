"""LensWidget: what all four widgets share: frames, liveness, files to save, and a picture where no widget can run."""

from __future__ import annotations

import base64
import logging
import sys
import threading
import time
import uuid
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import anywidget
import traitlets as t

from ._pump import Pump
from .channel import Channel

log = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"

CHOICE = {"sync": True, "echo_update": False}
"""Tags of a trait that the browser sets: the kernel does not send it back, which would undo what was dragged since."""

_HEARTBEAT = 2.0  # seconds: a browser that hears nothing for longer takes the kernel for gone
_STILL_PATIENCE = 15.0  # seconds that a browser may put off the exchange of the still picture
_FILE_TYPES = {"gif": "image/gif", "html": "text/html"}


def in_colab() -> bool:
    """True where the browser hears nothing from background threads."""
    return "google.colab" in sys.modules


class LensWidget(anywidget.AnyWidget):
    """Base of the widgets; a subclass sets `_esm`, `_css` and answers the three questions at the end.

    Messages from the browser (`hello`, `stop`, `still`, `export`) only set events or start threads.
    """

    _css = STATIC / "difflens.css"

    status = t.Enum(["empty", "running", "done", "stopped", "failed"], default_value="empty").tag(sync=True)
    message = t.Unicode(help="Why it failed.").tag(sync=True)
    notice = t.Unicode(help="Something to know that needs no action.").tag(sync=True)

    _uid = t.Unicode().tag(sync=True)  # tells models apart on a page
    _run = t.Int(0).tag(sync=True)  # counts the sources shown, so that late frames of an earlier one are known
    _acknowledged = t.Int(0).tag(**CHOICE)  # the last frame the browser has, set there
    # a copy for each reader: pictures are added in place while others may read
    _frames = t.Dict().tag(sync=True, to_json=lambda frames, _: dict(frames), echo_update=False)

    def __init__(self, **traits: Any) -> None:
        self._lock = threading.RLock()  # traits are set here by the pump and by messages from the browser
        self._channel = Channel(self.send)
        self._pump = Pump(self._tick)
        self._last_beat = 0.0
        self._browser_seen = False
        self._still_due = False
        self._still_timer: threading.Timer | None = None
        self._display_ids: list[str] = []
        self._exporting: set[str] = set()
        super().__init__(_uid=uuid.uuid4().hex, **traits)
        self.on_msg(self._on_message)

    def close(self) -> None:
        """Take the widget off the page and end its thread; a job it showed goes on."""
        if "_pump" in self.__dict__:  # ipywidgets closes also what was never opened, because its source was refused
            self._pump.close()
            if self._still_timer is not None:
                self._still_timer.cancel()
        super().close()

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take trait values from the browser; never while the pump sets some, which would lose updates."""
        with self._lock:
            super().set_state(sync_data)

    @t.observe("_acknowledged")
    def _on_acknowledged(self, change: dict[str, Any]) -> None:
        self._channel.acknowledge(change["new"])
        self._pump.wake()

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
            self._pump.post(self._update_still)
        elif kind == "export":
            self._start_export(str(content.get("format")))

    def _start_export(self, file_format: str) -> None:
        if file_format not in _FILE_TYPES:
            self.send({"type": "file", "format": file_format, "error": f"cannot save as {file_format!r}"})
        elif file_format not in self._exporting:
            self._exporting.add(file_format)
            threading.Thread(target=self._export, args=(file_format,), name="difflens-export", daemon=True).start()

    def _export(self, file_format: str) -> None:
        answer: dict[str, Any] = {"type": "file", "format": file_format, "mime": _FILE_TYPES[file_format]}
        buffers: list[bytes] = []
        try:
            with TemporaryDirectory(prefix="difflens-") as folder:
                path = Path(folder) / f"lens.{file_format}"
                self._write_file(file_format, path)
                buffers = [path.read_bytes()]
        except Exception as error:  # whatever it is, the one who pressed the button shall read it
            log.exception("saving as %s failed", file_format)
            answer["error"] = f"{type(error).__name__}: {error}"
        self._exporting.discard(file_format)
        self.send(answer, buffers)

    # -- the still picture in the notebook file

    def _repr_mimebundle_(self, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        bundle = super()._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle or {}, {})
        data = {**data, "text/plain": repr(self)}
        png = self._still_png()
        if png is not None:
            data["image/png"] = base64.b64encode(png).decode("ascii")
        return data, metadata

    def _ipython_display_(self, **_: Any) -> None:
        from IPython.display import publish_display_data

        data, metadata = self._repr_mimebundle_()
        display_id = uuid.uuid4().hex
        self._display_ids.append(display_id)
        publish_display_data(data, metadata, transient={"display_id": display_id})

    def _renew_still(self) -> None:
        """Put the finished picture into the outputs of the notebook, so that its file shows it without a kernel.

        The exchange draws the view anew; a browser that looks on says when that disturbs nobody.
        """
        if not self._display_ids:
            return
        self._still_due = True
        if not self._browser_seen:
            self._update_still()
            return
        self.send({"type": "done"})
        self._still_timer = threading.Timer(_STILL_PATIENCE, partial(self._pump.post, self._update_still))
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

    # -- what a subclass knows

    def _stop(self) -> None:
        """Stop what is running."""
        raise NotImplementedError

    def _write_file(self, file_format: str, path: Path) -> None:
        """Write what is shown to `path` as "gif" or "html"."""
        raise NotImplementedError

    def _still_png(self) -> bytes | None:
        """What stands in for the widget where none can run; None while there is nothing to see."""
        raise NotImplementedError
