"""The errors about runs and checkpoints; those about settings, text and datasets are in errors.py."""

from __future__ import annotations

from lm_train.errors import LmTrainError


class RunError(LmTrainError, ValueError):
    """A run folder that cannot be made, found, or continued as asked."""


class CheckpointError(RunError):
    """A checkpoint that cannot be continued from: damaged, missing, or of another kind of run."""


class MemoryRunError(LmTrainError):
    """The run needs more memory than there is; says which setting takes the same steps in less."""


class RankLostError(LmTrainError):
    """Another process of the same run has ended or cannot be reached."""


class ReplicaError(LmTrainError):
    """Replicas of one model that no longer hold the same weights."""


class LeaderError(LmTrainError):
    """Rank 0 ended the run with an error of its own, which it tells itself."""


class NotFiniteError(LmTrainError):
    """Too many steps in a row whose loss or gradient was not finite; names the last good step."""

    @classmethod
    def after(cls, steps: int, last_good: int) -> NotFiniteError:
        return cls(
            f"{steps} steps in a row had a loss or gradient that is not finite; the last good step is {last_good}. Try a lower --optim.lr"
        )


class OrderError(LmTrainError):
    """Windows were lost or repeated, or came in another order than on one process: a fault of the program."""
