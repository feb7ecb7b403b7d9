"""What the browser asks a Microscope to do. Every handler returns at once, except in Colab."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import traitlets as t

from ..runs.argument_names import with_names
from ..runs.run import LensRun
from ._base import LensWidget, in_colab
from ._scope_history import MOST_SEED, Form
from ._upload import Upload, read_upload

log = logging.getLogger(__name__)

_BOXES = (*(each.name for each in dataclasses.fields(Form)), "second_prompt", "patch_words", "view")
_LABELS = {
    "num_inference_steps": "steps",
    "guidance_scale": "guidance",
    "negative_prompt": "negative prompt",
    "tokens": "words",
    "source": "second prompt",
}
"""What the boxes are called whose arguments have other names."""
_KINDS = {
    "seed": f"a whole number from 0 to {MOST_SEED}",
    "num_inference_steps": "a whole number",
    "guidance_scale": "a number",
}
_EXPECTED = (ValueError, TypeError, RuntimeError, OSError, t.TraitError)


class ScopeMessages(LensWidget):
    """Base of the Microscope: the messages "part", "run", "entry" and "open"."""

    _file_types: ClassVar[dict[str, str]] = {"lens": "application/octet-stream"}

    def __init__(self, **traits: Any) -> None:
        self._upload = Upload()
        super().__init__(**traits)

    def _on_message(self, _: Any, content: Any, buffers: Any) -> None:
        kind = content.get("type") if isinstance(content, dict) else None
        if kind == "part":
            self._take_part(content)
        elif kind == "run":
            self._answer("run", partial(self._run_form, content.get("form")))
        elif kind == "entry":
            self._answer("entry", partial(self._go_to, content.get("number")))
        elif kind == "open":
            self._take_piece(content, buffers)
        else:
            super()._on_message(self, content, buffers)

    def _answer(self, kind: str, task: Callable[[], Any]) -> None:
        """Do what the browser asked for, in the task thread, and say how it went."""

        def answered() -> None:
            try:
                self.message = ""
                task()
            except Exception as error:  # any error: the user who pressed the button has to see it
                if not isinstance(error, _EXPECTED):
                    log.exception("%s failed", kind)
                self.message = with_names(str(error), _LABELS) or type(error).__name__
            self.send({"type": "answer", "to": kind})

        if in_colab():
            answered()
        else:
            self._task_thread.post(answered)

    @t.observe(*_BOXES)
    def _forget_refusal(self, _: Any) -> None:
        """What was refused is being changed."""
        self.message = ""

    def _run_form(self, form: Any) -> None:
        """Run with what the boxes held when the button was pressed: traits may arrive later than the message."""
        with self._lock:
            for name, value in (form if isinstance(form, dict) else {}).items():
                if name in _BOXES:
                    self._fill_box(name, value)
        self.start()

    def _fill_box(self, name: str, value: Any) -> None:
        try:
            setattr(self, name, value)
        except t.TraitError as error:
            wanted = _KINDS.get(name)
            raise (ValueError(f"{name}: {value} is not {wanted}") if wanted else error) from None

    def _take_piece(self, content: dict[str, Any], buffers: list[Any]) -> None:
        try:
            file = self._upload.take(content, buffers)
        except ValueError as error:
            self._answer("open", partial(_raise, error))
            return
        if file is not None:
            self._answer("open", lambda: self.show(read_upload(*file)))

    # -- implemented by the Microscope

    def start(self) -> Any:
        """Paint what the boxes and the open tab say."""
        raise NotImplementedError

    def show(self, source: LensRun) -> None:
        """Show a run."""
        raise NotImplementedError

    def _go_to(self, number: Any) -> None:
        """Show an earlier run of the session again."""
        raise NotImplementedError

    def _take_part(self, message: dict[str, Any]) -> None:
        """Pass what the browser says to one of the views."""
        raise NotImplementedError


def _raise(error: Exception) -> None:
    raise error
