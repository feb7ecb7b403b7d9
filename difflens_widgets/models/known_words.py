"""Which words a model was never trained on.

A diffusers folder can state the words of its training in `FILE`, with the hashes of the weights that this is true of:
whoever trains on may teach it more. A small model has few words; a large one has seen nearly all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .stated import read_stated

FILE = "trained_words.json"
_BETWEEN = re.compile(r"['’]s\b|[\s!-/:-@\[-`{-~“”‘’…–—]+")


def unknown_words(pipe: Any, model_hash: str, texts: Iterable[str]) -> list[str]:
    """The words of some texts that a pipeline was never trained on, each once; none where nothing is stated.

    Parameters
    ----------
    pipe : diffusers.DiffusionPipeline
    model_hash : str
        The `weight_hash` of its weights as they are now.
    texts : iterable of str

    Raises
    ------
    ValueError
        If the file is damaged.
    """
    hashes, known = read_stated(pipe, FILE, "words", _parse) or (set(), set())
    if model_hash not in hashes:
        return []
    words = (word for text in texts for word in re.split(_BETWEEN, text))
    return list(dict.fromkeys(word for word in words if word and word.lower() not in known))


def _parse(stated: Any) -> tuple[set[str], set[str]]:
    return set(stated["model_hashes"]), set(stated["words"])


def write_trained_words(folder: Path, words: Iterable[str], model_hashes: Iterable[str]) -> None:
    """Write to a diffusers folder which words its model was trained on.

    Parameters
    ----------
    folder : Path
    words : iterable of str
        In lower case, without punctuation.
    model_hashes : iterable of str
        The `weight_hash` of the model in each dtype that it is loaded in.
    """
    content = {"model_hashes": list(model_hashes), "words": sorted(words)}
    (folder / FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
