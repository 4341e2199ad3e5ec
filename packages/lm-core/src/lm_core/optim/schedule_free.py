"""Schedule-free AdamW: no decay of the learning rate, an average of the iterates in its place.

Defazio et al. 2024, The Road Less Scheduled, https://arxiv.org/abs/2405.15682, algorithm 1.
"""

import math
from typing import Any

import torch
from torch import Tensor

from lm_core.errors import ConfigError
from lm_core.optim.optimizer import (
    GroupOptimizer,
    Number,
    Parameters,
    check_decay_rates,
    check_not_negative,
    gradient,
)
from lm_core.optim.pieces import pieces
from lm_core.optim.ranks import local


class ScheduleFreeAdamW(GroupOptimizer):
    """For step t = 1, 2, ... and gradient g, taken at y, of a parameter with the iterates z and their average x:

        rate <- lr * min(1, t / warmup_steps) * sqrt(1 - betas[1]**t)
        v    <- betas[1] * v + (1 - betas[1]) * g**2
        d     = g / (sqrt(v) + eps) + weight_decay * y
        z    <- z - rate * d
        s    <- s + w,  w = (the largest rate so far)**2;   c = w / s
        x    <- (1 - c) * x + c * z
        y     = (1 - betas[0]) * z + betas[0] * x

    The model holds y while it trains and x, the one to evaluate and to save, while it does not: call `optimizer.eval()`
    before and `optimizer.train()` after. It starts in train mode; a step in eval mode is an error. `lr` is constant, about
    1 to 10 times that of a schedule with AdamW; betas[0] = 0.9 or more.

    State of a parameter: `z` and `v`, of its shape and dtype; of a group, beside its settings: `step` (t), `s` and
    `largest_rate`. Errors: `ConfigError`.
    """

    def __init__(
        self,
        params: Parameters,
        lr: Number = 2.5e-3,
        betas: tuple[Number, Number] = (0.9, 0.999),
        eps: Number = 1e-8,
        weight_decay: Number = 0.0,
        warmup_steps: int = 0,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "warmup_steps": warmup_steps,
                "training": True,
                "step": 0,
                "s": 0.0,
                "largest_rate": 0.0,
            },
        )

    def check(self, group: dict[str, Any]) -> None:
        check_not_negative(group, "lr", "eps", "weight_decay", "warmup_steps")
        if len(group["betas"]) != 2:
            raise ConfigError(f"betas must be two numbers, got {group['betas']}")
        check_decay_rates(("betas[0]", "betas[1]"), group["betas"])
        if group["betas"][0] == 0:
            raise ConfigError("betas[0] must be above 0: at 0 the average never reaches the model")

    def new_state(self, parameter: Tensor) -> dict[str, Tensor]:
        z = parameter.detach().clone(memory_format=torch.preserve_format)
        return {"z": z, "v": torch.zeros_like(parameter)}

    def eval(self) -> None:
        """Puts x, the average, into the parameters: (y - (1 - beta) z) / beta. Nothing to do if it is there already."""
        self._switch(training=False)

    def train(self) -> None:
        """Puts y, where gradients are taken, back into the parameters."""
        self._switch(training=True)

    @torch.no_grad()
    def _switch(self, training: bool) -> None:
        for group in self.param_groups:
            beta = group["betas"][0]
            if group["training"] == training:
                continue
            for parameter in group["params"]:
                if self.state[parameter]:
                    # y = x + (1 - beta) (z - x), and back: x = y + (1 - 1/beta) (z - y)
                    parameter.lerp_(self.state[parameter]["z"], 1 - beta if training else 1 - 1 / beta)
            group["training"] = training

    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        if not group["training"]:
            raise ConfigError("the parameters hold the average; call optimizer.train() before the next step")
        constants = _next(group)
        for parameter in parameters:
            state = self.state[parameter]
            parts = local(parameter, gradient(parameter), state["z"], state["v"])
            for p, grad, z, v in pieces(*parts):
                schedule_free_update(p, grad, z, v, *constants)


def _next(group: dict[str, Any]) -> tuple[float, float, float, float, float, float]:
    """Counts the step and its weight, and gives its numbers: beta1, beta2, eps, weight_decay, rate, c."""
    group["step"] += 1
    step, (beta1, beta2) = group["step"], group["betas"]
    warm = min(1.0, step / group["warmup_steps"]) if group["warmup_steps"] else 1.0
    rate = float(group["lr"]) * warm * math.sqrt(1 - beta2**step)
    group["largest_rate"] = max(group["largest_rate"], rate)
    w = group["largest_rate"] ** 2
    group["s"] += w
    c = w / group["s"] if w else 0.0
    return beta1, beta2, group["eps"], group["weight_decay"], rate, c


def schedule_free_update(
    y: Tensor,
    grad: Tensor,
    z: Tensor,
    v: Tensor,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    rate: float,
    c: float,
) -> None:
    """One step on one tensor, in place. x = (y - (1 - beta1) z) / beta1 is not stored; put into y's equation it leaves

    y <- y + c (z - y) - rate (1 - beta1 (1 - c)) d        with the old y and z on the right
    """
    v.mul_(beta2).addcmul_(grad, grad, value=1 - beta2)
    change = grad / v.sqrt().add_(eps)
    if weight_decay:
        change.add_(y, alpha=weight_decay)
    y.lerp_(z, c).add_(change, alpha=-rate * (1 - beta1 * (1 - c)))
    z.add_(change, alpha=-rate)
