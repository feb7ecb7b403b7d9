"""TokenTrait: the trait `token`, an integer so that two widgets can be linked by it."""

from __future__ import annotations

from typing import Any

import traitlets as t

from ..runs.render.front_end import token_number
from ..runs.tokens import PromptPart
from ..runs.variant import Variant


class TokenTrait(t.Int):
    """The index of a token, -1 (`PromptPart.PADDING`), -2 (`PromptPart.PROMPT`), less for a variant, or None.

    A `PromptPart` or one of `run.variants` may be assigned; reading gives its number.
    """

    def validate(self, obj: Any, value: Any) -> Any:
        """Replace a `PromptPart` or a `Variant` by its number."""
        return super().validate(obj, token_number(value) if isinstance(value, PromptPart | Variant) else value)
