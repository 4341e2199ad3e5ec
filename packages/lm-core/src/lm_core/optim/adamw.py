"""AdamW: Adam with decoupled weight decay.

Loshchilov & Hutter 2019, Decoupled Weight Decay Regularization, https://arxiv.org/abs/1711.05101, algorithm 2;
Kingma & Ba 2015, Adam, https://arxiv.org/abs/1412.6980, algorithm 1.
"""

import math
from typing import Any

import torch
from torch import Tensor

from lm_core.errors import ConfigError
from lm_core.optim.one_pass import (
    Quadruple,
    compiled_update,
    fits,
    require_compiler,
    update_in_one_pass,
)
from lm_core.optim.optimizer import (
    GroupOptimizer,
    Number,
    Parameters,
    check_decay_rates,
    check_not_negative,
    gradient,
)
from lm_core.optim.pieces import can_be_flat, pieces
from lm_core.optim.ranks import local

# Elements: below, eight small operations cost less than the call of a function that torch compiled.
WORTH_COMPILING = 1 << 16
# Elements: torch's fused kernel rounds in other places than the definition. In a tensor of so many the roundings average out, to 6e-8
# of its norm after 100 steps; in a scalar one of them can be 2e-7.
WORTH_FUSING = 1 << 8


class AdamW(GroupOptimizer):
    """For step t = 1, 2, ... and gradient g of a parameter p:

        p <- p - lr * weight_decay * p
        m <- betas[0] * m + (1 - betas[0]) * g
        v <- betas[1] * v + (1 - betas[1]) * g**2
        p <- p - lr * (m / (1 - betas[0]**t)) / (sqrt(v / (1 - betas[1]**t)) + eps)

    State of a parameter: `m` and `v`, of its shape and dtype, and `step`, the t of its last step (an int64 tensor on
    the CPU). Every setting can differ between parameter groups. `foreach=False` applies the definition above to one
    tensor after another; `foreach=True` is the same arithmetic in cache-sized pieces (CPU) or with one kernel for many
    tensors (elsewhere), the same bits. On a CPU `fused_kernel=True` hands tensors of 256 float32 or float64 numbers and more to torch's fused
    kernel, one loop over memory, which is within 1e-7 of that after 100 steps. `compile=True` is one loop over memory, equal to rounding: on a CPU in C (optim/adamw.c), which takes
    a third of the time, needs a C compiler and a tenth of a second at the first step; elsewhere through torch.compile. Sharded
    parameters (DTensors) are updated by each rank's own part. Errors: `ConfigError`.
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
        fused_kernel: bool = True,
        compile: bool = False,
    ) -> None:
        settings = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        ways = {
            "foreach": foreach,
            "fused_kernel": fused_kernel,
            "compile": compile,
        }  # "fused" has a meaning for torch
        super().__init__(params, {**settings, **ways})

    def check(self, group: dict[str, Any]) -> None:
        check_not_negative(group, "lr", "eps", "weight_decay")
        if len(group["betas"]) != 2:
            raise ConfigError(f"betas must be two numbers, got {group['betas']}")
        check_decay_rates(("betas[0]", "betas[1]"), group["betas"])
        if group.get("compile") and any(parameter.device.type == "cpu" for parameter in group["params"]):
            require_compiler()

    def new_state(self, parameter: Tensor) -> dict[str, Tensor]:
        return {
            "step": torch.zeros((), dtype=torch.int64),
            "m": torch.zeros_like(parameter),
            "v": torch.zeros_like(parameter),
        }

    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        alike: dict[tuple[int, torch.device, torch.dtype], list[Quadruple]] = {}
        states = [self.state[parameter] for parameter in parameters]
        torch._foreach_add_([state["step"] for state in states], 1)
        for parameter, state in zip(parameters, states, strict=True):
            p, grad, m, v = local(parameter, gradient(parameter), state["m"], state["v"])
            alike.setdefault((int(state["step"]), p.device, p.dtype), []).append((p, grad, m, v))
        for (step, device, _), works in alike.items():
            constants = _Constants(group, step)
            if group.get("compile"):  # a state_dict of before has no such key
                _one_pass(works, constants)
            elif not group["foreach"]:
                for work in works:
                    adamw_update(*work, constants)
            elif device.type == "cpu" and group.get("fused_kernel"):  # nor this one
                large: list[Quadruple] = []
                small: list[Quadruple] = []
                for work in works:
                    (large if _fuses(work) else small).append(work)
                _fused(large, group, step)
                _in_pieces(small, constants)
            elif device.type == "cpu":
                _in_pieces(works, constants)
            else:
                _foreach_update(works, constants)


class _Constants:
    """The numbers of one step that are the same for all parameters of a group."""

    def __init__(self, group: dict[str, Any], step: int) -> None:
        self.beta1, self.beta2 = group["betas"]
        lr = float(group["lr"])
        self.keep = 1 - lr * group["weight_decay"]
        self.step_size = lr / (1 - self.beta1**step)
        self.root = math.sqrt(1 - self.beta2**step)
        self.eps = group["eps"]

    def numbers(self) -> list[float]:
        """For the compiled steps, in the order of adamw.c."""
        beta1, beta2 = self.beta1, self.beta2
        return [self.keep, beta1, 1 - beta1, beta2, 1 - beta2, self.root, self.eps, self.step_size]


def adamw_update(parameter: Tensor, grad: Tensor, m: Tensor, v: Tensor, constants: _Constants) -> None:
    """One step on one tensor, in place: the definition."""
    parameter.mul_(constants.keep)
    m.lerp_(grad, 1 - constants.beta1)
    v.mul_(constants.beta2).addcmul_(grad, grad, value=1 - constants.beta2)
    denominator = v.sqrt().div_(constants.root).add_(constants.eps)
    parameter.addcdiv_(m, denominator, value=-constants.step_size)


def _in_pieces(works: list[Quadruple], constants: _Constants) -> None:
    for work in works:
        for p, grad, m, v in pieces(*work):
            adamw_update(p, grad, m, v, constants)


def _fuses(work: Quadruple) -> bool:
    return work[0].numel() >= WORTH_FUSING and fits(work)


def _fused(works: list[Quadruple], group: dict[str, Any], step: int) -> None:
    """The step as torch.optim.AdamW(fused=True) computes it: every number is read once."""
    if not works:
        return
    parameters, grads, m, v = (list(kind) for kind in zip(*works, strict=True))
    beta1, beta2 = group["betas"]
    torch._fused_adamw_(
        parameters,
        grads,
        m,
        v,
        [],
        [torch.tensor(float(step))] * len(works),
        lr=float(group["lr"]),
        beta1=beta1,
        beta2=beta2,
        weight_decay=group["weight_decay"],
        eps=group["eps"],
        amsgrad=False,
        maximize=False,
    )


def _one_pass(works: list[Quadruple], constants: _Constants) -> None:
    if works[0][0].device.type == "cpu":
        in_c = [work for work in works if fits(work)]
        if in_c:
            update_in_one_pass(in_c, constants.numbers())
        _in_pieces([work for work in works if not fits(work)], constants)
        return
    step = compiled_update()
    numbers = torch.tensor(constants.numbers(), dtype=torch.float64).to(works[0][0].device)
    for work in works:
        if work[0].numel() >= WORTH_COMPILING and can_be_flat(*work):
            p, grad, m, v = (tensor.view(-1) for tensor in work)
            step(p, grad, m, v, numbers)
        else:
            adamw_update(*work, constants)


def _foreach_update(works: list[Quadruple], constants: _Constants) -> None:
    parameters, grads, m, v = (list(kind) for kind in zip(*works, strict=True))
    torch._foreach_mul_(parameters, constants.keep)
    torch._foreach_lerp_(m, grads, 1 - constants.beta1)
    torch._foreach_mul_(v, constants.beta2)
    torch._foreach_addcmul_(v, grads, grads, value=1 - constants.beta2)
    denominators = list(torch._foreach_sqrt(v))
    torch._foreach_div_(denominators, constants.root)
    torch._foreach_add_(denominators, constants.eps)
    torch._foreach_addcdiv_(parameters, m, denominators, value=-constants.step_size)
