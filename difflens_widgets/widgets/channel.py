"""Channel: pictures from a running job to the browser, as many as it can take and never more.

Previews are latest-wins: a newer one of the same key replaces an older one that was not sent yet. Finished frames are
always sent. At most two frames are on their way at a time; the browser tells in one cumulative number what it has
painted. Where no word comes back for a second (a kernel that is busy, a notebook without a browser) the channel goes
on at four frames a second, so nothing ever waits for a browser.

It has neither thread nor timer: whoever owns it calls `flush` when it says so.
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
"""Seconds without an acknowledgement until the channel stops counting on one."""
OPEN_LOOP_INTERVAL = 0.25
"""Seconds between two frames while no acknowledgement comes."""

Sender = Callable[[dict[str, Any], list[bytes]], None]


@dataclass(frozen=True)
class Frame:
    """One picture waiting to be sent. Finished ones have their `data`; previews are encoded when their turn comes."""

    key: str
    step: int
    final: bool
    image: Image.Image | None = None
    mime: str = ""
    data: bytes = b""


class Channel:
    """Sends frames; safe to call from several threads.

    Parameters
    ----------
    send : callable
        Takes the content of a message and its binary buffers.
    clock : callable
        Seconds, monotonic.

    Attributes
    ----------
    first : str or None
        The key that goes before all others: what is on screen.
    """

    def __init__(self, send: Sender, clock: Callable[[], float] = time.monotonic) -> None:
        self.first: str | None = None
        self._send = send
        self._clock = clock
        self._lock = threading.RLock()
        self._waiting: dict[str, Frame] = {}
        self._run = 0
        self._sent = 0
        self._acknowledged = 0
        self._last_sent = float("-inf")
        self._last_word = float("-inf")  # when an acknowledgement came, or the browser began to owe one

    @property
    def in_flight(self) -> int:
        """Frames sent and not acknowledged."""
        return self._sent - self._acknowledged

    def preview(self, key: str, image: Image.Image, step: int) -> None:
        """Offer an unfinished picture; it may be dropped for a newer one, and never replaces a finished one."""
        with self._lock:
            waiting = self._waiting.get(key)
            if waiting is None or not waiting.final:
                self._waiting[key] = Frame(key, step, False, image)

    def final(self, key: str, image: Image.Image, step: int, encode: Encoder = encode_final) -> dict[str, Any]:
        """Send a picture that will not change in its turn; returns it as the entry of a `_frames` trait."""
        return self.finished(key, step, *encode(image))

    def finished(self, key: str, step: int, mime: str, data: bytes) -> dict[str, Any]:
        """As `final`, of what is encoded already."""
        with self._lock:
            self._waiting[key] = Frame(key, step, True, None, mime, data)
            return {"mime": mime, "step": step, "final": True, "run": self._run, "data": data}

    def acknowledge(self, number: int) -> None:
        """The browser has every frame up to `number`."""
        with self._lock:
            if self._acknowledged < number <= self._sent:
                self._acknowledged = number
                self._last_word = self._clock()

    def flush(self) -> float | None:
        """Send what may be sent now.

        Returns
        -------
        float or None
            Seconds until there may be more to send; None when nothing waits.
        """
        with self._lock:
            while self._waiting:
                wait = self._seconds_to_wait()
                if wait > 0:
                    return wait
                self._send_one(self._waiting.pop(self._next_key()))
            return None

    def restart(self, run: int) -> None:
        """Forget what waits: from now on frames belong to the run of this number."""
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
        """What is on screen, then finished frames, then whatever waits longest."""
        if self.first in self._waiting:
            return self.first
        return next((key for key, frame in self._waiting.items() if frame.final), next(iter(self._waiting)))

    def _send_one(self, frame: Frame) -> None:
        mime, data = (frame.mime, frame.data) if frame.image is None else encode_preview(frame.image)
        now = self._clock()
        if self.in_flight == 0:
            self._last_word = now
        self._sent += 1
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
