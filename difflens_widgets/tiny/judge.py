"""Reads a picture back: which kinds of things, in which colors, how many and where, on which background.

A small convolutional network marks the centre of every thing it sees, on a grid of 16 × 16 places, and names its
color, material and size there. Because pictures come from known scenes, "what did this layer understand" becomes a
number. What a caption claims is held against a reading in `caption_checks.py`; it is trained in `judge_training.py`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..models.loading import WEIGHTS
from .drawing import SIZE
from .scenes import BACKGROUNDS, COLORS, KINDS, MATERIALS
from .vision import shrink

KIND_NAMES, COLOR_NAMES, MATERIAL_NAMES = list(KINDS), list(COLORS), list(MATERIALS)
GRID = 16
_READ_AT = 64  # pixels a side
_CERTAIN = 0.5  # what a centre must reach to count
_RARE = 0.01  # how likely a centre is held at first: at even odds, all places without one would drown the rest
_FOLDER = WEIGHTS / "judge"


@dataclass(frozen=True)
class Seen:
    """One kind of thing in a picture; `x`, `y`, `r` as in `scenes.Item` (of one of them, where `count` > 1)."""

    color: str
    count: int
    x: float
    y: float
    r: float
    material: str = "plain"


@dataclass(frozen=True)
class Reading:
    """What the judge sees in one picture."""

    background: str
    things: dict[str, Seen]

    def relation(self, first: str, second: str) -> str | None:
        """Where the kind `first` is, seen from `second`; None where one of them is missing."""
        if first not in self.things or second not in self.things:
            return None
        a, b = self.things[first], self.things[second]
        dx, dy = a.x - b.x, a.y - b.y
        if np.hypot(dx, dy) < 0.5 * b.r and a.r < b.r:
            return "inside"
        if abs(dy) > abs(dx):
            return "above" if dy < 0 else "below"
        return "left of" if dx < 0 else "right of"


def _block(before: int, after: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        *[nn.Conv2d(before, after, 3, stride, 1), nn.GroupNorm(8, after), nn.SiLU()],
        *[nn.Conv2d(after, after, 3, 1, 1), nn.GroupNorm(8, after), nn.SiLU()],
    )


class Judge(nn.Module):
    """The network; `read` is what one calls."""

    def __init__(self, size: int = SIZE) -> None:
        super().__init__()
        self.size = size
        self.down = nn.ModuleList([_block(3, 24, 2), _block(24, 64, 2), _block(64, 96, 2), _block(96, 96, 2)])
        self.up = nn.ModuleList([_block(192, 96), _block(160, 96)])
        kinds, colors = len(KIND_NAMES), len(COLOR_NAMES)
        self.places = nn.Conv2d(96, kinds * (1 + 1 + colors), 1)  # centre, size, colors; for each kind
        bias = self.places.bias
        assert bias is not None
        nn.init.constant_(bias.unflatten(0, (kinds, -1))[:, 0], math.log(_RARE / (1 - _RARE)))
        self.materials = nn.Conv2d(96, len(MATERIAL_NAMES), 1)
        self.background = nn.Linear(96, len(BACKGROUNDS))

    def forward(self, pixels: Tensor) -> dict[str, Tensor]:
        """Answer for (batch, 3, size, size) in -1..1.

        `centre` (batch, kind, row, column) logits, `r` likewise in fractions of the side, `color` (batch, kind,
        color, row, column) logits, `material` (batch, material, row, column) logits, `background` (batch, background)
        logits.
        """
        levels = [shrink(pixels, _READ_AT)]
        for block in self.down:
            levels.append(block(levels[-1]))
        x = levels[-1]
        background = self.background(x.mean((2, 3)))
        for block, level in zip(self.up, (levels[-2], levels[-3]), strict=True):
            x = block(torch.cat([F.interpolate(x, size=level.shape[-2:]), level], 1))
        places = self.places(x).float().unflatten(1, (len(KIND_NAMES), -1))
        return {
            "centre": places[:, :, 0],
            "r": places[:, :, 1],
            "color": places[:, :, 2:],
            "material": self.materials(x).float(),
            "background": background.float(),
        }

    @classmethod
    def load(cls, folder: Path = _FOLDER) -> Judge:
        """The judge that ships with the embedded model."""
        judge = cls(json.loads((folder / "config.json").read_text())["size"])
        judge.load_state_dict({key: value.float() for key, value in load_file(folder / "model.safetensors").items()})
        return judge.eval()

    @classmethod
    def init_from(cls, folder: Path) -> Judge:
        """An untrained judge that begins with what another world's judge has in common with it: its eyes, not names."""
        judge = cls()
        own = judge.state_dict()
        theirs = {key: value.float() for key, value in load_file(folder / "model.safetensors").items()}
        same = {key for key in own.keys() & theirs.keys() if own[key].shape == theirs[key].shape}
        judge.load_state_dict({key: theirs[key] if key in same else own[key] for key in own})
        return judge

    def save(self, folder: Path = _FOLDER) -> None:
        """Write the weights in float16."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {key: value.half().contiguous() for key, value in self.state_dict().items()}
        save_file(tensors, folder / "model.safetensors")
        (folder / "config.json").write_text(json.dumps({"size": self.size}))

    @torch.inference_mode()
    def read(self, images: Sequence[Image.Image]) -> list[Reading]:
        """Read pictures of any size."""
        arrays = [np.asarray(image.convert("RGB").resize((self.size, self.size))) for image in images]
        pixels = torch.from_numpy(np.stack(arrays)).permute(0, 3, 1, 2).float() / 127.5 - 1
        answers = self(pixels.to(next(self.parameters()).device))
        certain = answers["centre"].sigmoid()
        peaks = (certain > _CERTAIN) & (certain == F.max_pool2d(certain, 5, 1, 2))
        return [
            self._reading(peaks[row], {name: answer[row] for name, answer in answers.items()})
            for row in range(len(arrays))
        ]

    @staticmethod
    def _reading(peaks: Tensor, answers: dict[str, Tensor]) -> Reading:
        things: dict[str, Seen] = {}
        for kind, name in enumerate(KIND_NAMES):
            places = peaks[kind].nonzero().tolist()
            if places:
                row, column = places[0]
                colors = sum(answers["color"][kind, :, i, j].softmax(0) for i, j in places)
                color = COLOR_NAMES[int(torch.as_tensor(colors).argmax())]
                x, y = (column + 0.5) / GRID, (row + 0.5) / GRID
                r = float(answers["r"][kind, row, column])
                material = MATERIAL_NAMES[int(answers["material"][:, row, column].argmax())]
                things[name] = Seen(color, len(places), x, y, r, material)
        return Reading(BACKGROUNDS[int(answers["background"].argmax())], things)
