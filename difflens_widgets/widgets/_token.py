"""How the trait `token` says what is kept: a whole number, so that widgets can be linked by it."""

from __future__ import annotations

from typing import Any

import traitlets as t

from ..tokens import Keep, Kept

_PARTS = {Keep.PADDING: -1, Keep.PROMPT: -2}


def token_number(token: Kept) -> int:
    """A token's index, -1 for `Keep.PADDING`, -2 for `Keep.PROMPT`."""
    return _PARTS[token] if isinstance(token, Keep) else int(token)


class TokenTrait(t.Int):
    """A token's number as above, or None; a `Keep` may be assigned, and is read as its number."""

    def validate(self, obj: Any, value: Any) -> Any:
        """Take a `Keep` for its number."""
        return super().validate(obj, token_number(value) if isinstance(value, Keep) else value)
