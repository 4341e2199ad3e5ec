"""Which settings may differ when a run is continued: those that do not change what an already trained step means."""

from __future__ import annotations

from pathlib import Path

from lm_train.config import BUDGETS, TrainConfig
from lm_train.config_file import differences
from lm_train.run_errors import RunError

# How long, how often, how many threads: the steps already done stay what they were.
FREE = frozenset(
    {
        *BUDGETS,
        "device",
        "threads",
        "micro_batch",
        "recompute",
        "profile",
        "max_minutes",
        "log",
        "name",
        "out",
        "datasets",
    }
)
FREE_TABLES = ("evaluate.", "samples.", "checkpoint.", "scale.")


def check_changes(old: TrainConfig, new: TrainConfig, run: Path) -> None:
    """Raises RunError with a table of the settings that may not change within a run."""
    fixed = [
        row for row in differences(new, old) if row[0] not in FREE and not row[0].startswith(FREE_TABLES)
    ]
    if fixed:
        width = max(len(key) for key, _, _ in fixed)
        table = "\n".join(f"  {key:{width}}  {before} -> {after}" for key, before, after in fixed)
        raise RunError(
            f"cannot continue {run} with other settings:\n{table}\nleave them out, or start a new run with --config {run / 'config.toml'}"
        )
