"""Channel: sends pictures of a running job to the browser, no faster than the browser decodes them.

Previews are latest-wins: a newer preview of a key replaces an older one that was not sent yet. Finished frames are
always sent. At most two frames are in flight; the browser acknowledges all frames up to a number. If no
acknowledgement comes for one second (the kernel is busy, or no browser is open), the channel continues at four frames a
second, so a job never waits for a browser.

A channel has neither thread nor timer: its owner calls `flush` again after the seconds that `flush` returned.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image

from ..runs.render.encoding import Encoder, encode_final, encode_preview

MAX_IN_FLIGHT = 2
PATIENCE = 1.0
"""Seconds without an acknowledgement after which frames are sent at `OPEN_LOOP_INTERVAL`."""
OPEN_LOOP_INTERVAL = 0.25
"""Seconds between two frames while no acknowledgement comes (open loop)."""

Sender = Callable[[dict[str, Any], list[bytes]], None]


@dataclass(frozen=True)
class Frame:
    """One picture that waits to be sent. Finished ones have encoded `data`; a preview is encoded when it is sent."""

    key: str
    step: int
    final: bool
    image: Image.Image | None = None
    mime: str = ""
    data: bytes = b""


class Channel:
    """Sends frames. All methods may be called from any thread.

    Parameters
    ----------
    send : callable
        Takes the content of a message (dict) and its binary buffers (list of bytes).
    clock : callable
        The time in seconds; must be monotonic.

    Attributes
    ----------
    first : str or None
        The key of the picture on screen, which is sent before all others.
    frames_sent, finished_sent, bytes_sent : int
        Since it was made: all frames, finished ones, and the bytes of their pictures.
    """

    def __init__(self, send: Sender, clock: Callable[[], float] = time.monotonic) -> None:
        self.first: str | None = None
        self._send = send
        self._clock = clock
        self._lock = threading.RLock()
        self._waiting: dict[str, Frame] = {}
        self._run = 0
        self.bytes_sent = self.finished_sent = 0
        self._sent = 0
        self._acknowledged = 0
        self._last_sent = float("-inf")
        self._last_word = float("-inf")  # when an acknowledgement came, or when one began to be due

    @property
    def frames_sent(self) -> int:
        """See the class."""
        return self._sent

    @property
    def in_flight(self) -> int:
        """Frames sent and not acknowledged."""
        return self._sent - self._acknowledged

    def preview(self, key: str, image: Image.Image, step: int) -> None:
        """Queue a preview. A newer one of the same `key` replaces it; it never replaces a finished frame."""
        with self._lock:
            waiting = self._waiting.get(key)
            if waiting is None or not waiting.final:
                self._waiting[key] = Frame(key, step, False, image)

    def final(self, key: str, image: Image.Image, step: int, encode: Encoder = encode_final) -> dict[str, Any]:
        """Encode and queue a finished picture; returns it as an entry of the `_frames` trait."""
        return self.finished(key, step, *encode(image))

    def finished(self, key: str, step: int, mime: str, data: bytes) -> dict[str, Any]:
        """As `final`, for a picture that is encoded already: its `mime` type and its bytes `data`."""
        with self._lock:
            self._waiting[key] = Frame(key, step, True, None, mime, data)
            return {"mime": mime, "step": step, "final": True, "run": self._run, "data": data}

    def acknowledge(self, number: int) -> None:
        """Note that the browser has decoded every frame up to `number`; a number that was never sent is ignored."""
        with self._lock:
            if self._acknowledged < number <= self._sent:
                self._acknowledged = number
                self._last_word = self._clock()

    def flush(self) -> float | None:
        """Send the frames that may be sent now.

        Returns
        -------
        float or None
            Seconds after which to call `flush` again; None if no frame waits.
        """
        with self._lock:
            while self._waiting:
                wait = self._seconds_to_wait()
                if wait > 0:
                    return wait
                self._send_one(self._waiting.pop(self._next_key()))
            return None

    def restart(self, run: int) -> None:
        """Drop all frames that wait; frames queued from now on belong to run number `run`."""
        with self._lock:
            self._run = run
            self._waiting.clear()

    def _seconds_to_wait(self) -> float:
        now = self._clock()
        if self.in_flight < MAX_IN_FLIGHT:
            return 0.0
        silent = now - self._last_word
        if silent < PATIENCE:
            return PATIENCE - silent
        return max(0.0, self._last_sent + OPEN_LOOP_INTERVAL - now)

    def _next_key(self) -> str:
        """The picture on screen, then finished frames, then the preview that has waited longest."""
        if self.first in self._waiting:
            return self.first
        return next((key for key, frame in self._waiting.items() if frame.final), next(iter(self._waiting)))

    def _send_one(self, frame: Frame) -> None:
        mime, data = (frame.mime, frame.data) if frame.image is None else encode_preview(frame.image)
        now = self._clock()
        if self.in_flight == 0:
            self._last_word = now
        self._sent += 1
        self.finished_sent += frame.final
        self.bytes_sent += len(data)
        self._last_sent = now
        content = {
            "type": "frame",
            "n": self._sent,
            "run": self._run,
            "key": frame.key,
            "step": frame.step,
            "final": frame.final,
            "mime": mime,
        }
        self._send(content, [data])
