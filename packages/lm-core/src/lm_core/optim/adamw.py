"""AdamW: Adam with decoupled weight decay.

Loshchilov & Hutter 2019, Decoupled Weight Decay Regularization, https://arxiv.org/abs/1711.05101, algorithm 2;
Kingma & Ba 2015, Adam, https://arxiv.org/abs/1412.6980, algorithm 1.
"""

import functools
import math
from collections.abc import Callable
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
from lm_core.optim.pieces import can_be_flat, pieces

WORTH_COMPILING = (
    1 << 16
)  # elements: below, eight small operations cost less than the call of a compiled function
BACKEND = "inductor"


class AdamW(GroupOptimizer):
    """For step t = 1, 2, ... and gradient g of a parameter p:

        p <- p - lr * weight_decay * p
        m <- betas[0] * m + (1 - betas[0]) * g
        v <- betas[1] * v + (1 - betas[1]) * g**2
        p <- p - lr * (m / (1 - betas[0]**t)) / (sqrt(v / (1 - betas[1]**t)) + eps)

    State of a parameter: `m` and `v`, of its shape and dtype, and `step`, the t of its last step (an int64 tensor on
    the CPU). Every setting can differ between parameter groups. `foreach=False` applies the definition above to one
    tensor after another; `foreach=True` is the same arithmetic in cache-sized pieces (CPU) or with one kernel for many
    tensors (elsewhere). `compile=True` lets torch.compile make one loop over memory of the definition, which on a CPU takes
    half the time and needs a C++ compiler and its seconds at the first step; equal to rounding. Errors: `ConfigError`.
    """

    def __init__(
        self,
        params: Parameters,
        lr: Number = 1e-3,
        betas: tuple[Number, Number] = (0.9, 0.999),
        eps: Number = 1e-8,
        weight_decay: Number = 0.01,
        *,
        foreach: bool = True,
        compile: bool = False,
    ) -> None:
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, {**settings, "foreach": foreach, "compile": compile})

    def check(self, group: dict[str, Any]) -> None:
        check_not_negative(group, "lr", "eps", "weight_decay")
        if len(group["betas"]) != 2:
            raise ConfigError(f"betas must be two numbers, got {group['betas']}")
        check_decay_rates(("betas[0]", "betas[1]"), group["betas"])

    def new_state(self, parameter: Tensor) -> dict[str, Tensor]:
        return {
            "step": torch.zeros((), dtype=torch.int64),
            "m": torch.zeros_like(parameter),
            "v": torch.zeros_like(parameter),
        }

    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        by_step: dict[tuple[int, torch.device], list[Tensor]] = {}
        for parameter in parameters:
            self.state[parameter]["step"] += 1
            key = (int(self.state[parameter]["step"]), parameter.device)
            by_step.setdefault(key, []).append(parameter)
        for (step, device), members in by_step.items():
            constants = _Constants(group, step)
            grads = [gradient(parameter) for parameter in members]
            m = [self.state[parameter]["m"] for parameter in members]
            v = [self.state[parameter]["v"] for parameter in members]
            if group.get("compile"):  # a state_dict of before has no such key
                one_pass, numbers = compiled_update(), constants.as_tensor(device)
                for p, grad, first, second in zip(members, grads, m, v, strict=True):
                    if p.numel() >= WORTH_COMPILING and can_be_flat(p, grad, first, second):
                        one_pass(p.view(-1), grad.view(-1), first.view(-1), second.view(-1), numbers)
                    else:
                        adamw_update(p, grad, first, second, constants)
            elif not group["foreach"]:
                for tensors in zip(members, grads, m, v, strict=True):
                    adamw_update(*tensors, constants)
            elif device.type == "cpu":
                for tensors in zip(members, grads, m, v, strict=True):
                    for p, grad, first, second in pieces(*tensors):
                        adamw_update(p, grad, first, second, constants)
            else:
                _foreach_update(members, grads, m, v, constants)


class _Constants:
    """The numbers of one step that are the same for all parameters of a group."""

    def __init__(self, group: dict[str, Any], step: int) -> None:
        self.beta1, self.beta2 = group["betas"]
        lr = float(group["lr"])
        self.keep = 1 - lr * group["weight_decay"]
        self.step_size = lr / (1 - self.beta1**step)
        self.root = math.sqrt(1 - self.beta2**step)
        self.eps = group["eps"]

    def as_tensor(self, device: torch.device) -> Tensor:
        """For the compiled step, which would be compiled again for every new Python number."""
        numbers = [
            self.keep,
            1 - self.beta1,
            self.beta2,
            1 - self.beta2,
            self.root,
            self.eps,
            -self.step_size,
        ]
        return torch.tensor(numbers, dtype=torch.float64).to(device)


def adamw_update(parameter: Tensor, grad: Tensor, m: Tensor, v: Tensor, constants: _Constants) -> None:
    """One step on one tensor, in place: the definition."""
    parameter.mul_(constants.keep)
    m.lerp_(grad, 1 - constants.beta1)
    v.mul_(constants.beta2).addcmul_(grad, grad, value=1 - constants.beta2)
    denominator = v.sqrt().div_(constants.root).add_(constants.eps)
    parameter.addcdiv_(m, denominator, value=-constants.step_size)


@functools.cache
def compiled_update() -> Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], None]:
    """`adamw_update` for flat tensors of any length, compiled at its first call."""
    compiled: Callable[..., None] = torch.compile(
        _update_by_tensor, dynamic=True, fullgraph=True, backend=BACKEND
    )
    return compiled


def _update_by_tensor(p: Tensor, grad: Tensor, m: Tensor, v: Tensor, numbers: Tensor) -> None:
    keep, new_m, beta2, new_v, root, eps, scale = numbers.to(p.dtype).unbind()
    p.mul_(keep)
    m.lerp_(grad, new_m)
    v.mul_(beta2).addcmul_(grad, grad * new_v)
    denominator = v.sqrt().div_(root).add_(eps)
    p.addcdiv_(m * scale, denominator)


def _foreach_update(
    parameters: list[Tensor], grads: list[Tensor], m: list[Tensor], v: list[Tensor], constants: _Constants
) -> None:
    torch._foreach_mul_(parameters, constants.keep)
    torch._foreach_lerp_(m, grads, 1 - constants.beta1)
    torch._foreach_mul_(v, constants.beta2)
    torch._foreach_addcmul_(v, grads, grads, value=1 - constants.beta2)
    denominators = list(torch._foreach_sqrt(v))
    torch._foreach_div_(denominators, constants.root)
    torch._foreach_add_(denominators, constants.eps)
    torch._foreach_addcdiv_(parameters, m, denominators, value=-constants.step_size)
