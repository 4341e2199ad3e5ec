"""Holds two ways of computing the same thing equal, in value and in the gradient of every tensor given."""

from collections.abc import Callable

import torch
from torch import Tensor

# How far rounding alone may move a result. The half types round at every step of a plain definition, hence the width.
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 4e-2}
DTYPES = list(TOLERANCE)


def assert_same(
    ours: Callable[..., Tensor],
    theirs: Callable[..., Tensor],
    *inputs: Tensor,
    tolerance: float | None = None,
) -> None:
    dtype = inputs[0].dtype
    tolerance = TOLERANCE[dtype] if tolerance is None else tolerance
    mine, yours = run(ours, inputs), run(theirs, inputs)
    names = ["value", *(f"gradient of input {i}" for i in range(len(inputs)))]
    for name, a, b in zip(names, mine, yours, strict=True):
        torch.testing.assert_close(
            a, b, atol=tolerance, rtol=tolerance, msg=lambda text, name=name: f"{name}: {text}"
        )


def run(function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """The value, and the gradients under a fixed uneven weighting of its entries."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in inputs]
    value = function(*leaves)
    weights = torch.linspace(-1.0, 2.0, value.numel(), dtype=torch.float64).reshape(value.shape)
    gradients = torch.autograd.grad((value * weights.to(value.dtype)).sum(), leaves)
    return [value.detach(), *gradients]


def randn(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)
