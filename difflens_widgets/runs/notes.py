"""What is to be known of a run and is not in its pictures, in words; "" where there is nothing."""

from __future__ import annotations

from collections.abc import Sequence

from .record import BLACKED_OUT, RunRecord


def notes(run: RunRecord) -> str:
    """All notes of a finished run, in sentences, each in a line."""
    return "\n".join(filter(None, [prompt_note(run), flagged_note(run)]))


def prompt_note(run: RunRecord) -> str:
    """What is not read of the prompt and which words are not known, in sentences, each in a line."""
    return "\n".join(f"{note[0].upper()}{note[1:]}." for note in (cut_note(run), unknown_note(run)) if note)


def cut_note(run: RunRecord) -> str:
    """What the text encoder does not read of a long prompt."""
    cut = run.settings.get("cut_off")
    return f"the text encoder reads {len(run.tokens)} tokens; cut off: “{cut}”" if isinstance(cut, str) and cut else ""


def unknown_note(run: RunRecord) -> str:
    """Which words the model was never trained on, where it can tell."""
    words = run.settings.get("unknown_words")
    return said_of(words) if isinstance(words, list) and words else ""  # a file may hold any value


def said_of(words: Sequence[str]) -> str:
    """That a model does not know these words, of which there is at least one."""
    *first, last = [f"“{word}”" for word in words]
    said = f"{', '.join(first)} and {last}" if first else last
    return f"the model was never trained on {said}: what it makes of {'them' if first else 'it'} means nothing"


def flagged_note(run: RunRecord) -> str:
    """Which images of the whole prompt the safety checker blacked out."""
    names = [run.name_of(layer) for layer in sorted(run.flagged)]
    return f"{BLACKED_OUT}: {', '.join(names)}" if names else ""
