"""What the optimizers of this folder share: one walk over the parameter groups, and what they refuse.

An optimizer says how it checks a group's settings (`check`), what state a parameter starts with (`new_state`) and how
it updates the parameters of a group that have gradients (`update`). Everything else is `torch.optim.Optimizer`'s:
groups, `state_dict`, `zero_grad`, hooks. Parameters without a gradient are skipped and get no state.
"""

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor

from lm_core.errors import ConfigError

# The type checker of the tests does not count an int as a float.
Number = float | int
Parameters = Iterable[Tensor] | Iterable[dict[str, Any]] | Iterable[tuple[str, Tensor]]

# torch's own, without the wrapper that keeps it out of compiled graphs: that imports the compiler, two seconds of every start.
_add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)


class GroupOptimizer(torch.optim.Optimizer):
    """The base of AdamW, Muon, Adafactor and Lion. Settings are checked for every group, also for added ones."""

    def check(self, group: dict[str, Any]) -> None:
        """Raises `ConfigError` for settings of a group that make no sense."""
        raise NotImplementedError

    def new_state(self, parameter: Tensor) -> dict[str, Tensor]:
        """The state of a parameter before its first step."""
        raise NotImplementedError

    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """One step on the parameters of a group that have gradients; called with gradients switched off."""
        raise NotImplementedError

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """As torch's; a complex parameter or a setting out of range is a `ConfigError`."""
        _add_param_group(self, param_group)
        group = self.param_groups[-1]
        try:
            self.check(group)
            for index, parameter in enumerate(group["params"]):
                if parameter.is_complex():
                    raise ConfigError(
                        f"{type(self).__name__} is for real numbers; {name_of(group, index)} is {parameter.dtype}"
                    )
        except ConfigError:
            self.param_groups.pop()
            raise

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], Any]) -> Any: ...
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Updates every parameter that has a gradient. `closure`, if given, computes the loss first and is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        with torch.no_grad():
            for group in self.param_groups:
                parameters = self._with_gradients(group)
                for parameter in parameters:
                    if not self.state[parameter]:
                        self.state[parameter].update(self.new_state(parameter))
                if parameters:
                    self.update(group, parameters)
        return loss

    def _with_gradients(self, group: dict[str, Any]) -> list[Tensor]:
        found = []
        for index, parameter in enumerate(group["params"]):
            if parameter.grad is None:
                continue
            if parameter.grad.layout is not torch.strided:
                raise ConfigError(
                    f"{type(self).__name__} needs dense gradients; that of {name_of(group, index)} is sparse. "
                    "Make the embedding with sparse=False"
                )
            found.append(parameter)
        return found


def name_of(group: dict[str, Any], index: int) -> str:
    """How a message names a parameter: by its name if the optimizer was given names, else by place and shape."""
    shape = tuple(group["params"][index].shape)
    if "param_names" in group:
        return f"{group['param_names'][index]} of shape {shape}"
    return f"parameter {index} of shape {shape}"


def gradient(parameter: Tensor) -> Tensor:
    """The gradient of a parameter that is known to have one."""
    assert parameter.grad is not None
    return parameter.grad


def check_not_negative(group: dict[str, Any], *names: str) -> None:
    """Raises `ConfigError` unless each of these settings is a finite number >= 0."""
    for name in names:
        value = float(group[name])
        if not (math.isfinite(value) and value >= 0):
            raise ConfigError(f"{name} must be a finite number >= 0, got {value}")


def check_decay_rates(names: tuple[str, ...], rates: Iterable[Number]) -> None:
    """Raises `ConfigError` unless each rate of a running average lies in [0, 1)."""
    for name, rate in zip(names, rates, strict=True):
        if not 0 <= rate < 1:
            raise ConfigError(f"{name} must be in [0, 1), got {rate}")
