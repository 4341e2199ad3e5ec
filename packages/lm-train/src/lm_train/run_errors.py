"""The errors about runs and checkpoints; those about settings, text and datasets are in errors.py."""

from __future__ import annotations

from lm_train.errors import LmTrainError


class RunError(LmTrainError, ValueError):
    """A run folder that cannot be made, found, or continued as asked."""


class CheckpointError(RunError):
    """A checkpoint that cannot be continued from: damaged, missing, or of another kind of run."""


class NotFiniteError(LmTrainError):
    """Too many steps in a row whose loss or gradient was not finite; names the last good step."""
