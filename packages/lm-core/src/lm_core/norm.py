"""RMSNorm and LayerNorm, each with its gradient worked out by hand as the fast path."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lm_core.shapes import require_last_axis


class RMSNorm(nn.Module):
    """y = x / rms(x) * weight, with rms(x) = sqrt(mean(x**2) + eps) over d_model.

    Computed in float32 for half-precision input, then cast back.
    Zhang & Sennrich 2019, https://arxiv.org/abs/1910.07467, eq. 4.
    """

    def __init__(self, d_model: int, eps: float = 1e-5, *, fast: bool = True) -> None:
        super().__init__()
        self.eps = eps
        self.fast = fast
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        require_last_axis(x, len(self.weight), "d_model")
        if self.fast and not torch.compiler.is_compiling():
            y: Tensor = _FastRMSNorm.apply(x, self.weight, self.eps)
            return y
        wide = widen(x)
        rms = torch.sqrt(wide.square().mean(-1, keepdim=True) + self.eps)  # (..., 1)
        return (wide / rms * self.weight).to(x.dtype)


class LayerNorm(nn.Module):
    """y = (x - mean(x)) / sqrt(var(x) + eps) * weight + bias over d_model, with the variance divided by d_model.

    Computed in float32 for half-precision input, then cast back.
    Ba, Kiros & Hinton 2016, https://arxiv.org/abs/1607.06450, eq. 4.
    """

    def __init__(self, d_model: int, eps: float = 1e-5, bias: bool = True, *, fast: bool = True) -> None:
        super().__init__()
        self.eps = eps
        self.fast = fast
        self.weight = nn.Parameter(torch.ones(d_model))
        self.bias = nn.Parameter(torch.zeros(d_model)) if bias else None

    def forward(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        require_last_axis(x, len(self.weight), "d_model")
        if self.fast:
            fused: Tensor = nn.functional.layer_norm(x, (x.shape[-1],), self.weight, self.bias, self.eps)
            return fused
        wide = widen(x)
        centred = wide - wide.mean(-1, keepdim=True)
        y: Tensor = centred / torch.sqrt(centred.square().mean(-1, keepdim=True) + self.eps) * self.weight
        return (y if self.bias is None else y + self.bias).to(x.dtype)


def widen(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """float16 and bfloat16 as float32; wider types as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class _FastRMSNorm(torch.autograd.Function):
    """The same formula with its gradient by hand: with n = x / rms and h = g * weight,

        d/dx = (h - n mean(h n)) / rms        d/dweight = sum over rows of g n

    It keeps x and one number a row for the backward pass, where autograd would keep three tensors of x's size.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = widen(x)
        mean_square = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_().div_(x.shape[-1])
        inverse_rms = mean_square.add_(eps).rsqrt_()  # (..., 1)
        ctx.save_for_backward(x, weight, inverse_rms)
        y: Tensor = (wide * inverse_rms).mul_(weight).to(x.dtype)
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        x, weight, inverse_rms = ctx.saved_tensors
        wide_grad = widen(grad)
        normed = widen(x) * inverse_rms
        scaled = wide_grad * weight
        grad_weight = (wide_grad * normed).reshape(-1, x.shape[-1]).sum(0).to(weight.dtype)
        inner = (scaled * normed).mean(-1, keepdim=True)
        grad_x = scaled.sub_(normed.mul_(inner)).mul_(inverse_rms).to(x.dtype)
        return grad_x, grad_weight, None
