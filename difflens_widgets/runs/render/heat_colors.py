"""The colour ramps of heat maps, for pictures that the kernel draws; `js/src/attention/heat.ts` has the same ramps.

There are two ramps: one for a word and one for a second word beside it. Both rise in equal steps of the OKLab colour
space (lightness 0.20 to 0.91), so every step is equally visible. One has warm hues and one cool hues, which people with
any kind of colour blindness can tell apart.
"""

from __future__ import annotations

import numpy as np

WARM = "2a090b 4b1714 6f271a 903d21 b15425 ca7522 df9827 ecbe4e f5e378"
COOL = "141030 232356 2f3980 3a53a2 4470c4 4393d8 4eb5e8 73d4f1 a0f1fb"


def coloured(share: np.ndarray, ramp: str = WARM) -> np.ndarray:
    """The colours of values on a ramp.

    Parameters
    ----------
    share : float array, any shape
        Values in 0..1; a value outside gets the colour of the nearer end.
    ramp : str
        `WARM` or `COOL`.

    Returns
    -------
    uint8 array, the shape of `share` and 3
        sRGB, 0..255.
    """
    stops = np.array([list(bytes.fromhex(stop)) for stop in ramp.split()], dtype=float)
    positions = np.linspace(0, 1, len(stops))
    channels = [np.interp(share, positions, stops[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
