"""What the commands of the program share: the settings and settings files they take, and what each of them gives back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from cyclopts import Group, Parameter

from lm_train.config import TrainConfig
from lm_train.signals import Stop

Action = Callable[[Stop], int]
"""A parsed command: does its work and gives the exit code."""
SETTINGS = Group("Settings from files", sort_key=0)
Config = Annotated[TrainConfig, Parameter(name="*")]
Files = Annotated[tuple[str, ...], Parameter(group=SETTINGS, negative=())]
