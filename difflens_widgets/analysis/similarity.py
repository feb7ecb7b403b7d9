"""How similar two words are, layer by layer, and how similar words are that have nothing in common.

A cosine alone says little: the states of a transformer lie in a narrow cone, so that any two of them are similar
(Ethayarajh, "How Contextual are Contextualized Word Representations?", EMNLP 2019). Read a curve beside its controls.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from ..runs.render.figure import AS_IT_IS
from ..runs.tokens import PromptPart, read_words, word_text
from ..runs.words import plain, positions_of
from .axes import BLUE, GRAY, GREEN, LAYER_LABEL, ORANGE, finish, layer_axis, new_figure
from .states import TokenStates, cosine, read_states

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ..lens.diffusion_lens import DiffusionLens

Pieces = Literal["mean", "first", "last"]
Word = str | int | PromptPart


def token_similarity(
    lens: DiffusionLens, a: tuple[str, Word], b: tuple[str, Word], *, pieces: Pieces = "mean", normed: bool = True
) -> np.ndarray:
    """Cosine between the states of a word of one prompt and a word of another, for every layer.

    Parameters
    ----------
    lens : DiffusionLens
    a, b : tuple of (prompt, word)
        Both may be of the same prompt. The word is a str, a word of that prompt or several in a row; an int, the
        position of one token; or a PromptPart. It is found as the lens finds `keep_tokens`.
    pieces : "mean", "first" or "last"
        Of a word that the tokenizer splits: the mean of its pieces' states, or the state of one of them.
    normed : bool
        True: compare the states that the denoiser receives, after the encoder's final norm. False: the raw hidden
        states, where a few very large values often decide alone.

    Returns
    -------
    float64 array (num_layers,)
        -1..1; layer 0 is the embeddings. `similarity_report` gives it together with controls.

    Raises
    ------
    ValueError, TypeError
        If a word is not in its prompt, is cut off, or is there several times; before anything is computed.

    Examples
    --------
    >>> token_similarity(lens, ("a photo of xon dog", "xon"), ("a photo of a dog", "dog"))  # doctest: +SKIP
    """
    sides = _sides(lens, a, b, pieces)
    states = (_states_at(read_states(lens, side.prompt, normed=normed), side.positions, pieces) for side in sides)
    return cosine(*states)


@dataclass(frozen=True, eq=False)  # compared and hashed by identity
class Pairs:
    """Cosines of several pairs of words.

    Attributes
    ----------
    words : tuple of (str, str)
        The words of each pair.
    values : float64 array (pair, layer)
    """

    words: tuple[tuple[str, str], ...]
    values: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """The mean at each layer; NaN without pairs."""
        return self.values.mean(0) if self.words else np.full(self.values.shape[1], np.nan)

    @property
    def low(self) -> np.ndarray:
        """The minimum at each layer; NaN without pairs."""
        return self.values.min(0) if self.words else np.full(self.values.shape[1], np.nan)

    @property
    def high(self) -> np.ndarray:
        """The maximum at each layer; NaN without pairs."""
        return self.values.max(0) if self.words else np.full(self.values.shape[1], np.nan)


@dataclass(frozen=True, eq=False)  # compared and hashed by identity
class SimilarityReport:
    """A curve of `token_similarity`, and what to compare it with.

    Attributes
    ----------
    similarity : float64 array (num_layers,)
    other_words : Pairs
        A word of the first prompt with a word of the second: all pairs of two different words except the requested
        one. The floor: a requested pair that is not above it has nothing special in common.
    same_words : Pairs
        The same word in both prompts, or in one of them and an unrelated prompt: about the ceiling. Often there is no
        such pair.
    other_prompts : Pairs
        The two requested words, each with all different words of the unrelated prompts.
    prompts, words : tuple of (str, str)
        The requested ones.
    pieces, normed
        As requested.
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
        """Draw the curve over the layers, with the mean and the range of each control."""
        return plot_similarity(self)


def similarity_report(
    lens: DiffusionLens,
    a: tuple[str, Word],
    b: tuple[str, Word],
    *,
    other_prompts: Iterable[str] = (),
    pieces: Pieces = "mean",
    normed: bool = True,
) -> SimilarityReport:
    """`token_similarity` with its controls: other words of the two prompts, and words of unrelated prompts.

    Parameters
    ----------
    lens, a, b, pieces, normed
        As for `token_similarity`.
    other_prompts : iterable of str
        Unrelated prompts; both words are compared with each of their words.

    Raises
    ------
    ValueError, TypeError
        As `token_similarity`; also if `other_prompts` is one str.
    """
    if isinstance(other_prompts, str):
        raise TypeError(f"other_prompts: expected several, such as [{other_prompts!r}], got one str")
    sides = _sides(lens, a, b, pieces)
    unrelated = list(other_prompts)
    read = {prompt: read_states(lens, prompt, normed=normed) for prompt in (*(s.prompt for s in sides), *unrelated)}
    requested = [_Named(side.name, _states_at(read[side.prompt], side.positions, pieces)) for side in sides]
    words_a, words_b = (_other_words(read[side.prompt], side.positions, pieces) for side in sides)
    between = [*product([requested[0], *words_a], [requested[1], *words_b])][1:]  # the first pair is the requested one
    outside = [pair for prompt in unrelated for pair in product(requested, _other_words(read[prompt], (), pieces))]
    layers = lens.num_layers
    return SimilarityReport(
        similarity=cosine(requested[0].states, requested[1].states),
        other_words=_compare([pair for pair in between if not _same(*pair)], layers),
        same_words=_compare([pair for pair in (*between, *outside) if _same(*pair)], layers),
        other_prompts=_compare([pair for pair in outside if not _same(*pair)], layers),
        prompts=(sides[0].prompt, sides[1].prompt),
        words=(requested[0].name, requested[1].name),
        pieces=pieces,
        normed=normed,
        model=lens.model,
    )


def plot_similarity(report: SimilarityReport) -> Figure:
    """Draw the curve over the layers, with the mean and the range of each control."""
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


def _control(axes: Axes, layers: np.ndarray, pairs: Pairs, color: str, name: str) -> None:
    """Draw the mean and the range of a control that has pairs."""
    if pairs.words:
        label = f"{name} (n = {len(pairs.words)})"
        axes.fill_between(layers, pairs.low, pairs.high, color=color, alpha=0.15, linewidth=0)
        axes.plot(layers, pairs.mean, color=color, linewidth=1.2, linestyle="--", label=label)


class _Side(NamedTuple):
    """A requested word of one prompt."""

    prompt: str
    name: str
    positions: tuple[int, ...]


class _Named(NamedTuple):
    """A word and its states, (layer, width)."""

    name: str
    states: np.ndarray


def _sides(lens: DiffusionLens, a: tuple[str, Word], b: tuple[str, Word], pieces: str) -> tuple[_Side, _Side]:
    """Find both words in their prompts, before anything is computed."""
    if pieces not in ("mean", "first", "last"):
        raise ValueError(f'pieces: {pieces!r} is none of "mean", "first", "last"')
    return _side(lens, "a", a), _side(lens, "b", b)


def _side(lens: DiffusionLens, argument: str, pair: tuple[str, Word]) -> _Side:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise TypeError(f"{argument}: expected a prompt and a word of it, such as ('a red dog', 'dog'), got {pair!r}")
    prompt, word = pair
    if not isinstance(prompt, str):
        raise TypeError(f"{argument}: expected the prompt as a str, got {type(prompt).__name__}: {prompt!r}")
    tokens, cut = lens.tokenize(prompt)
    positions = positions_of(word, tokens, argument, cut)
    if isinstance(word, str):
        name = " ".join(map(word_text, read_words([tokens[position] for position in positions])))
    else:
        name = str(word) if isinstance(word, PromptPart) else tokens[positions[0]].text
    return _Side(prompt, name, positions)


def _same(a: _Named, b: _Named) -> bool:
    """Whether both are the same word."""
    return plain(a.name) == plain(b.name)


def _other_words(read: TokenStates, requested: Sequence[int], pieces: Pieces) -> list[_Named]:
    """The words of a prompt that have no token at the `requested` positions."""
    words = [(word_text(word), tuple(token.index for token in word)) for word in read_words(read.tokens)]
    return [_Named(name, _states_at(read, at, pieces)) for name, at in words if not {*at} & {*requested}]


def _states_at(read: TokenStates, positions: Sequence[int], pieces: Pieces) -> np.ndarray:
    """The states (layer, width) of a word whose pieces are at `positions`."""
    if pieces == "mean":
        return read.states[:, list(positions)].astype(np.float64).mean(1)
    return read.states[:, positions[0] if pieces == "first" else positions[-1]]


def _compare(pairs: Sequence[tuple[_Named, _Named]], layers: int) -> Pairs:
    values = [cosine(a.states, b.states) for a, b in pairs]
    return Pairs(tuple((a.name, b.name) for a, b in pairs), np.array(values).reshape(len(pairs), layers))
