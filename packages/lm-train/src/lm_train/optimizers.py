"""Which optimizer updates which parameters, and its learning rate and momentum at each step."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from lm_core import Transformer
from lm_core.optim import Adafactor, AdamW, Lion, Muon, split_parameters

from lm_train.config import OptimConfig


@dataclass(frozen=True)
class Part:
    """One optimizer, the name its state is saved under, and its peak learning rate."""

    name: str
    optimizer: torch.optim.Optimizer
    peak: float


_STATE_NUMBERS = {
    "muon": 1,
    "adamw": 2,
    "adafactor": 0,
    "lion": 1,
}  # kept for each weight; Adafactor: a few a row


class Optimizers:
    """All parameters of a model, each under exactly one optimizer. The caller sets the step before each update."""

    def __init__(self, model: Transformer, config: OptimConfig) -> None:
        self.model = model
        self._config = config
        matrices, rest = split_parameters(model)
        if config.name == "muon":
            adamw = AdamW(
                rest, lr=config.lr, betas=(config.beta1, config.beta2), eps=config.eps, weight_decay=0.0
            )
            muon = Muon(
                matrices, lr=config.muon_lr, momentum=config.momentum_start, weight_decay=config.weight_decay
            )
            self.parts = [Part("muon", muon, config.muon_lr), Part("adamw", adamw, config.lr)]
        else:
            self.parts = [Part(config.name, _one(config, matrices, rest), config.lr)]

    def set_step(self, step: int, factor: float) -> None:
        """Take the learning rates, `factor` of their peaks, and Muon's momentum for this step."""
        c = self._config
        warm = min(1.0, step / c.momentum_warmup) if c.momentum_warmup else 1.0
        for part in self.parts:
            for group in part.optimizer.param_groups:
                group["lr"] = part.peak * factor
                if part.name == "muon":
                    group["momentum"] = c.momentum_start + warm * (c.momentum - c.momentum_start)

    @property
    def lr(self) -> float:
        """The learning rate of this step; with muon, AdamW's."""
        return float(self.parts[-1].optimizer.param_groups[0]["lr"])

    def step(self) -> None:
        for part in self.parts:
            part.optimizer.step()

    @property
    def state_bytes(self) -> int:
        """What the state takes, in memory and in a checkpoint, once there is one: float32 numbers for each weight."""
        return sum(
            4 * _STATE_NUMBERS[part.name] * parameter.numel()
            for part in self.parts
            for group in part.optimizer.param_groups
            for parameter in group["params"]
        )

    def zero_grad(self) -> None:
        self.model.zero_grad(set_to_none=True)


def _one(
    config: OptimConfig, matrices: list[torch.nn.Parameter], rest: list[torch.nn.Parameter]
) -> torch.optim.Optimizer:
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    if config.name == "adamw":
        return AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2), eps=config.eps)
    if config.name == "lion":
        return Lion(groups, lr=config.lr, betas=(config.beta1, config.beta2))
    return Adafactor(groups, lr=config.lr)
