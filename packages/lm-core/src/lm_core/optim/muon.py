"""Muon: momentum, orthogonalized by Newton-Schulz, for the weight matrices of hidden layers.

Jordan et al. 2024, Muon: An optimizer for hidden layers in neural networks, https://kellerjordan.github.io/posts/muon/;
weight decay as in Liu et al. 2025, Muon is Scalable for LLM Training, https://arxiv.org/abs/2502.16982.
Embeddings, the output head, norms and biases belong to AdamW: see `split_parameters`.
"""

import math
from typing import Any

import torch
from torch import Tensor

from lm_core.errors import ConfigError
from lm_core.optim.newton_schulz import newton_schulz_dtype, orthogonalize, orthogonalize_fast
from lm_core.optim.optimizer import (
    GroupOptimizer,
    Number,
    Parameters,
    check_decay_rates,
    check_not_negative,
    gradient,
    name_of,
)

# Matrices of one shape go through Newton-Schulz together, but not more than this many elements at once.
BATCH_ELEMENTS = 1 << 24


class Muon(GroupOptimizer):
    """For gradient G of a parameter W of shape (out, in):

        W <- W - lr * weight_decay * W
        B <- momentum * B + (1 - momentum) * G
        U = momentum * B + (1 - momentum) * G if nesterov, else B
        W <- W - lr * sqrt(max(1, out / in)) * orthogonalize(U, ns_steps)

    (The averaging form of the momentum; orthogonalize does not see its scale.) State of a parameter: `B`, of its shape
    and dtype. Momentum warm-up is the caller's: set `group["momentum"]` before a step.

    `ns_dtype` is the precision of Newton-Schulz; None takes bfloat16 on CUDA devices that have units for it (compute
    capability 8 or more), and everywhere else the parameter's own, at least float32. `foreach=False` is the definition,
    matrix by matrix; `foreach=True` takes matrices of one shape (or its transpose) together and fewer products.
    Errors: `ConfigError`, also for a parameter that is no matrix.
    """

    def __init__(
        self,
        params: Parameters,
        lr: Number = 0.02,
        momentum: Number = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        weight_decay: Number = 0.0,
        *,
        ns_dtype: torch.dtype | None = None,
        foreach: bool = True,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "nesterov": nesterov,
                "ns_steps": ns_steps,
                "weight_decay": weight_decay,
                "ns_dtype": ns_dtype,
                "foreach": foreach,
            },
        )

    def check(self, group: dict[str, Any]) -> None:
        check_not_negative(group, "lr", "weight_decay")
        check_decay_rates(("momentum",), [group["momentum"]])
        if group["ns_steps"] < 1:
            raise ConfigError(f"ns_steps must be >= 1, got {group['ns_steps']}")
        for index, parameter in enumerate(group["params"]):
            if parameter.ndim != 2:
                raise ConfigError(
                    f"Muon is for matrices; {name_of(group, index)} has {parameter.ndim} dimensions. Give it to AdamW: "
                    "split_parameters(model) says which parameters go where"
                )

    def new_state(self, parameter: Tensor) -> dict[str, Tensor]:
        return {"B": torch.zeros_like(parameter)}

    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        lr, momentum = float(group["lr"]), group["momentum"]
        grads = [gradient(parameter) for parameter in parameters]
        buffers = [self.state[parameter]["B"] for parameter in parameters]
        torch._foreach_lerp_(buffers, grads, 1 - momentum)
        directions = list(torch._foreach_lerp(grads, buffers, momentum)) if group["nesterov"] else buffers
        if group["weight_decay"]:
            torch._foreach_mul_(parameters, 1 - lr * group["weight_decay"])
        for batch in _batches(directions, together=group["foreach"]):
            members = [directions[index] for index in batch]
            dtype = group["ns_dtype"] or newton_schulz_dtype(members[0])
            wide = torch.stack([_wide(member).to(dtype) for member in members])  # (batch, rows <= columns)
            changes = (orthogonalize_fast if group["foreach"] else orthogonalize)(wide, group["ns_steps"])
            for index, change in zip(batch, changes, strict=True):
                parameter = parameters[index]
                rows, columns = parameter.shape
                back = change if rows <= columns else change.mT
                parameter.add_(back.to(parameter.dtype), alpha=-lr * math.sqrt(max(1.0, rows / columns)))


def _wide(matrix: Tensor) -> Tensor:
    return matrix if matrix.shape[0] <= matrix.shape[1] else matrix.mT


def _batches(matrices: list[Tensor], *, together: bool) -> list[list[int]]:
    """Which matrices go through Newton-Schulz together: those of one wide shape, device and dtype."""
    if not together:
        return [[index] for index in range(len(matrices))]
    groups: dict[tuple[torch.Size, torch.device, torch.dtype], list[int]] = {}
    for index, matrix in enumerate(matrices):
        groups.setdefault((_wide(matrix).shape, matrix.device, matrix.dtype), []).append(index)
    result = []
    for (shape, _, _), members in groups.items():
        size = max(1, BATCH_ELEMENTS // max(1, shape.numel()))
        result += [members[start : start + size] for start in range(0, len(members), size)]
    return result
