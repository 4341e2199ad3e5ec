"""Reading a JSON object field by field: each is checked, each mistake names its field, an unknown field is a mistake.

null means the default, as OpenAI's API has it.
"""

import difflib
import json
import math
from collections.abc import Sequence
from typing import Any, NoReturn

from lm_generate.serving.problems import bad_request


def parse_object(data: bytes) -> dict[str, Any]:
    """The body as a JSON object: strict JSON, so no NaN and no Infinity. Raises `Problem` 400."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not JSON")

    try:
        value = json.loads(data, parse_constant=refuse)
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits is a ValueError too
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise bad_request(f"the body is not valid JSON: {reason}") from error
    if not isinstance(value, dict):
        raise bad_request(f"the body must be a JSON object, got {kind(value)}")
    return value


class Fields:
    """The fields of one object."""

    def __init__(self, given: dict[str, Any], known: Sequence[str], where: str = "") -> None:
        self.given, self.where = given, where
        for name in given:
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {where}{near[0]!r}?" if near else f"; known are {', '.join(known)}"
                raise bad_request(f"unknown field {(where + name)[:100]!r}{hint}", (where + name)[:100])

    def value(self, name: str) -> Any:
        return self.given.get(name)

    def number(self, name: str, default: float, low: float, high: float) -> float:
        value = self.given.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self.wrong(name, f"a number from {low:g} to {high:g}")
        if not math.isfinite(value):  # 1e999 is read as infinity
            raise self.wrong(name, "a finite number")
        return float(value)

    def whole(self, name: str, default: int, low: int, high: int) -> int:
        value = self.given.get(name)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.wrong(name, f"a whole number from {low} to {high}")
        return value

    def whole_or_none(self, name: str, low: int, high: int) -> int | None:
        return None if self.given.get(name) is None else self.whole(name, low, low, high)

    def flag(self, name: str, default: bool) -> bool:
        value = self.given.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def text(self, name: str) -> str | None:
        value = self.given.get(name)
        if value is not None and not isinstance(value, str):
            raise self.wrong(name, "a string")
        return value

    def wrong(self, name: str, wanted: str) -> Exception:
        return bad_request(
            f"{self.where}{name} must be {wanted}, got {kind(self.given.get(name))}", self.where + name
        )


def kind(value: Any) -> str:
    """A value as a message shows it: itself where it is short, what it is where it is long."""
    shown = json.dumps(value)
    if len(shown) <= 40:
        return shown
    names = {str: "a string", list: "a list", dict: "an object", int: "a number", float: "a number"}
    return f"{names[type(value)]} of {len(shown)} characters"
