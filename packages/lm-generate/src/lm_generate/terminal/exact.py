"""A whole number on the command line is one or an error.

lm-train has the same lines: neither package may import the other, and lm-core reads no command line.
"""

from collections.abc import Sequence
from typing import Any, get_args

from cyclopts import CoercionError, Token, convert


def exactly(wanted: Any, tokens: Sequence[Token]) -> Any:
    """What cyclopts makes of a value, but for one thing: it would round 1.5 to a whole number."""
    if int in (wanted, *get_args(wanted)):
        for token in tokens:
            if _is_fraction(token.value):
                raise CoercionError(token=token, target_type=int)
    return convert(wanted, tokens)


def _is_fraction(text: str) -> bool:
    try:
        return not float(text).is_integer()
    except ValueError:
        return False
