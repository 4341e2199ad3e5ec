"""Lion: the sign of an interpolated momentum.

Chen et al. 2023, Symbolic Discovery of Optimization Algorithms, https://arxiv.org/abs/2302.06675, algorithm 2.
"""

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


class Lion(GroupOptimizer):
    """For gradient g of a parameter p:

        p <- p - lr * weight_decay * p
        p <- p - lr * sign(betas[0] * m + (1 - betas[0]) * g)
        m <- betas[1] * m + (1 - betas[1]) * g

    Every element moves by exactly lr, so lr is 3 to 10 times smaller than AdamW's and weight_decay as much larger
    (section 5 of the paper). State: `m`, half of AdamW's. `foreach` as in AdamW. Errors: `ConfigError`.
    """

    def __init__(
        self,
        params: Parameters,
        lr: Number = 1e-4,
        betas: tuple[Number, Number] = (0.9, 0.99),
        weight_decay: Number = 0.0,
        *,
        foreach: bool = True,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": weight_decay, "foreach": foreach})

    def check(self, group: dict[str, Any]) -> None:
        check_not_negative(group, "lr", "weight_decay")
        if len(group["betas"]) != 2:
            raise ConfigError(f"betas must be two numbers, got {group['betas']}")
        check_decay_rates(("betas[0]", "betas[1]"), group["betas"])

    def new_state(self, parameter: Tensor) -> dict[str, Tensor]:
        return {"m": torch.zeros_like(parameter)}

    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        alike: dict[tuple[torch.device, torch.dtype], list[tuple[Tensor, Tensor, Tensor]]] = {}
        for parameter in parameters:
            p, grad, m = local(parameter, gradient(parameter), self.state[parameter]["m"])
            alike.setdefault((p.device, p.dtype), []).append((p, grad, m))
        for (device, _), works in alike.items():
            if not group["foreach"]:
                for work in works:
                    lion_update(*work, group)
            elif device.type == "cpu":
                for work in works:
                    for p, grad, m in pieces(*work):
                        lion_update(p, grad, m, group)
            else:
                _foreach_update(works, group)


def lion_update(parameter: Tensor, grad: Tensor, m: Tensor, group: dict[str, Any]) -> None:
    """One step on one tensor, in place: the definition."""
    lr, (beta1, beta2) = float(group["lr"]), group["betas"]
    parameter.mul_(1 - lr * group["weight_decay"])
    parameter.add_(m.lerp(grad, 1 - beta1).sign_(), alpha=-lr)
    m.lerp_(grad, 1 - beta2)


def _foreach_update(works: list[tuple[Tensor, Tensor, Tensor]], group: dict[str, Any]) -> None:
    lr, (beta1, beta2) = float(group["lr"]), group["betas"]
    parameters, grads, m = (list(kind) for kind in zip(*works, strict=True))
    torch._foreach_mul_(parameters, 1 - lr * group["weight_decay"])
    directions = list(torch._foreach_lerp(m, grads, 1 - beta1))
    torch._foreach_sign_(directions)
    torch._foreach_add_(parameters, directions, alpha=-lr)
    torch._foreach_lerp_(m, grads, 1 - beta2)
