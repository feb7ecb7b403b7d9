"""How alike two words are, layer by layer, and what that number is for words that have nothing in common.

A cosine alone says little: the states of a transformer lie in a narrow cone, so that any two are alike (Ethayarajh,
"How Contextual are Contextualized Word Representations?", EMNLP 2019). Read a curve beside its controls.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from ..runs.render.figure import AS_IT_IS
from ..runs.tokens import PromptPart, read_words, word_text
from .axes import BLUE, GRAY, GREEN, LAYER_LABEL, ORANGE, finish, layer_axis, new_figure
from .states import TokenStates, cosine, read_states

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..lens.diffusion_lens import DiffusionLens

Pieces = Literal["mean", "first", "last"]
Word = str | int | PromptPart


def token_similarity(
    lens: DiffusionLens,
    prompt_a: str,
    prompt_b: str,
    word_a: Word,
    word_b: Word,
    *,
    pieces: Pieces = "mean",
    normed: bool = True,
) -> np.ndarray:
    """Cosine between the states of a word of one prompt and a word of another, for every layer.

    Parameters
    ----------
    lens : DiffusionLens
    prompt_a, prompt_b : str
        May be the same prompt.
    word_a, word_b : str, int or PromptPart
        A word of that prompt, or several that follow one another; an index of its tokens (that piece alone); or a
        part of the prompt. Found as the lens finds `tokens=`.
    pieces : "mean", "first" or "last"
        Of a word that the tokenizer splits: the mean of its pieces' states, or one of them.
    normed : bool
        Compare what the denoiser is given, after the encoder's own final norm; False: the raw hidden states, where
        a few very large values often decide alone.

    Returns
    -------
    float64 array (num_layers,)
        -1..1; layer 0 is the embeddings. `similarity_report` gives it with controls.

    Raises
    ------
    ValueError, TypeError
        If a word is not in its prompt, is cut off, or stands there several times; before anything is computed.
    """
    sides = _sides(lens, (prompt_a, prompt_b), (word_a, word_b), pieces)
    a, b = (_states_at(read_states(lens, side.prompt, normed=normed), side.asked, pieces) for side in sides)
    return cosine(a, b)


@dataclass(frozen=True, eq=False)  # compared and hashed by identity
class Pairs:
    """Cosines of several pairs of words: float64 (pair, layer), and the words of each pair."""

    words: tuple[tuple[str, str], ...]
    values: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """For each layer; NaN where there is no pair."""
        return self.values.mean(0) if self.words else np.full(self.values.shape[1], np.nan)

    @property
    def low(self) -> np.ndarray:
        """The least, for each layer; NaN where there is no pair."""
        return self.values.min(0) if self.words else np.full(self.values.shape[1], np.nan)

    @property
    def high(self) -> np.ndarray:
        """The greatest, for each layer; NaN where there is no pair."""
        return self.values.max(0) if self.words else np.full(self.values.shape[1], np.nan)


@dataclass(frozen=True, eq=False)  # compared and hashed by identity
class SimilarityReport:
    """A curve of `token_similarity` and what to read it against.

    Attributes
    ----------
    similarity : float64 array (num_layers,)
    other_words : Pairs
        A word of the first prompt, a word of the second; all pairs of two different words but the one asked for.
        The floor: a pair asked for that is not above it has nothing of its own in common.
    same_words : Pairs
        One and the same word in both prompts, or in an unrelated one: about the ceiling. Often there is none.
    other_prompts : Pairs
        The two words asked for, each against all different words of the unrelated prompts.
    prompts, words : the two of each that were asked for
    pieces, normed : as asked
    model : str
    """

    similarity: np.ndarray
    other_words: Pairs
    same_words: Pairs
    other_prompts: Pairs
    prompts: tuple[str, str]
    words: tuple[str, str]
    pieces: Pieces
    normed: bool
    model: str

    def plot(self) -> Figure:
        """The curve over the layers, with the mean and the range of each control."""
        return plot_similarity(self)


def similarity_report(
    lens: DiffusionLens,
    prompt_a: str,
    prompt_b: str,
    word_a: Word,
    word_b: Word,
    *,
    other_prompts: Iterable[str] = (),
    pieces: Pieces = "mean",
    normed: bool = True,
) -> SimilarityReport:
    """`token_similarity` with its controls: other words of the two prompts, and words of unrelated prompts.

    Parameters
    ----------
    lens, prompt_a, prompt_b, word_a, word_b, pieces, normed
        As for `token_similarity`.
    other_prompts : iterable of str
        Unrelated prompts; both words are compared with each of their words.

    Raises
    ------
    ValueError, TypeError
        As `token_similarity`; and if `other_prompts` is one str.
    """
    if isinstance(other_prompts, str):
        raise TypeError(f"other_prompts: expected several, such as [{other_prompts!r}], got one str")
    sides = _sides(lens, (prompt_a, prompt_b), (word_a, word_b), pieces)
    unrelated = list(other_prompts)
    read = {prompt: read_states(lens, prompt, normed=normed) for prompt in (prompt_a, prompt_b, *unrelated)}
    asked_a, asked_b = (_Named(side.name, _states_at(read[side.prompt], side.asked, pieces)) for side in sides)
    words_a, words_b = (_other_words(read[side.prompt], side.asked, pieces) for side in sides)
    between = [*product([asked_a, *words_a], [asked_b, *words_b])][1:]  # the first is what was asked for
    outside = [
        (asked, word)
        for prompt in unrelated
        for asked, word in product((asked_a, asked_b), _other_words(read[prompt], (), pieces))
    ]
    layers = lens.num_layers
    return SimilarityReport(
        similarity=cosine(asked_a.states, asked_b.states),
        other_words=_compare([pair for pair in between if pair[0].name != pair[1].name], layers),
        same_words=_compare([pair for pair in (*between, *outside) if pair[0].name == pair[1].name], layers),
        other_prompts=_compare([pair for pair in outside if pair[0].name != pair[1].name], layers),
        prompts=(prompt_a, prompt_b),
        words=(asked_a.name, asked_b.name),
        pieces=pieces,
        normed=normed,
        model=lens.model,
    )


def plot_similarity(report: SimilarityReport) -> Figure:
    """The curve over the layers, and mean and range of each control."""
    figure, (axes,) = new_figure(6.4, 4.2)
    layers = np.arange(len(report.similarity))
    _control(axes, layers, report.other_words, GRAY, "other words of the two prompts")
    _control(axes, layers, report.other_prompts, ORANGE, "words of other prompts")
    _control(axes, layers, report.same_words, GREEN, "the same word twice")
    label = " – ".join(f"“{word}”" for word in report.words)
    axes.plot(layers, report.similarity, color=BLUE, linewidth=2, marker="o", markersize=4, label=label)
    axes.set_ylabel("cosine similarity (-1 to 1)")
    layer_axis(axes, layers, LAYER_LABEL)
    legend = axes.legend(fontsize=8, frameon=False)
    for text in legend.get_texts():
        text.set(**AS_IT_IS)
    states = "states as the denoiser is given them" if report.normed else "raw states, before the final norm"
    split = f"words of several pieces: {'their mean' if report.pieces == 'mean' else f'the {report.pieces} piece'}"
    prompts = " · ".join(f"“{prompt}”" for prompt in report.prompts)
    return finish(figure, prompts, f"{states} · {split} · controls: mean and range · {report.model}")


def _control(axes: Axes, layers: np.ndarray, pairs: Pairs, colour: str, name: str) -> None:
    """Mean and range of a control, where there is one."""
    if pairs.words:
        label = f"{name} (n = {len(pairs.words)})"
        axes.fill_between(layers, pairs.low, pairs.high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(layers, pairs.mean, color=colour, linewidth=1.2, linestyle="--", label=label)


class _Side(NamedTuple):
    prompt: str
    name: str
    asked: tuple[int, ...]


class _Named(NamedTuple):
    name: str
    states: np.ndarray  # (layer, width)


def _sides(lens: DiffusionLens, prompts: tuple[str, str], words: tuple[Word, Word], pieces: str) -> tuple[_Side, _Side]:
    """Both words found in their prompts, before anything is computed."""
    from ..lens.token_mask import word_positions  # needs torch, unlike the rest of this package

    if pieces not in ("mean", "first", "last"):
        raise ValueError(f'pieces: {pieces!r} is none of "mean", "first", "last"')
    sides = []
    for letter, prompt, word in zip("ab", prompts, words, strict=True):
        if not isinstance(prompt, str):
            raise TypeError(f"prompt_{letter}: expected str, got {type(prompt).__name__}: {prompt!r}")
        places = word_positions(word, prompt, lens.tokenize, f"word_{letter}")
        tokens = lens.tokenize(prompt)[0]
        if isinstance(word, str):
            name = " ".join(map(word_text, read_words([tokens[place] for place in places])))
        else:
            name = str(word) if isinstance(word, PromptPart) else tokens[places[0]].text
        sides.append(_Side(prompt, name, places))
    return sides[0], sides[1]


def _other_words(read: TokenStates, asked: Sequence[int], pieces: Pieces) -> list[_Named]:
    """The words of a prompt that share no piece with `asked`."""
    words = [(word_text(word), tuple(token.index for token in word)) for word in read_words(read.tokens)]
    return [_Named(name, _states_at(read, places, pieces)) for name, places in words if not {*places} & {*asked}]


def _states_at(read: TokenStates, places: Sequence[int], pieces: Pieces) -> np.ndarray:
    """One state for each layer, (layer, width), of a word with its pieces at `places`."""
    if pieces == "mean":
        return read.states[:, list(places)].astype(np.float64).mean(1)
    return read.states[:, places[0] if pieces == "first" else places[-1]]


def _compare(pairs: Sequence[tuple[_Named, _Named]], layers: int) -> Pairs:
    values = [cosine(a.states, b.states) for a, b in pairs]
    return Pairs(tuple((a.name, b.name) for a, b in pairs), np.array(values).reshape(len(pairs), layers))
