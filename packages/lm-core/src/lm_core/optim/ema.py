"""The exponential moving average of a model's weights: often better to evaluate and to keep than the last ones.

Polyak & Juditsky 1992, https://doi.org/10.1137/0330046; in exponential form Tarvainen & Valpola 2017,
https://arxiv.org/abs/1703.01780, section 2, here without the pull towards the start.
"""

import contextlib
from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor, nn

from lm_core.errors import ConfigError, ShapeError
from lm_core.optim.optimizer import Number

AVERAGE = "average."
STEP = "step"


class EMA:
    """For update t = 1, 2, ... and a parameter p, beside it an average e:

        e <- e + w (p - e)        w = (1 - decay) / (1 - decay**t)

    so that e is the weighted mean of all p seen, the newest with weight 1, the one before with decay, then decay**2 ...
    (Adam's bias correction: the start has no weight at all, and after 1 / (1 - decay) updates w is 1 - decay.)

    `parameters` is a model, its parameters, or (name, parameter) pairs; shared ones count once. Averages are float32 or
    wider, on the parameter's device and sharded as it is. Call `update()` after each optimizer step; inside
    `with ema.averaged():` the model holds the averages. Each takes no gradient and no random number, so a run with an EMA
    computes the same weights as one without. Errors: `ConfigError`, `ShapeError`.
    """

    def __init__(
        self,
        parameters: nn.Module | Iterable[Tensor | tuple[str, Tensor]],
        decay: Number = 0.999,
    ) -> None:
        if not 0 <= decay < 1:
            raise ConfigError(f"decay must be in [0, 1), got {decay}")
        self.decay = float(decay)
        self.step = 0
        self._parameters = _named(parameters)
        if not self._parameters:
            raise ConfigError("an EMA needs at least one parameter, got none")
        self._averages = {
            name: torch.zeros_like(parameter, dtype=_wide(parameter), requires_grad=False)
            for name, parameter in self._parameters.items()
        }
        self._held: dict[str, Tensor] = {}  # the model's own numbers, while it holds the averages

    @torch.no_grad()
    def update(self) -> None:
        """Takes the parameters as they are now into the averages."""
        if self._held:
            raise ConfigError(
                "the model holds the averages; leave averaged(), or swap() back, before update()"
            )
        self.step += 1
        weight = (1 - self.decay) / (1 - self.decay**self.step)
        for name, average in self._averages.items():
            average.lerp_(self._parameters[name].to(average.dtype), weight)

    def average(self, name: str) -> Tensor:
        """The average of the parameter of that name; of the i-th one, "i", where no names were given."""
        self._check_begun()
        return self._averages[name]

    @torch.no_grad()
    def swap(self) -> None:
        """Puts the averages into the model; called again, puts its own numbers back, bit for bit.

        Takes as much memory as the parameters until then.
        """
        self._check_begun()
        if self._held:
            for name, own in self._held.items():
                self._parameters[name].copy_(own)
            self._held = {}
            return
        self._held = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        for name, average in self._averages.items():
            self._parameters[name].copy_(average)

    @contextlib.contextmanager
    def averaged(self) -> Iterator[None]:
        """The model holds the averages inside the block, to evaluate or to save, and its own numbers after it."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    @torch.no_grad()
    def copy_to(self, parameters: nn.Module | Iterable[Tensor | tuple[str, Tensor]]) -> None:
        """Writes the averages into another model of the same names and shapes."""
        self._check_begun()
        targets = _named(parameters)
        _check_same_names(self._averages, targets, "the model")
        for name, average in self._averages.items():
            targets[name].copy_(average)

    def state_dict(self) -> dict[str, Tensor]:
        """ "average.<name>" for each parameter, and "step", the number of updates: the EMA's own tensors, no copies."""
        averages = {AVERAGE + name: average for name, average in self._averages.items()}
        return averages | {STEP: torch.tensor(self.step)}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Takes a copy of what `state_dict` gave. The decay is the one given to this EMA."""
        if STEP not in state:
            raise ConfigError(
                f'the state of an EMA must have a tensor "{STEP}"; got {len(state)} tensors without it'
            )
        found = {name.removeprefix(AVERAGE): tensor for name, tensor in state.items() if name != STEP}
        _check_same_names(self._averages, found, "the state")
        self.step = int(state[STEP])
        for name, average in self._averages.items():
            average.copy_(found[name])

    def _check_begun(self) -> None:
        if self.step == 0:
            raise ConfigError("there is no average yet; call update() after an optimizer step first")


def _named(parameters: nn.Module | Iterable[Tensor | tuple[str, Tensor]]) -> dict[str, Tensor]:
    if isinstance(parameters, nn.Module):
        return dict(parameters.named_parameters())
    named: dict[str, Tensor] = {}
    for index, entry in enumerate(parameters):
        if isinstance(entry, Tensor):
            named[str(index)] = entry
        else:
            name, parameter = entry
            named[name] = parameter
    return named


def _wide(parameter: Tensor) -> torch.dtype:
    return torch.promote_types(parameter.dtype, torch.float32)


def _check_same_names(averages: Mapping[str, Tensor], others: Mapping[str, Tensor], what: str) -> None:
    missing, extra = averages.keys() - others.keys(), others.keys() - averages.keys()
    if missing or extra:
        raise ConfigError(
            f"{what} must have the parameters that are averaged: {len(missing)} missing {sorted(missing)[:3]}, "
            f"{len(extra)} more than wanted {sorted(extra)[:3]}"
        )
    for name, average in averages.items():
        if others[name].shape != average.shape:
            raise ShapeError(
                f"{name} must have the shape {tuple(average.shape)}, got {tuple(others[name].shape)} in {what}"
            )
