"""Learning-rate schedules as pure functions of the step: `cosine(step, peak=..., ...) -> lr`.

A run of `total` steps calls them with 0, 1, ..., total - 1. All begin with the same warm-up, `peak * step / warmup` while
step < warmup, so that step 0 has the rate 0 (unless `warmup` is 0) and step `warmup` has `peak`. What does not make
sense (a negative or non-finite number, a warm-up longer than the run, a floor above the peak) is a `ConfigError`.
They are drawn in docs/schedules.md.
"""

import math
from typing import Literal

from lm_core.errors import ConfigError

__all__ = ["constant", "cosine", "inverse_sqrt", "linear", "wsd"]

# The type checker of the tests does not count an int as a float.
Rate = float | int


def cosine(step: int, *, peak: Rate, floor: Rate, warmup: int, total: int) -> float:
    """Warm-up, then half a cosine from `peak` at `warmup` down to `floor` at `total`, then `floor`.

    lr = floor + (peak - floor) * (1 + cos(pi * x)) / 2, with x = (step - warmup) / (total - warmup).
    Loshchilov & Hutter 2017, SGDR, https://arxiv.org/abs/1608.03983, eq. 5 (one period).
    """
    _check(step, peak, floor, warmup=warmup, total=total)
    if step < warmup:
        return peak * step / warmup
    if step >= total:
        return float(floor)
    return floor + (peak - floor) * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2


def wsd(
    step: int,
    *,
    peak: Rate,
    floor: Rate,
    warmup: int,
    decay: int,
    total: int,
    shape: Literal["linear", "sqrt"] = "linear",
) -> float:
    """Warm-up, stable at `peak`, then decay to `floor` over the last `decay` steps before `total`.

    In the decay, with x = (steps since it began) / decay: "linear" is peak - (peak - floor) * x, "sqrt" is
    peak - (peak - floor) * sqrt(x), which falls faster at first.
    Hu et al. 2024, MiniCPM, https://arxiv.org/abs/2404.06395, section 4; the square root from
    Hägele et al. 2024, https://arxiv.org/abs/2405.18392, section 3.
    """
    _check(step, peak, floor, warmup=warmup, total=total)
    _check_count("decay", decay)
    if warmup + decay > total:
        raise ConfigError(
            f"warmup + decay must fit into total: {warmup} + {decay} > {total}; make one of them shorter"
        )
    if shape not in ("linear", "sqrt"):
        raise ConfigError(f'shape must be "linear" or "sqrt", got {shape!r}')
    if step < warmup:
        return peak * step / warmup
    if step >= total:
        return float(floor)
    x = max(0, step - (total - decay)) / max(1, decay)
    return peak - (peak - floor) * (math.sqrt(x) if shape == "sqrt" else x)


def linear(step: int, *, peak: Rate, floor: Rate, warmup: int, total: int) -> float:
    """Warm-up, then a straight line from `peak` at `warmup` down to `floor` at `total`, then `floor`."""
    return wsd(step, peak=peak, floor=floor, warmup=warmup, decay=max(0, total - warmup), total=total)


def constant(step: int, *, peak: Rate, warmup: int = 0) -> float:
    """Warm-up, then `peak` for ever."""
    _check(step, peak, 0.0, warmup=warmup)
    return peak * step / warmup if step < warmup else float(peak)


def inverse_sqrt(step: int, *, peak: Rate, warmup: int) -> float:
    """Warm-up, then peak * sqrt(warmup / step): no end has to be known. `warmup` must be at least 1.

    Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, eq. 3, where peak is (d_model * warmup)**-0.5.
    """
    _check(step, peak, 0.0, warmup=warmup)
    if warmup < 1:
        raise ConfigError(f"inverse_sqrt is scaled by its warm-up, so warmup must be >= 1, got {warmup}")
    return peak * step / warmup if step < warmup else peak * math.sqrt(warmup / step)


def _check(step: int, peak: Rate, floor: Rate, *, warmup: int, total: int | None = None) -> None:
    _check_count("step", step)
    _check_count("warmup", warmup)
    for name, rate in (("peak", peak), ("floor", floor)):
        if not (math.isfinite(rate) and rate >= 0):
            raise ConfigError(f"{name} must be a finite learning rate >= 0, got {rate}")
    if floor > peak:
        raise ConfigError(f"floor must not lie above peak, got floor={floor} and peak={peak}")
    if total is not None:
        _check_count("total", total)
        if warmup > total:
            raise ConfigError(
                f"warmup must fit into total: {warmup} > {total}; make the warm-up shorter or the run longer"
            )


def _check_count(name: str, count: Rate) -> None:
    if not (0 <= count < math.inf and count == int(count)):
        raise ConfigError(f"{name} must be a whole number of steps >= 0, got {count}")
