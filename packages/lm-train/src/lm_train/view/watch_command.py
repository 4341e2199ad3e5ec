"""The command `watch`; what it does is in watch.py."""

from __future__ import annotations

from pathlib import Path

from lm_train.command_types import Action
from lm_train.config import TrainConfig
from lm_train.run_errors import RunError
from lm_train.signals import Stop


def watch_command(*run: Path) -> Action:
    """Follow runs that other processes train.

    The live view of one, or several side by side; ends when they end.

    Parameters
    ----------
    run
        Run folders; the newest one under runs/ unless given.
    """

    def watch(stop: Stop) -> int:
        from lm_train.run_folder import RunFolder, newest_run
        from lm_train.view.watch import watch

        runs = [RunFolder.open(path) for path in run]
        newest = None if runs else newest_run(Path(TrainConfig().out))
        runs += [newest] if newest is not None else []
        if not runs:
            raise RunError(f"no run to watch: none under {TrainConfig().out}/; name a run's folder")
        with stop.deferred():
            watch(runs, stopped=stop.asked)
        return 0

    return watch
