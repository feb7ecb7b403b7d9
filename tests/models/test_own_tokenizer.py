"""Tokenizers of the lens's own: several threads may use one, and the user's stays as it is."""

from __future__ import annotations

import copy
import gc
import threading
import weakref

from difflens_widgets.models.own_tokenizer import own_tokenizer
from pipelines import tokenizer

TEXTS = ["a red circle", "a", "a green square on a blue background", ""]


def test_it_reads_and_writes_as_the_original() -> None:
    original = tokenizer()
    own = own_tokenizer(original)
    assert own is not original
    assert isinstance(own, type(original))
    assert own_tokenizer(original) is own
    for text in TEXTS:
        ids = original(text, padding="max_length", max_length=77, truncation=True).input_ids
        assert own(text, padding="max_length", max_length=77, truncation=True).input_ids == ids
        assert own.decode(ids) == original.decode(ids)
        assert own.convert_ids_to_tokens(ids) == original.convert_ids_to_tokens(ids)


def test_two_threads_do_not_change_each_others_padding() -> None:
    own = own_tokenizer(tokenizer())
    wrong: list[int] = []
    stop = threading.Event()

    def unpadded() -> None:
        while not stop.is_set():
            own("a red circle", verbose=False)

    other = threading.Thread(target=unpadded)
    other.start()
    for number in range(3_000):
        length = len(own(TEXTS[number % 4], padding="max_length", max_length=77, truncation=True).input_ids)
        if length != 77:
            wrong.append(length)
    stop.set()
    other.join()
    assert wrong == []


def test_words_that_were_added_later_are_known() -> None:
    original = copy.deepcopy(tokenizer())
    own_tokenizer(original)
    original.add_tokens(["<cat-toy>"])
    assert len(own_tokenizer(original)) == len(original)
    assert own_tokenizer(original)("<cat-toy>").input_ids == original("<cat-toy>").input_ids


def test_the_original_is_not_held() -> None:
    original = copy.deepcopy(tokenizer())
    own_tokenizer(original)("a")
    gone = weakref.ref(original)
    del original
    gc.collect()
    assert gone() is None
