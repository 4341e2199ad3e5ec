"""What an error means to the person who started the program: a message, and the exit code."""

from __future__ import annotations

from cyclopts import CycloptsError

from lm_train.config_file import recipes
from lm_train.errors import ClusterError, LmTrainError
from lm_train.own_command import own_command
from lm_train.run_errors import MemoryRunError, NotFiniteError, OrderError, RankLostError, ReplicaError

EXIT_FAULT, EXIT_USAGE = 1, 2
_FAULTS = (MemoryRunError, NotFiniteError, RankLostError, ReplicaError, OrderError, ClusterError)


def explain(error: Exception) -> tuple[str | None, int]:
    """The message and exit code of an error that a person can act on; (None, 1) for a fault of the program itself."""
    if isinstance(error, CycloptsError):
        command = " ".join([own_command(), *(error.command_chain or ())])
        known = "" if error.command_chain else f"; recipes: {', '.join(recipes())}"
        return f"{error}\nsee {command} --help{known}", EXIT_USAGE
    if isinstance(error, LmTrainError):
        return str(error), EXIT_FAULT if isinstance(error, _FAULTS) else EXIT_USAGE
    if isinstance(error, OSError) and not type(error).__module__.startswith("lm_"):
        from lm_train.disk_full import is_full  # which brings lm_core, as below

        if is_full(error):
            return f"the disk is full: {error}; free some space or choose another disk", EXIT_FAULT
        return str(error), EXIT_FAULT
    from lm_core.errors import LmCoreError
    from lm_core.manifest import DiskFullError
    from lm_tokenizer import TokenizerError

    if isinstance(error, LmCoreError | TokenizerError):
        return str(error), EXIT_FAULT if isinstance(error, DiskFullError) else EXIT_USAGE
    if (
        isinstance(error, MemoryError)
        or "out of memory" in str(error).lower()
        or "can't allocate memory" in str(error)
    ):
        return (
            "out of memory: try --micro-batch 1 (the same steps in less memory), a shorter --model.context, or a smaller --model.d-model",
            EXIT_FAULT,
        )
    return None, EXIT_FAULT
