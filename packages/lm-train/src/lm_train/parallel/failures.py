"""When a simulated run breaks, and how many ranks it goes on with: drawn at random, or read from a file."""

from __future__ import annotations

import itertools
import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lm_train.errors import ConfigError


@dataclass(frozen=True)
class Failure:
    """At `seconds` after the start the run breaks; `ranks` are there to go on with. `damaged`: so is its newest checkpoint."""

    seconds: float
    ranks: int
    damaged: bool = False


def drawn_failures(
    ranks: int, per_machine: int, mean_seconds: float, repair_seconds: float, seed: int
) -> Iterator[Failure]:
    """Failures without end: exponential times, `mean_seconds` apart on average while all `ranks` work. Each takes a machine away for `repair_seconds`."""
    generator, now = random.Random(seed), 0.0
    away: list[float] = []  # when each missing machine comes back
    while True:
        working = max(per_machine, ranks - per_machine * len(away))
        now += generator.expovariate(working / ranks / mean_seconds)
        away = [back for back in [*away, now + repair_seconds] if back > now]
        yield Failure(now, max(1, ranks - per_machine * len(away)))


def read_failures(path: Path) -> list[Failure]:
    """A trace: a JSON object a line, {"seconds": 5400.0, "ranks": 8184} and, where it is so, "damaged": true. Raises ConfigError."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--trace {path}: {error}") from None
    found = [_failure(f"--trace {path}, line {n}", line) for n, line in enumerate(lines, 1) if line.strip()]
    for earlier, later in itertools.pairwise(found):
        if later.seconds < earlier.seconds:
            raise ConfigError(
                f"--trace {path}: {later.seconds:g} s comes after {earlier.seconds:g} s; write the lines in order"
            )
    return found


def _failure(where: str, line: str) -> Failure:
    try:
        row = json.loads(line)
        seconds, ranks, damaged = row["seconds"], row["ranks"], row.get("damaged", False)
    except (json.JSONDecodeError, TypeError, KeyError, AttributeError):
        raise ConfigError(
            f'{where}: wanted a JSON object with "seconds" and "ranks", got {line[:80]}'
        ) from None
    right = type(ranks) is int and ranks >= 1 and type(damaged) is bool and type(seconds) in (int, float)
    if not right or not math.isfinite(seconds) or seconds < 0:
        raise ConfigError(
            f"{where}: wanted seconds of at least 0, a whole number of at least 1 rank, and damaged true or false; got {line[:80]}"
        )
    return Failure(float(seconds), ranks, damaged)


def largest_world(batch: int, ranks: int) -> int:
    """The largest number of ranks, of so many at most, that shares the batch equally."""
    return next(world for world in range(min(batch, ranks), 0, -1) if batch % world == 0)


def expected_useful(interval: float, save: float, restart: float, between_failures: float) -> float:
    """The share of time spent on work that is kept, with `interval` seconds of work between saves, all times in seconds.

    Daly 2006, https://doi.org/10.1016/j.future.2004.11.016, the complete model: failures may also come while saving and restarting.
    """
    mean = between_failures
    return interval / mean / (math.exp(restart / mean) * math.expm1((interval + save) / mean))
