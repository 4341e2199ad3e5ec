"""x W^T, the product that a model is made of: as torch does it, or by oneDNN where that is faster.

torch gives float32 products on a CPU to MKL, which on CPUs that are not Intel's leaves half of AVX-512 unused. oneDNN, which is
in torch as well, does not: AMD EPYC, 2 cores, 2048 tokens, 512 -> 1344: 201 GFLOP/s against 125; back again 205 against 130.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lm_core.flop_formulas import count
from lm_core.shapes import require_last_axis

# A call of oneDNN costs 15 microseconds more. 1024 x 128 -> 352 (46 million multiplications) took 0.9 of MKL's time, 1024 x 128 -> 128
# (17 million) all of it; with one row, 512 -> 10,000 took 0.42 to 0.75 of it, for MKL reads so large a weight slowly.
WORTH_MULTIPLICATIONS = 1 << 25
WORTH_WEIGHT = 1 << 22
ORDINARY = (Tensor, torch.nn.Parameter)
# The processor, torch's build and torch's version decide, so that the same machine always computes the same bits.
HAS_ONEDNN = torch.backends.cpu.get_cpu_capability() == "AVX512" and hasattr(
    torch.ops.mkldnn, "_linear_pointwise"
)


def product(
    x: Float[Tensor, "... d_in"], weight: Float[Tensor, "d_out d_in"], *, fast: bool = True
) -> Float[Tensor, "... d_out"]:
    """x weight^T. `fast=False` is what torch makes of just that; `fast=True` the same to rounding, with the same gradients.

    Raises ShapeError when x does not end with d_in.
    """
    require_last_axis(x, weight.shape[-1], "d_in")
    if not (fast and HAS_ONEDNN and _worth(x, weight)):
        return x @ weight.T
    if torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad):
        y: Tensor = _Product.apply(x, weight)
        return y
    return _by_onednn(x, weight)


class _Product(torch.autograd.Function):
    """d/dx = grad W        d/dW = grad^T x"""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _by_onednn(x, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        grad_x = grad_weight = None
        if ctx.needs_input_grad[0]:
            grad_x = product(grad, weight.T)
        if ctx.needs_input_grad[1]:
            grad_weight = _weight_gradient(grad.flatten(0, -2), x.flatten(0, -2))
        return grad_x, grad_weight


def _weight_gradient(
    grad: Float[Tensor, "tokens d_out"], x: Float[Tensor, "tokens d_in"]
) -> Float[Tensor, "d_out d_in"]:
    """grad^T x. oneDNN wants its first factor row after row, so one is turned first, which the compiler does in 0.4 ms for 2048 x 1344.
    torch needs 3 ms for that, so in an eager step MKL's is the faster one (oneDNN's: 1.2 of its time at width 128, 0.8 to 1.1 at 512).
    """
    if torch.compiler.is_compiling():
        return product(grad.T.contiguous(), x.T)
    return grad.T @ x


def _worth(x: Tensor, weight: Tensor) -> bool:
    if not (x.is_cpu and x.dtype is torch.float32 and weight.dtype is torch.float32):
        return False
    if x.dim() < 2 or type(x) not in ORDINARY or type(weight) not in ORDINARY:
        return False
    large = weight.numel() >= WORTH_WEIGHT or x.numel() * weight.shape[0] >= WORTH_MULTIPLICATIONS
    return large and x.numel() > 0 and not torch.is_autocast_enabled("cpu")


def _by_onednn(x: Tensor, weight: Tensor) -> Tensor:
    if torch.compiler.is_compiling():
        seen: Tensor = _opaque(x, weight)
        return seen
    y: Tensor = torch.ops.mkldnn._linear_pointwise(x.contiguous(), weight, None, "none", [], "")
    return y


# What torch.compile sees of it: torch tells it the shape of oneDNN's product only after its own compiler is imported.
@torch.library.custom_op("lm_core::product", mutates_args=())
def _opaque(x: Tensor, weight: Tensor) -> Tensor:
    return _by_onednn(x, weight)


@_opaque.register_fake
def _(x: Tensor, weight: Tensor) -> Tensor:
    return x.new_empty(*x.shape[:-1], weight.shape[0])


def _flops(x: Sequence[int], weight: Sequence[int], *_: Any, **__: Any) -> int:
    return 2 * math.prod(x) * weight[0]


# torch's counter knows its own products only, and every other operation as nothing.
count(torch.ops.lm_core.product, _flops)
if HAS_ONEDNN:
    count(torch.ops.mkldnn._linear_pointwise, _flops)
