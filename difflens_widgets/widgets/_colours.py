"""The colours of heat maps, for pictures that the kernel draws; `heat.ts` has the same for the browser.

Two ramps, for one word and for a second one beside it. Both climb in equal steps of OKLab (lightness 0.20 to 0.91, each
step as visible as the next), one over warm and one over cool hues, which all kinds of colour blindness tell apart.
"""

from __future__ import annotations

import numpy as np

WARM = "2a090b 4b1714 6f271a 903d21 b15425 ca7522 df9827 ecbe4e f5e378"
COOL = "141030 232356 2f3980 3a53a2 4470c4 4393d8 4eb5e8 73d4f1 a0f1fb"


def coloured(share: np.ndarray, ramp: str = WARM) -> np.ndarray:
    """The colours of values 0..1 (...), as uint8 (..., 3); what lies beyond is drawn as the end of the ramp."""
    stops = np.array([list(bytes.fromhex(stop)) for stop in ramp.split()], dtype=float)
    places = np.linspace(0, 1, len(stops))
    channels = [np.interp(share, places, stops[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
