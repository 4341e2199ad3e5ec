"""From any text to a trained language model, exactly resumable.

    from lm_train import TrainConfig, train, prepare, TokenDataset

Names are looked up when they are first used, so that the command line answers `--help` without importing torch.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lm_train.batches import Batches, ValidationWindows
    from lm_train.config import TrainConfig
    from lm_train.dataset import TokenDataset
    from lm_train.errors import LmTrainError
    from lm_train.prepare import prepare
    from lm_train.result import RunResult
    from lm_train.run import resume, train

__all__ = [
    "Batches",
    "LmTrainError",
    "RunResult",
    "TokenDataset",
    "TrainConfig",
    "ValidationWindows",
    "prepare",
    "resume",
    "train",
]
__version__ = "0.1.0"

_HOMES = {
    "Batches": "batches",
    "LmTrainError": "errors",
    "RunResult": "result",
    "TokenDataset": "dataset",
    "TrainConfig": "config",
    "ValidationWindows": "batches",
    "prepare": "prepare",
    "resume": "run",
    "train": "run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return vars(import_module(f"{__name__}.{_HOMES[name]}"))[name]


class _Package(ModuleType):
    """Importing the module lm_train.prepare would bind it to `lm_train.prepare`; that name is its function's."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "prepare" and isinstance(value, ModuleType):
            value = vars(value)[name]
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
