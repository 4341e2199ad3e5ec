"""The linear layer: a matrix product, and a bias where asked for."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lm_core.init import fan_in_normal_
from lm_core.product import product


class Linear(nn.Module):
    """y = x W^T + b, with W of shape (d_out, d_in).

    W starts normal with standard deviation 0.7 / sqrt(d_in), from torch's global generator, and b at zero;
    a `Transformer` draws its weights again from its own seed.
    """

    def __init__(self, d_in: int, d_out: int, bias: bool = False, *, fast: bool = True) -> None:
        super().__init__()
        self.fast = fast
        self.weight = nn.Parameter(torch.empty(d_out, d_in))
        self.bias = nn.Parameter(torch.zeros(d_out)) if bias else None
        fan_in_normal_(self.weight)

    def extra_repr(self) -> str:
        d_out, d_in = self.weight.shape
        return f"{d_in} -> {d_out}{'' if self.bias is None else ', bias'}"

    def forward(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_out"]:
        y = product(x, self.weight, fast=self.fast)
        return y if self.bias is None else y + self.bias


def cast_once(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """x in autocast's type, if autocast is on: before several products of the same x, each of which would cast it, and keep its copy."""
    device = x.device.type
    if x.dtype is not torch.float32 or not torch.is_autocast_enabled(device):
        return x
    return x.to(torch.get_autocast_dtype(device))
