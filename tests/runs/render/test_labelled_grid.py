"""The grid that comparisons and trainings are drawn with: pictures where they belong, hollow cells, labels."""

from __future__ import annotations

import numpy as np
from PIL import Image

from difflens_widgets.runs.render.labelled_grid import labelled_grid

RED, BLUE = (255, 0, 0), (0, 0, 255)
LAYOUT = {"left": 40, "top": 20, "label_y": 10, "gutter": 4, "text_size": 10}


def drawn(cells, rows, columns) -> np.ndarray:
    return np.asarray(labelled_grid(cells, rows, columns, **LAYOUT))


def test_pictures_stand_in_rows_and_columns() -> None:
    red, blue = (Image.new("RGB", (32, 16), color) for color in (RED, BLUE))
    sheet = drawn([[red, blue], [blue, red]], ["a", "b"], ["0", "1"])
    assert sheet.shape == (20 + 2 * (16 + 4), 40 + 2 * (32 + 4), 3)
    for y, row in ((20, (RED, BLUE)), (40, (BLUE, RED))):
        for x, color in zip((40, 76), row, strict=True):
            assert (sheet[y : y + 16, x : x + 32] == color).all()
            assert (sheet[y : y + 16, x + 32 : x + 36] == 255).all()
    assert (sheet[:20, 40:] < 255).any()  # the labels of the columns
    assert (sheet[20:36, :36] < 255).any()  # and of a row
    bare = drawn([[red, blue], [blue, red]], ["", ""], ["", ""])
    assert (bare[:20] == 255).all()
    assert (bare[:, :40] == 255).all()


def test_a_cell_without_a_picture_is_hollow() -> None:
    sheet = drawn([[Image.new("RGB", (64, 64), RED), "failed"], ["", ""]], ["a", "b"], ["0", "1"])
    cells = {"failed": sheet[20:84, 108:172], "": sheet[88:152, 40:104]}
    for word, cell in cells.items():
        edge = np.concatenate([cell[0], cell[-1], cell[:, 0], cell[:, -1]])
        assert (edge == 208).all()
        assert (cell[1:-1, 1:-1] < 255).any() == bool(word)
