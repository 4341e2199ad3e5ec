"""The token embedding: row `id` of a table; and the sinusoidal positions that may be added to it."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lm_core.errors import ShapeError
from lm_core.init import EMBEDDING_STD, normal_


class Embedding(nn.Module):
    """y[...] = W[ids[...]], with W of shape (vocab_size, d_model), normal with standard deviation 0.5 at the start.

    Raises ShapeError for ids that are not int32 or int64, and outside 0..vocab_size-1 on a CPU. On a GPU that check would make the host wait for the
    device at every step, so there torch's own device assert is what stops.
    """

    def __init__(self, vocab_size: int, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vocab_size, d_model))
        normal_(self.weight, EMBEDDING_STD)

    def extra_repr(self) -> str:
        vocab_size, d_model = self.weight.shape
        return f"{vocab_size} -> {d_model}"

    def forward(self, ids: Int[Tensor, "..."]) -> Float[Tensor, "... d_model"]:
        if ids.dtype not in (torch.int32, torch.int64):
            raise ShapeError(f"ids must be int32 or int64, got {ids.dtype} of shape {tuple(ids.shape)}")
        check_ids(ids, self.weight.shape[0], "token id")
        return self.weight.index_select(0, ids.reshape(-1)).view(*ids.shape, self.weight.shape[1])


def check_ids(ids: Int[Tensor, "..."], vocab_size: int, what: str) -> None:
    """Raises ShapeError, naming the first bad one, unless all ids are in 0..vocab_size-1; looks on a CPU only."""
    if ids.device.type != "cpu" or torch.compiler.is_compiling() or ids.numel() == 0:
        return
    low, high = torch.aminmax(ids)
    if int(low) < 0 or int(high) >= vocab_size:
        bad = int(low) if int(low) < 0 else int(high)
        raise ShapeError(f"{what} {bad} is outside the vocabulary (0..{vocab_size - 1})")


def sinusoidal_positions(
    start: int, length: int, d_model: int, device: torch.device | None = None
) -> Float[Tensor, "length d_model"]:
    """sin(t / 10000^(2i/d_model)) at dimension 2i and cos of the same at 2i + 1, for t = start, start + 1, ...

    Vaswani et al. 2017, https://arxiv.org/abs/1706.03762, section 3.5.
    """
    positions = torch.arange(start, start + length, dtype=torch.float32, device=device)
    speeds = torch.exp(torch.arange(0, d_model, 2, device=device) * (-math.log(10_000.0) / d_model))
    angles = positions[:, None] * speeds
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)
