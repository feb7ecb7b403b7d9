"""SceneJudge: judges pictures of the embedded model, whose captions and pictures both can be read by machine."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

from PIL import Image

from ..models.weight_hash import weight_hash
from .caption_checks import QUESTIONS, is_claimed, read_caption
from .judge import Judge


class SceneJudge:
    """Checks whether a picture shows what a caption of the embedded model's world claims.

    A `difflens_widgets.analysis.judges.PictureJudge`.

    Parameters
    ----------
    asks : str
        Which of the caption's claims has to be right:

        - "kinds": the kinds of things are there (others may be there too);
        - "colours": they are there, each in its own color;
        - "hues": the colors are there, on any kind of thing;
        - "relation": both kinds are there, and stand to each other as claimed;
        - "count": the kind is there as many times as claimed;
        - "material": the kinds that are striped, dotted or metallic are there, and are so;
        - "background": it has its color, or is the place claimed;
        - "everything" (default): all of these, and no other kind of thing.

        Whether an animal walks is never checked: the reader cannot see it.
    reader : difflens_widgets.tiny.judge.Judge, optional
        The network that reads pictures; default: the one shipped with the embedded model.
        ``python -m difflens_widgets.tiny.evaluation.score`` prints first how often it is right.

    Raises
    ------
    ValueError
        If `asks` is none of these.
    """

    def __init__(self, asks: str = "everything", reader: Judge | None = None) -> None:
        if asks not in QUESTIONS:
            raise ValueError(f"asks: {asks!r} is none of {', '.join(QUESTIONS)}")
        self.asks = asks
        self.reader = Judge.load() if reader is None else reader
        self.description = f"SceneJudge({asks}, {weight_hash(SimpleNamespace(components={'reader': self.reader}))})"

    def judge(self, images: Sequence[Image.Image], prompt: str) -> list[bool]:
        """Read the prompt as a caption, then each picture, and compare them.

        Raises
        ------
        ValueError
            If the prompt is no caption of the embedded model's world, or claims nothing that `asks` could check.
        """
        claim = read_caption(prompt)
        if not is_claimed(self.asks, claim):
            raise ValueError(f"prompt: {prompt!r} claims nothing that the judge of {self.asks!r} could look for")
        readings = self.reader.read(images) if images else []
        return [QUESTIONS[self.asks](claim, reading) for reading in readings]
