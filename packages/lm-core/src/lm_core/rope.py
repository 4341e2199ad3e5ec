"""Rotary positions (RoPE) in half-split form: dimension i is paired with dimension i + d_head/2, as in Llama's files.

(The paper pairs neighbours, 2i and 2i + 1. The two forms differ by a fixed order of the dimensions of q and k.)
"""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lm_core.rope_scaling import RopeScaling, rope_frequencies
from lm_core.shapes import require_last_axis

TABLE_ROWS = 8192  # positions kept in memory; the angles of later ones are computed when they come


class RotaryEmbedding(nn.Module):
    """Turns pair i of a vector at position t by the angle t * theta^(-2i / d_head):

        y_i = x_i cos - x_{i+half} sin        y_{i+half} = x_{i+half} cos + x_i sin        half = d_head / 2

    so that q . k depends on the difference of their positions only. Angles are computed in float32.
    Su et al. 2021, https://arxiv.org/abs/2104.09864, eq. 34.
    """

    cos: Tensor
    sin: Tensor

    def __init__(
        self, d_head: int, context: int, theta: float = 10_000.0, scaling: RopeScaling | None = None
    ) -> None:
        super().__init__()
        self.d_head = d_head
        self.context = context
        self.theta = theta
        self.scaling = scaling
        device = torch.get_default_device()
        if device.type == "meta":  # arithmetic there would import torch's compiler, 5 seconds of every start
            device = torch.device("cpu")
        cos, sin = self.angles(torch.arange(min(context, TABLE_ROWS), device=device))
        self.register_buffer("cos", cos, persistent=False)  # (rows, d_head)
        self.register_buffer("sin", sin, persistent=False)

    def angles(
        self, positions: Int[Tensor, "..."]
    ) -> tuple[Float[Tensor, "... d_head"], Float[Tensor, "... d_head"]]:
        """cos twice over, and sin with the first half negated: y = x * cos + swap(x) * sin."""
        speeds, factor = rope_frequencies(self.d_head, self.theta, self.scaling, positions.device)
        angles = positions[..., None].float() * speeds  # (..., half)
        cos, sin = angles.cos() * factor, angles.sin() * factor
        return torch.cat([cos, cos], -1), torch.cat([-sin, sin], -1)

    def forward(
        self, x: Float[Tensor, "... length d_head"], positions: int | Int[Tensor, "... length"] = 0
    ) -> Float[Tensor, "... length d_head"]:
        """`x` turned as standing at `positions`: a first position and those after it, or one for each vector."""
        require_last_axis(x, self.d_head, "d_head")
        if isinstance(positions, Tensor):
            cos, sin = self.angles(positions)
        elif (stop := positions + x.shape[-2]) <= self.cos.shape[0]:
            cos, sin = self.cos[positions:stop], self.sin[positions:stop]
        else:
            cos, sin = self.angles(torch.arange(positions, stop, device=x.device))
        swapped = x.roll(self.d_head // 2, -1)  # (second half, first half)
        return torch.addcmul(x * cos.to(x.dtype), swapped, sin.to(x.dtype))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Called by .to(), .cuda(), .bfloat16(), .to_empty(): the tables follow the device, never the dtype."""
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        rows, device = self.cos.shape[0], self.cos.device
        self.cos, self.sin = self.angles(torch.arange(rows, device=device))
        return self
