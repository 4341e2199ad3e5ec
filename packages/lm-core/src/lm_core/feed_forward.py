"""The feed-forward half of a block: with a gate (SwiGLU) or without (MLP)."""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from lm_core.activation import gelu, relu2, silu
from lm_core.linear import Linear, cast_once


class SwiGLU(nn.Module):
    """y = down(silu(gate(x)) * up(x)), through d_ff inner dimensions.

    Shazeer 2020, https://arxiv.org/abs/2002.05202, eq. 6 (FFN_SwiGLU).
    """

    def __init__(self, d_model: int, d_ff: int, bias: bool = False, *, fast: bool = True) -> None:
        super().__init__()
        self.fast = fast
        self.gate = Linear(d_model, d_ff, bias, fast=fast)
        self.up = Linear(d_model, d_ff, bias, fast=fast)
        self.down = Linear(d_ff, d_model, bias, fast=fast)

    def forward(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        x = cast_once(x)
        gate = self.gate(x)
        opened: Tensor = nn.functional.silu(gate) if self.fast else silu(gate)
        y: Tensor = self.down(opened * self.up(x))
        return y


class MLP(nn.Module):
    """y = down(activation(up(x))), through d_ff inner dimensions. Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, eq. 2."""

    def __init__(
        self,
        d_model: int,
        d_ff: int,
        activation: Literal["gelu", "relu2", "silu"],
        bias: bool = False,
        *,
        fast: bool = True,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.fast = fast
        self.up = Linear(d_model, d_ff, bias, fast=fast)
        self.down = Linear(d_ff, d_model, bias, fast=fast)

    def forward(self, x: Float[Tensor, "... d_model"]) -> Float[Tensor, "... d_model"]:
        inner = self.up(x)
        if self.activation == "relu2":
            inner = relu2(inner)
        elif self.activation == "silu":
            inner = nn.functional.silu(inner) if self.fast else silu(inner)
        else:
            inner = nn.functional.gelu(inner, approximate="tanh") if self.fast else gelu(inner)
        y: Tensor = self.down(inner)
        return y
