"""What the launcher of several processes (torchrun, or a script around srun) tells each of them, by environment variables.

    RANK, WORLD_SIZE, LOCAL_RANK, LOCAL_WORLD_SIZE     who this process is
    TORCHELASTIC_RESTART_COUNT, TORCHELASTIC_MAX_RESTARTS     torchrun only: how often all were started again, and how often they may be

Nothing here imports torch.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from lm_train.errors import ConfigError
from lm_train.run_folder import RunFolder

EXIT_DONE, EXIT_STOPPED = 0, 75  # EX_TEMPFAIL: stopped and resumable


def launched(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is one of several."""
    return _number(environment, "WORLD_SIZE", 1) > 1


def is_follower(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is one of several and not the first."""
    return launched(environment) and _number(environment, "RANK", 0) != 0


def processes_here(environment: Mapping[str, str] = os.environ) -> int:
    """Processes of this run on this machine, which share its CPUs."""
    return max(1, _number(environment, "LOCAL_WORLD_SIZE", 1)) if launched(environment) else 1


def local_rank(environment: Mapping[str, str] = os.environ) -> int:
    """The number of this process on its machine, and so of its GPU."""
    return _number(environment, "LOCAL_RANK", 0)


def exit_when_stopped(environment: Mapping[str, str] = os.environ) -> int:
    """75; but 0 under a launcher that would take any other code for a failure and start the run again."""
    return EXIT_DONE if _number(environment, "TORCHELASTIC_MAX_RESTARTS", 0) > 0 else EXIT_STOPPED


def restarts(environment: Mapping[str, str] = os.environ) -> int:
    """How often the launcher has started these processes again in the place of ones that failed."""
    return _number(environment, "TORCHELASTIC_RESTART_COUNT", 0)


def check_restarts(named: bool, environment: Mapping[str, str] = os.environ) -> None:
    """Raises ConfigError where the launcher may start the run again and it could not be found again."""
    allowed = _number(environment, "TORCHELASTIC_MAX_RESTARTS", 0)
    if allowed > 0 and not named:
        raise ConfigError(
            f"torchrun may start this run again {allowed} times, and a run without a name cannot be found again; give it one: --name NAME"
        )


def run_to_continue(out: Path, name: str) -> RunFolder | None:
    """The run of this name if it can be continued. A folder that a run left before its first checkpoint is set aside."""
    run = RunFolder(out / name)
    if not run.config.is_file() and not run.path.is_dir():
        return None
    if run.in_use() or run.status() == "done" or any(run.checkpoints.glob("step-*")):
        return run
    number = 1
    while (aside := out / f"{name}-unsaved-{number}").exists():
        number += 1
    run.path.rename(aside)
    return None


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    try:
        return int(environment.get(name, default))
    except ValueError:
        raise ConfigError(
            f"{name} in the environment must be a whole number, got {environment[name]!r}"
        ) from None
