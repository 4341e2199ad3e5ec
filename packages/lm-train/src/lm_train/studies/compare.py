"""Comparing settings: every variant with the same seeds, so that differences are taken between runs on the same data and the same start.

A seed decides the initial weights and the order of the data. The difference of two variants is taken seed by seed, and its error bar is
of the mean of these differences (a paired t interval): what the seeds have in common cancels.
Student 1908, https://doi.org/10.1093/biomet/6.1.1.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lm_train.config import TrainConfig
from lm_train.config_file import value_of, with_settings
from lm_train.errors import ConfigError
from lm_train.studies.study import Trial

# The 0.975 quantile of Student's t by degrees of freedom; beyond, the next smaller one is used, which is on the safe side.
_T = {
    1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262, 10: 2.228,
    12: 2.179, 15: 2.131, 20: 2.086, 30: 2.042, 60: 2.000, 120: 1.980,
}  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """Mean over the seeds of (a variant's score - the first variant's), and half the width of its 95 % interval (None: one seed)."""

    mean: float
    bar: float | None

    @property
    def verdict(self) -> str:
        """What it says, for scores of which the lower is better."""
        if self.bar is None:
            return "one seed: no error bar"
        if abs(self.mean) <= self.bar:
            return "no difference shown"
        return "better" if self.mean < 0 else "worse"


def paired(scores: Sequence[float], base: Sequence[float]) -> Difference:
    """The difference of two variants, seed by seed."""
    gaps = [a - b for a, b in zip(scores, base, strict=True)]
    n, mean = len(gaps), sum(gaps) / len(gaps)
    if n == 1:
        return Difference(mean, None)
    variance = sum((gap - mean) ** 2 for gap in gaps) / (n - 1)
    return Difference(mean, _t(n - 1) * math.sqrt(variance / n))


def _t(degrees: int) -> float:
    return _T[max(known for known in _T if known <= degrees)]


def variants(vary: Sequence[str]) -> list[dict[str, Any]]:
    """["optim.name=adamw,muon", "batch=4,8"] -> a choice for each combination, the first values first. Raises ConfigError."""
    if not vary:
        raise ConfigError("nothing to compare: name a setting and its values, as in optim.name=adamw,muon")
    axes = []
    for each in vary:
        name, equals, values = each.partition("=")
        options = [value_of(value) for value in values.split(",")]
        if not equals or not name or "" in options:
            raise ConfigError(f"{each}: a setting and its values are wanted, as in optim.name=adamw,muon")
        axes.append([(name, option) for option in options])
    found = [dict(choice) for choice in itertools.product(*axes)]
    if len(found) < 2:
        raise ConfigError(f"{', '.join(vary)}: one variant; give at least two values, with a comma between")
    return found


def comparison(config: TrainConfig, vary: Sequence[str], seeds: int) -> list[list[Trial]]:
    """The runs, by variant and seed. Raises ConfigError for a setting that does not exist or does not fit."""
    if seeds < 1:
        raise ConfigError(f"--seeds must be at least 1, got {seeds}")
    if config.evaluate.every is None and config.budget_steps is not None:  # the same points on every curve
        every = max(1, config.budget_steps // 10)
        config = replace(config, evaluate=replace(config.evaluate, every=every))
    grid = []
    for choice in variants(vary):
        chosen = with_settings(config, choice, "compare")
        grid.append(
            [
                Trial(f"{slug(choice)}-seed-{seed}", choice, replace(chosen, seed=seed))
                for seed in range(config.seed, config.seed + seeds)
            ]
        )
    return grid


def label(choice: Any) -> str:
    """{"optim.name": "muon"} -> "optim.name=muon"."""
    return " ".join(f"{name}={value}" for name, value in choice.items())


def slug(choice: Any) -> str:
    """A folder name for a choice."""
    text = "-".join(f"{name.rpartition('.')[2]}-{value}" for name, value in choice.items())
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-")[:80]


def comparison_lines(names: Sequence[str], scores: Sequence[Sequence[float]], what: str) -> list[str]:
    """The table on the terminal: mean score of each variant, and its difference to the first."""
    width = max(map(len, names))
    unit = "bits per byte" if what == "valid_bits_per_byte" else "nats per token"
    lines = [f"held out, {unit}, {len(scores[0])} seed{'s' if len(scores[0]) > 1 else ''} each", ""]
    for name, found in zip(names, scores, strict=True):
        mean = f"  {name:{width}}  {sum(found) / len(found):.4f}"
        lines.append(mean if found is scores[0] else f"{mean}  {difference_text(paired(found, scores[0]))}")
    return lines


def difference_text(difference: Difference) -> str:
    """-0.0312 ± 0.0040  better"""
    bar = "" if difference.bar is None else f" ± {difference.bar:.4f}"
    return f"{difference.mean:+.4f}{bar}  {difference.verdict}"
