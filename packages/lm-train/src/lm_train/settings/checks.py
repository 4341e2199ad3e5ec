"""What a setting may be: each check raises ConfigError with the setting's name, what was wanted, and what came."""

import math

from lm_train.errors import ConfigError


def check(ok: bool, name: str, value: object, wanted: str) -> None:
    if not ok:
        raise ConfigError(f"{name} must be {wanted}, got {value}")


def positive(**values: float | None) -> None:
    for name, value in values.items():
        check(
            value is None or (math.isfinite(value) and value > 0), name.replace("__", "."), value, "above 0"
        )


def not_negative(**values: float) -> None:
    for name, value in values.items():
        check(math.isfinite(value) and value >= 0, name.replace("__", "."), value, "0 or more")


def share(**values: float) -> None:
    for name, value in values.items():
        check(0 <= value <= 1, name.replace("__", "."), value, "between 0 and 1")


def below_one(**values: float) -> None:
    for name, value in values.items():
        check(0 <= value < 1, name.replace("__", "."), value, "at least 0 and below 1")
