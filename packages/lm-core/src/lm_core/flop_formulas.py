"""What torch's FlopCounterMode counts for operations that it does not know: `count(operation, formula)`.

The counter's module imports triton where that is installed, 66 MB and a tenth of the time of torch's own import, for which nobody
pays who counts nothing. So it hears of the formulas when somebody else imports it.
"""

import importlib.util
import sys
from collections.abc import Callable
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

COUNTER = "torch.utils.flop_counter"
_waiting: list[tuple[Any, Callable[..., int]]] = []


def count(operation: Any, formula: Callable[..., int]) -> None:
    """`formula` takes the operation's arguments, shapes in the place of tensors. What torch counts by itself stays as it is."""
    _waiting.append((operation, formula))
    if COUNTER in sys.modules:
        _tell(sys.modules[COUNTER])
    elif not any(isinstance(finder, _Messenger) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Messenger())


def _tell(counter: ModuleType) -> None:
    while _waiting:
        operation, formula = _waiting.pop()
        if operation not in counter.flop_registry:
            counter.register_flop_formula(operation)(formula)


class _Messenger(MetaPathFinder):
    """Stands before the other finders until the counter is imported, which it lets them find."""

    def find_spec(self, fullname: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != COUNTER:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        assert spec is not None
        assert spec.loader is not None
        execute = spec.loader.exec_module

        def execute_and_tell(module: ModuleType) -> None:
            execute(module)
            _tell(module)

        spec.loader.exec_module = execute_and_tell  # type: ignore[method-assign]
        return spec
