"""How the trait `token` says what is kept: a whole number, so that widgets can be linked by it."""

from __future__ import annotations

from typing import Any

import traitlets as t

from ..runs.render.front_end import token_number
from ..runs.tokens import PromptPart


class TokenTrait(t.Int):
    """A token's number as above, or None; a `PromptPart` may be assigned, and is read as its number."""

    def validate(self, obj: Any, value: Any) -> Any:
        """Take a `PromptPart` for its number."""
        return super().validate(obj, token_number(value) if isinstance(value, PromptPart) else value)
