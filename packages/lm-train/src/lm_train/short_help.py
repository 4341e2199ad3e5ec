"""`--help` fits a screen: of a hundred settings those that most runs need. `--help-all` shows every one."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from cyclopts.help import DefaultFormatter

from lm_train.config import TrainConfig

if TYPE_CHECKING:
    from cyclopts.help import HelpPanel
    from rich.console import Console, ConsoleOptions

HELP_ALL = "--help-all"
_SHOWN = {
    "--data", "--vocab-size", "--batch", "--minutes", "--steps", "--model.context", "--model.d-model", "--model.n-layers",
}  # fmt: skip


def settings() -> set[str]:
    """The flags of all settings, such as --batch and --model.d-model."""
    found: set[str] = set()
    for key, value in dataclasses.asdict(TrainConfig()).items():
        found |= {f"{key}.{inner}" for inner in value} if isinstance(value, dict) else {key}
    return {f"--{name.replace('_', '-')}" for name in found}


def default_shown(default: object) -> str | None:
    """A default that tells something: not that a switch is off and a list empty."""
    return None if default is None or default is False or default == () else str(default) or '""'


class ShortHelp(DefaultFormatter):
    """cyclopts' own boxes, without the settings that few runs need."""

    def __call__(self, console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
        left_out = settings() - _SHOWN
        entries = [entry for entry in panel.entries if not left_out & set(entry.names)]
        if entries:
            super().__call__(console, options, panel.copy(entries=entries))
