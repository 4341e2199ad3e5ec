"""When a run is saved."""

from __future__ import annotations

from dataclasses import dataclass

from cyclopts import Group, Parameter

from lm_train.settings.checks import positive


@Parameter(group=Group("Checkpoints", sort_key=7))
@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """When the run is saved, besides at its end and when it is stopped."""

    every: int | None = None
    """Steps between checkpoints."""
    minutes: float = 10.0
    """Minutes between checkpoints."""
    keep: int = 2
    """Newest checkpoints to keep; older ones are removed once a newer one is whole on disk."""
    best: bool = False
    """Also keep the one with the lowest held-out loss, saved whenever an evaluation on the way finds a lower one."""
    background: bool = False
    """Write checkpoints while training goes on, which then waits only for a copy in memory; takes the memory of one."""

    def __post_init__(self) -> None:
        positive(checkpoint__every=self.every, checkpoint__minutes=self.minutes, checkpoint__keep=self.keep)
