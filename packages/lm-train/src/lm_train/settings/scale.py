"""Many ranks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cyclopts import Group, Parameter

from lm_train.settings.checks import positive


@Parameter(group=Group("Many ranks (torchrun)", sort_key=8))
@dataclass(frozen=True, kw_only=True)
class ScaleConfig:
    """How the processes that torchrun starts share one run."""

    sharding: Literal["auto", "replicate", "full", "hybrid"] = "auto"
    """replicate: all weights on every rank. full: a part on each. hybrid: a part on each of a machine, the same on all machines. auto: replicate while it fits."""
    stall_minutes: float = 10.0
    """Minutes without any progress after which the silent process is named, stacks are printed and the run ends."""

    def __post_init__(self) -> None:
        positive(scale__stall_minutes=self.stall_minutes)
