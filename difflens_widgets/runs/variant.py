"""The key of a picture with a change of its own: a patch such as "red ← blue", a steering strength such as "+2"."""

from __future__ import annotations


class Variant(str):
    """The label of a variant; equal to the plain string, so `run.token_images[7, "red ← blue"]` finds the picture.

    Attributes
    ----------
    number : int
        Its place among the variants of its run, from 0; files and widgets name it by this.
    """

    number: int

    def __new__(cls, label: str, number: int = 0) -> Variant:
        """Create the key of variant `number`."""
        made = super().__new__(cls, label)
        made.number = number
        return made
