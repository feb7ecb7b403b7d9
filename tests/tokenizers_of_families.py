"""Tokenizers of the kinds that families have: byte-level BPE with a chat, SentencePiece, and one in Python."""

from __future__ import annotations

from functools import cache
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizer, PreTrainedTokenizerFast

TEXTS = [
    "a red circle on a blue background",
    "a green star beside two foxes, and a dog's house",
    "system user assistant Describe the image by detailing the color",
    "You are an assistant designed to generate superior images",
]
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n"
    "{{ message.content if message.content is string else message.content[0].text }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@cache
def byte_level(chat: str = CHAT) -> PreTrainedTokenizerFast:
    """As Qwen's: bytes, spaces in front of words, no start and no end token, a chat."""
    words = Tokenizer(models.BPE())
    words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=600, initial_alphabet=alphabet, special_tokens=special, show_progress=False
    )
    words.train_from_iterator(TEXTS * 4, trainer)
    marks = {"pad_token": "<|endoftext|>", "eos_token": "<|im_end|>"}
    made = PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=4096, **marks)
    made.chat_template = chat
    return made


@cache
def sentence_pieces() -> PreTrainedTokenizerFast:
    """As Gemma's: a start token, spaces as "▁", what it does not know as bytes."""
    pieces = sorted({f"▁{word}" for text in TEXTS for word in text.split()})
    size = [*pieces, "▁", "fo", "xes", *"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ,.:'\n<>-"]
    scored = [(piece, -2.0 if len(piece) > 2 else -8.0) for piece in size]
    scored += [(f"<0x{byte:02X}>", -12.0) for byte in range(256)]
    first = [(mark, 0.0) for mark in ("<pad>", "<eos>", "<bos>", "<unk>")]
    words = Tokenizer(models.Unigram([*first, *scored], unk_id=3, byte_fallback=True))
    words.pre_tokenizer = pre_tokenizers.Metaspace()
    words.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    words.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=[("<bos>", 2)])
    marks = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=words, model_max_length=512, **marks)


class PythonTokenizer(PreTrainedTokenizer):
    """Without offsets, as the slow CLIPTokenizer: lower case, "</w>" at the end of words, else bytes."""

    def __init__(self, **options: Any) -> None:
        known = sorted({word for text in TEXTS for word in text.lower().split()})
        pieces = ["<|startoftext|>", "<|endoftext|>", *(f"{word}</w>" for word in known)]
        self._bytes = {byte: chr(0xE000 + byte) for byte in range(256)}
        pieces += [mark for char in self._bytes.values() for mark in (char, f"{char}</w>")]
        self._ids = {piece: number for number, piece in enumerate(pieces)}
        self._pieces = pieces
        marks = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
        self.model_input_names = ["input_ids", "attention_mask"]
        super().__init__(model_max_length=77, unk_token="<|endoftext|>", **{**marks, **options})

    @property
    def vocab_size(self) -> int:
        return len(self._pieces)

    def get_vocab(self) -> dict[str, int]:
        return {**self._ids, **self.added_tokens_encoder}

    def _tokenize(self, text: str, **_: Any) -> list[str]:
        pieces = []
        for word in text.lower().split():
            if f"{word}</w>" in self._ids:
                pieces.append(f"{word}</w>")
            else:
                chars = [self._bytes[byte] for byte in word.encode()]
                pieces += [*chars[:-1], f"{chars[-1]}</w>"]
        return pieces

    def _convert_token_to_id(self, token: str) -> int:
        return self._ids.get(token, 1)

    def _convert_id_to_token(self, index: int) -> str:
        return self._pieces[index]

    def convert_tokens_to_string(self, tokens: list[str]) -> str:
        numbers = {char: byte for byte, char in self._bytes.items()}
        text = b""
        for token in tokens:
            word, end = token.removesuffix("</w>"), token.endswith("</w>")
            is_bytes = len(word) == 1 and word in numbers
            text += (bytes([numbers[word]]) if is_bytes else word.encode()) + b" " * end
        return text.decode(errors="replace").strip()

    def build_inputs_with_special_tokens(self, first: list[int], second: list[int] | None = None) -> list[int]:
        return [0, *first, 1]

    def get_special_tokens_mask(self, first: list[int], second: Any = None, already_has_special_tokens: bool = False):
        return [int(token < 2) for token in first]
