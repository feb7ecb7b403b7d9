"""The embedded model's CLIP tokenizer: byte-pair merges learned from the captions.

Every word of the captions becomes one token; any other word still splits into known pieces, because all 256 bytes are
in the vocabulary. `RARE_TOKENS` are whole tokens that no caption contains: room for a DreamBooth subject.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

RARE_TOKENS = ("xon", "sks")
MAX_LENGTH = 77  # as in SD 1.x and 2.x
_START, _END = "<|startoftext|>", "<|endoftext|>"


def build_tokenizer(captions: Iterable[str], folder: Path) -> CLIPTokenizer:
    """Learn the merges from `captions`, write vocab.json and merges.txt to `folder`, and load the result."""
    words = {word for caption in captions for word in caption.split()}
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    letters = alphabet + [letter + "</w>" for letter in alphabet]
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=10_000,
        min_frequency=1,
        # ties between merges go by these numbers; left to itself the trainer numbers letters that end a word by chance
        special_tokens=letters,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    learner.train_from_iterator(sorted(words), trainer)
    merges = [tuple(merge) for merge in json.loads(learner.to_str())["model"]["merges"]]
    for word in RARE_TOKENS:
        merges += _merges_of(word, merges)

    tokens = [*letters, *dict.fromkeys(a + b for a, b in merges), _START, _END]
    vocab = {token: index for index, token in enumerate(tokens)}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    config = {
        "tokenizer_class": "CLIPTokenizer",
        "model_max_length": MAX_LENGTH,
        "bos_token": _START,
        "eos_token": _END,
        "unk_token": _END,
        "pad_token": _END,
        "add_prefix_space": False,
        "do_lower_case": True,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    return CLIPTokenizer.from_pretrained(folder)


def _merges_of(word: str, merges: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The merges still missing to make `word` one token; last in the list, so that they disturb no other word."""
    pieces = [*word[:-1], word[-1] + "</w>"]
    for a, b in merges:  # as far as the learned merges go
        i = 0
        while i < len(pieces) - 1:
            if (pieces[i], pieces[i + 1]) == (a, b):
                pieces[i : i + 2] = [a + b]
            i += 1
    missing = []
    while len(pieces) > 1:
        missing.append((pieces[0], pieces[1]))
        pieces[:2] = [pieces[0] + pieces[1]]
    return missing
