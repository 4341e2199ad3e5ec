"""Linear layers for decoding: weights laid out once for a handful of rows at a time.

A step of decoding multiplies each matrix with one row for each text that is being written. torch's own `x @ W.T` is
slow for so few rows, and it adds up in another order for another number of rows, so the last bits of a row depend on
its neighbours. oneDNN's kernels on reordered weights are faster (docs/speed.md has figures) and, from
`MIN_ROWS` rows on, give every row the same bits whatever is beside it. Neither is promised by torch, so `pack`
tries both on the actual shapes and returns None where either fails; then rows are decoded one by one.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

MIN_ROWS = 4
"""Fewer rows are padded to so many: a single row takes another kernel, slower and with other bits."""
_TRIED_ROWS = 13

Activation = Literal["none", "swish", "relu", "gelu"]


@dataclass(frozen=True)
class PackedLinear:
    """y = activation(x W^T + b) for x of at least `MIN_ROWS` rows; gelu in its tanh form."""

    weight: Tensor
    """Opaque: oneDNN's own layout."""
    bias: Tensor | None
    activation: Activation

    def __call__(self, x: Float[Tensor, "rows d_in"]) -> Float[Tensor, "rows d_out"]:
        algorithm = "tanh" if self.activation == "gelu" else ""
        y: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self.weight, self.bias, self.activation, [], algorithm
        )
        return y

    def place(self) -> tuple[int, int]:
        """Where the weight lies: address and bytes."""
        return torch.ops.mkldnn.data_ptr(self.weight), torch.ops.mkldnn._nbytes(self.weight)


def pack(
    weight: Float[Tensor, "d_out d_in"],
    bias: Float[Tensor, " d_out"] | None = None,
    activation: Activation = "none",
    *,
    proven: set[tuple[object, ...]],
) -> PackedLinear | None:
    """The layer with its weights reordered (a copy); None where this torch or this machine cannot do it soundly.

    `proven` remembers shapes that have passed, so that the layers of a deep model are tried once.
    """
    if weight.device.type != "cpu" or weight.dtype != torch.float32:
        return None
    try:
        reordered = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), MIN_ROWS)
        packed = PackedLinear(reordered, None if bias is None else bias.detach(), activation)
        shape = (*weight.shape, bias is None, activation)
        if shape not in proven and not is_sound(packed, weight.detach()):
            return None
    except (RuntimeError, AttributeError, NotImplementedError):  # built without oneDNN, or under another name
        return None
    proven.add(shape)
    return packed


def is_sound(packed: PackedLinear, weight: Float[Tensor, "d_out d_in"]) -> bool:
    """Whether results are those of the definition, and a row's bits do not depend on the number of rows or its place."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(_TRIED_ROWS, weight.shape[1], generator=generator)
    y = packed(x)
    for first, last in ((0, MIN_ROWS), (MIN_ROWS, 2 * MIN_ROWS), (5, _TRIED_ROWS)):
        if not torch.equal(packed(x[first:last]), y[first:last]):
            return False
    plain = functional.linear(x, weight, packed.bias)
    if packed.activation == "swish":
        plain = functional.silu(plain)
    elif packed.activation == "relu":
        plain = functional.relu(plain)
    elif packed.activation == "gelu":
        plain = functional.gelu(plain, approximate="tanh")
    scale = float(plain.abs().max())
    return bool(torch.isfinite(plain).all()) and float((y - plain).abs().max()) <= 1e-4 * max(scale, 1e-30)
