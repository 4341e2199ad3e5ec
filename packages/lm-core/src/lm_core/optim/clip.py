"""Gradient clipping by global norm.

Pascanu et al. 2013, On the difficulty of training recurrent neural networks, https://arxiv.org/abs/1211.5063, algorithm 1.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from lm_core.errors import ConfigError
from lm_core.optim.optimizer import Number
from lm_core.optim.ranks import is_sharded, local


def clip_grad_norm(params: Iterable[Tensor] | Tensor, max_norm: Number, eps: Number = 1e-6) -> Tensor:
    """Scales all gradients by min(1, max_norm / (norm + eps)), in place, and gives their norm before that.

    norm = sqrt(sum of the squares of all elements of all gradients), a float32 scalar on the first gradient's device.
    Of sharded gradients (DTensors) it is the norm of the whole, known to every rank. Parameters without a gradient do not count; without any, the norm is 0. `max_norm=inf` only measures.

    A norm that is not finite leaves the gradients untouched: the caller sees it in the result and can skip the step.
    """
    if not max_norm >= 0:
        raise ConfigError(f"max_norm must be a number >= 0, got {max_norm}")
    grads = [
        parameter.grad
        for parameter in ([params] if isinstance(params, Tensor) else params)
        if parameter.grad is not None
    ]
    if any(grad.layout is not torch.strided for grad in grads):
        raise ConfigError(
            "clip_grad_norm needs dense gradients and one is sparse; make the embedding with sparse=False"
        )
    if not grads:
        return torch.zeros(())
    with torch.no_grad():
        home = grads[0].device
        norms = [torch.linalg.vector_norm(grad, dtype=_accumulator(grad)).to(home) for grad in grads]
        norm: Tensor = torch.linalg.vector_norm(torch.stack(norms))
        if is_sharded(norm):
            norm = norm.full_tensor()
        if math.isinf(max_norm):
            return norm
        scale = (max_norm / (norm + eps)).clamp(max=1.0)
        scale = torch.where(norm.isfinite(), scale, torch.ones_like(scale))
        # Reading the scale is free on a CPU and stalls a GPU, which multiplies by 1 instead.
        if home.type != "cpu" or scale.item() != 1.0:
            for grad in grads:
                local(grad)[0].mul_(scale.to(grad.device, grad.dtype))
    return norm


def _accumulator(grad: Tensor) -> torch.dtype:
    return torch.promote_types(grad.dtype, torch.float32)
