"""Weights kept in fewer bytes than they are computed with: bfloat16, float16, or int8 with a scale for each output.

    store(model, torch.int8)       replaces every matrix of the model, the embedding among them, by a stored one
    store_matrix(model, name, torch.int8)       one matrix, by the name of its weight

Only matrices are stored so; norms, biases and positions stay float32, and so does all arithmetic: a stored weight is the
float32 number that it unpacks to. (The kernel rounds what int8 weights multiply to 15 bits: `native/whole.h`.) int8: w = scale * q with scale = max |w| / 127 over a row of the matrix, which is one
output, and q = round(w / scale) in -127..127, so a weight is off by at most scale / 2.
"""

from typing import Literal

import torch
from jaxtyping import Float, Int
from lm_core import Embedding, Linear, Transformer
from lm_core.embedding import check_ids
from torch import Tensor, nn

from lm_generate.errors import SettingError

Storage = Literal["float32", "bfloat16", "float16", "int8"]
STORAGES: dict[Storage, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": torch.int8,
}
SMALL = (torch.bfloat16, torch.float16, torch.int8)
PACKED_ROWS = 1024
"""Rows of a matrix that are rounded to int8 at a time."""


def read_storage(name: str) -> torch.dtype:
    """The dtype of a name such as "int8". Raises SettingError naming those there are."""
    for known, dtype in STORAGES.items():
        if name == known:
            return dtype
    raise SettingError(f"weights are kept as {', '.join(STORAGES)}; got {name!r}")


class StoredLinear(Linear):
    """A `Linear` whose weight is stored; `weight` unpacks all of it."""

    fast = True

    def __init__(self, stored: Tensor, scale: Tensor | None, bias: Tensor | None) -> None:
        nn.Module.__init__(self)
        self.stored: Tensor
        self.scale: Tensor | None
        self.register_buffer("stored", stored)  # (d_out, d_in)
        self.register_buffer("scale", scale)  # (d_out,)
        self.bias = None if bias is None else nn.Parameter(bias.float(), requires_grad=False)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        return unpack(self.stored, self.scale)


class StoredEmbedding(Embedding):
    """An `Embedding` whose table is stored; `weight` unpacks all of it, looking up only the rows asked for."""

    def __init__(self, stored: Tensor, scale: Tensor | None) -> None:
        nn.Module.__init__(self)
        self.stored: Tensor
        self.scale: Tensor | None
        self.register_buffer("stored", stored)  # (vocab_size, d_model)
        self.register_buffer("scale", scale)  # (vocab_size,)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        return unpack(self.stored, self.scale)

    def extra_repr(self) -> str:
        return f"{self.stored.shape[0]} -> {self.stored.shape[1]}, stored as {self.stored.dtype}"

    def forward(self, ids: Int[Tensor, "..."]) -> Float[Tensor, "... d_model"]:
        check_ids(ids, self.stored.shape[0], "token id")
        flat = ids.reshape(-1)
        scale = None if self.scale is None else self.scale.index_select(0, flat)
        return unpack(self.stored.index_select(0, flat), scale).view(*ids.shape, self.stored.shape[1])


def pack(weight: Float[Tensor, "d_out d_in"], dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """The stored form of a matrix, and the scale of its rows where that is int8."""
    if dtype != torch.int8:
        return weight.detach().to(dtype).contiguous(), None
    stored = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
    scale = torch.empty(len(weight), device=weight.device)
    for first in range(0, len(weight), PACKED_ROWS):  # so that memory for floats is needed for some rows only
        rows = slice(first, first + PACKED_ROWS)
        wide = weight[rows].detach().float()
        largest = wide.abs().amax(dim=1) / 127
        scale[rows] = torch.where(largest == 0, torch.ones_like(largest), largest)
        stored[rows] = (wide / scale[rows, None]).round_()
    return stored, scale


def unpack(stored: Tensor, scale: Tensor | None) -> Tensor:
    """The float32 numbers that a stored matrix, or some of its rows, stands for."""
    wide = stored.float()
    return wide if scale is None else wide.mul_(scale[:, None])


def store(model: Transformer, dtype: torch.dtype) -> None:
    """Replaces the model's matrices by stored ones, one at a time, and makes the rest float32. On the CPU."""
    for name in [name for name, _ in model.named_parameters()]:
        store_matrix(model, name, dtype)
    for parameter in model.parameters():
        parameter.data = parameter.data.float()


def store_matrix(model: Transformer, name: str, dtype: torch.dtype) -> None:
    """Replaces the matrix whose weight is the parameter `name` by a stored one; leaves other parameters as they are."""
    path, _, kind = name.rpartition(".")
    if kind != "weight":
        return
    part = model.get_submodule(path)
    if isinstance(part, Linear):
        model.set_submodule(path, StoredLinear(*pack(part.weight, dtype), part.bias))
    elif part is model.embedding:
        model.embedding = StoredEmbedding(*pack(part.weight, dtype))


def storage_of(model: Transformer) -> torch.dtype:
    """What the model's matrices are kept as."""
    embedding = model.embedding
    return embedding.stored.dtype if isinstance(embedding, StoredEmbedding) else embedding.weight.dtype


def weight_bytes(part: nn.Module) -> int:
    """Bytes of all weights of a model or a part of it, as they are kept."""
    stored = [buffer for name, buffer in part.named_buffers() if name.split(".")[-1] in ("stored", "scale")]
    return sum(tensor.numel() * tensor.element_size() for tensor in [*part.parameters(), *stored])
