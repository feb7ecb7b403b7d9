"""Judges decide whether a picture shows what a prompt asks for. `tiny.scene_judge` has the embedded model's."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, Protocol

from PIL import Image


class PictureJudge(Protocol):
    """Anything that has this method is a judge; it may also show the pictures to a person.

    A judge may have a `description`, a str that changes whenever its answers may change: a saved table of emergence is
    continued only with judges of the same description (without one: of the same class).
    """

    def judge(self, images: Sequence[Image.Image], prompt: str) -> Sequence[bool]:
        """Return for each picture whether it shows what `prompt` asks for.

        Raises ValueError for a prompt that it cannot judge. Experiments call it first without pictures, so that this
        error comes before anything is painted.
        """
        ...


class CLIPJudge:
    """Asks a CLIP model whether the prompt fits a picture better than other texts do.

    Parameters
    ----------
    model : transformers.CLIPModel
        Loaded by you, on its device; not one with the text encoder that the lens looks at: that would judge itself.
    processor : transformers.CLIPProcessor
        The processor of that model.
    against : sequence of str
        Other texts, such as the prompts of all other pictures. The answer is yes if the prompt fits better than all
        of them; a text that equals the prompt is left out.
    threshold : float, optional
        The answer is yes if the cosine, -1..1, is at least this. Cosines differ between CLIP models (right captions
        have about 0.3 with ViT-B/32), so `against` alone is the safer choice. With both, both have to hold.

    Raises
    ------
    ValueError
        If neither `against` nor `threshold` is given, or the threshold is outside -1..1.
    """

    def __init__(
        self, model: Any, processor: Any, *, against: Sequence[str] = (), threshold: float | None = None
    ) -> None:
        from ..models.weight_hash import weight_hash

        if isinstance(against, str):
            raise TypeError(f"against: expected several texts, such as [{against!r}], got one str")
        if not against and threshold is None:
            raise ValueError("against: give other texts to compare with, or a threshold")
        if threshold is not None and not -1 <= threshold <= 1:
            raise ValueError(f"threshold: {threshold} is no cosine, which is -1..1")
        self.model, self.processor, self.against, self.threshold = model.eval(), processor, tuple(against), threshold
        weights = weight_hash(SimpleNamespace(components={"model": model}))
        self.description = f"CLIPJudge({weights}, against={self.against!r}, threshold={threshold})"

    def judge(self, images: Sequence[Image.Image], prompt: str) -> list[bool]:
        """Compare each picture with the prompt and the other texts, in one batch.

        Raises
        ------
        ValueError
            If `against` holds nothing but the prompt, and there is no threshold.
        """
        others = [text for text in self.against if text != prompt]
        if not others and self.threshold is None:
            raise ValueError(f"against: has nothing but the prompt {prompt!r} itself; give other texts, or a threshold")
        if not images:
            return []
        first, *rest = self._cosines(images, [prompt, *others]).T.tolist()
        fits_best = [all(cosine > other[i] for other in rest) for i, cosine in enumerate(first)]
        if self.threshold is None:
            return fits_best
        return [best and cosine >= self.threshold for best, cosine in zip(fits_best, first, strict=True)]

    def _cosines(self, images: Sequence[Image.Image], texts: list[str]) -> Any:
        """Cosines (picture, text), on the CPU."""
        import torch
        import torch.nn.functional as F

        inputs = self.processor(
            text=texts,
            images=[image.convert("RGB") for image in images],
            return_tensors="pt",
            padding=True,
            truncation=True,
        ).to(self.model.device)
        with torch.inference_mode():
            output = self.model(**{**inputs, "pixel_values": inputs["pixel_values"].to(self.model.dtype)})
        return (F.normalize(output.image_embeds.float()) @ F.normalize(output.text_embeds.float()).T).cpu()
