"""Several runs that answer one question: run one after another, each in its own folder, and what came out of each.

    <out>/<study>/<trial>/      an ordinary run
    <out>/<study>/report.html   all of them

A study that is started again takes what is done, continues what was stopped, and trains the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lm_train.config import TrainConfig, with_rate
from lm_train.config_file import differences, read_config
from lm_train.errors import ConfigError
from lm_train.run import resume, train
from lm_train.run_folder import RunFolder
from lm_train.signals import Stop
from lm_train.view.display import Display, Silent
from lm_train.view.metrics import read_lines

_OF_THE_MACHINE = ("device", "dtype", "threads", "name", "minutes", "steps", "epochs", "tokens")


@dataclass(frozen=True)
class Trial:
    """One run of a study: the folder's name, what was chosen for it, and its whole settings."""

    name: str
    choice: Mapping[str, Any]
    config: TrainConfig


class _Quiet(Silent):
    """Lets only the progress through: the plan and the samples of twenty runs are in their folders."""

    def __init__(self, display: Display) -> None:
        self.preparing, self.training = display.preparing, display.training  # type: ignore[method-assign]


def run_trial(trial: Trial, folder: Path, display: Display, stop: Stop) -> RunFolder | None:
    """The finished run of a trial; None where a stop was asked for. Raises ConfigError where the folder holds another one."""
    config = with_rate(replace(trial.config, out=str(folder), name=trial.name))
    run = RunFolder(folder / trial.name)
    if run.config.is_file():
        old = with_rate(read_config([str(run.config)]))
        wanted = replace(config, name=None)
        other = [row for row in differences(wanted, old) if row[0] not in _OF_THE_MACHINE]
        if other or not _same_budget(wanted, old):
            raise ConfigError(
                f"{run.path} is a run with other settings; give this study another --name, or remove that folder"
            )
        if run.status() == "done":
            return run
        if run.resumable():
            return run if resume(run.path, old, display=_Quiet(display), stop=stop).status == "done" else None
        raise ConfigError(f"{run.path} was not finished and has no checkpoint; remove that folder")
    result = train(config, display=_Quiet(display), stop=stop)
    return RunFolder(result.folder) if result.status == "done" else None


def _same_budget(wanted: TrainConfig, old: TrainConfig) -> bool:
    """Whether both train as long; a budget in epochs is kept in steps, and so not compared."""
    if wanted.epochs is not None:
        return old.steps is not None
    return (wanted.budget_minutes, wanted.budget_steps) == (old.budget_minutes, old.budget_steps)


def score(run: RunFolder, metric: str) -> float | None:
    """The last value of a metric in the run's metrics.jsonl; None where it has none."""
    found = [row[metric] for row in read_lines(run.metrics) if row.get(metric) is not None]
    return float(found[-1]) if found else None


def curve(run: RunFolder) -> list[dict[str, Any]]:
    """The evaluations on the way, all on the same text."""
    scored = [row for row in read_lines(run.metrics) if row.get("valid_loss") is not None]
    return [row for row in scored if row["valid_tokens"] == scored[0]["valid_tokens"]]


def held_out(runs: Sequence[RunFolder]) -> tuple[str, list[float]]:
    """(what, a score for each run) on the same held-out text: the closing one, or where these differ in length the last on the way.

    In bits per byte, or in nats per token where the tokenizer is unknown. Raises ConfigError where no text was held out.
    """
    rows = [[row for row in read_lines(run.metrics) if row.get("valid_loss") is not None] for run in runs]
    if not all(rows):
        raise ConfigError(
            "there is no held-out text to score the runs on; prepare the data with --valid-share"
        )
    last = [found[-1] for found in rows]
    if len({row["valid_tokens"] for row in last}) > 1:
        last = [curve(run)[-1] for run in runs]
    key = "valid_bits_per_byte" if last[0]["valid_bits_per_byte"] is not None else "valid_loss"
    return key, [float(row[key]) for row in last]
