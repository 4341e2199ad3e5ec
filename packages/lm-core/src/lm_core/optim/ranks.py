"""Optimizers on many ranks: elementwise rules need only the local part of a sharded parameter; Muon needs whole matrices.

A sharded parameter is a DTensor, as FSDP2's `fully_shard` makes it. What is the same on every rank, and costly, is done once:
each matrix is orthogonalized on one rank, which then tells the others.
"""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeGuard

import torch
from torch import Tensor

from lm_core.errors import ConfigError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup
    from torch.distributed.tensor import DTensor

Orthogonalize = Callable[[Tensor], Tensor]
"""(matrices, rows, columns) -> the same shape."""


def is_sharded(tensor: Tensor) -> TypeGuard["DTensor"]:
    """Whether this is a DTensor. Where nobody has imported them there are none, and importing them takes a second."""
    module = sys.modules.get("torch.distributed.tensor")
    return module is not None and isinstance(tensor, module.DTensor)


def local(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The parts that this rank holds of tensors that are cut alike; anything else as it is.

    They share memory with the whole, so an elementwise update in place of the parts is one of the whole.
    """
    first = tensors[0]
    if not is_sharded(first):
        return tensors
    parts = []
    for tensor in tensors:
        if not is_sharded(tensor) or tensor.device_mesh != first.device_mesh:
            return tensors
        if tensor.placements != first.placements or any(place.is_partial() for place in tensor.placements):
            return tensors
        parts.append(tensor.to_local())
    return tuple(parts)


def require_rows(who: str, parameter: Tensor) -> None:
    """Raises ConfigError for a DTensor that is cut otherwise than by its rows, along one dimension of its mesh."""
    if not is_sharded(parameter):
        return
    cut = [placement for placement in parameter.placements if not placement.is_replicate()]
    if len(cut) > 1 or not all(placement.is_shard(0) for placement in cut):
        raise ConfigError(
            f"{who} updates parameters that are whole or cut by rows, as fully_shard does; got {parameter.placements}"
        )


def shard_group(matrix: Tensor) -> "ProcessGroup | None":
    """The ranks that hold the rows of a DTensor between them; None where each has all of it."""
    if not is_sharded(matrix):
        return None
    for axis, placement in enumerate(matrix.placements):
        if not placement.is_replicate():
            group: ProcessGroup = matrix.device_mesh.get_group(axis)
            return group
    return None


def each_once_sharded(
    parts: list[Tensor], rows: int, group: "ProcessGroup", orthogonalize: Orthogonalize, dtype: torch.dtype
) -> list[Tensor]:
    """`orthogonalize` of matrices of one shape with `rows` rows, cut by rows over `group`, each computed on one of its ranks.

    `parts` are this rank's rows, and so is the result. Rank j gets all rows of matrices j * share ... (j + 1) * share - 1 in
    one all-to-all, and gives everybody theirs back in another; the numbers travel as `dtype`.
    """
    import torch.distributed as dist

    rank, world = dist.get_rank(group), dist.get_world_size(group)
    held, columns = parts[0].shape
    height = -(-rows // world)  # what every rank but the last ones holds, as torch cuts
    share = -(-len(parts) // world)
    sent = parts[0].new_zeros((world, share, height, columns), dtype=dtype)  # by who gets it
    for index, part in enumerate(parts):
        sent[index // share, index % share, :held] = part
    by_holder = torch.empty_like(sent)
    dist.all_to_all_single(by_holder, sent, group=group)
    whole = by_holder.transpose(0, 1).reshape(share, world * height, columns)
    mine = max(0, min(share, len(parts) - rank * share))
    if mine:
        whole[:mine, :rows] = orthogonalize(whole[:mine, :rows])
    back = whole.view(share, world, height, columns).transpose(0, 1).contiguous()
    dist.all_to_all_single(sent, back, group=group)
    return list(sent.flatten(0, 1)[: len(parts), :held])


def each_once_copied(matrices: Tensor, group: "ProcessGroup", orthogonalize: Orthogonalize) -> Tensor:
    """`orthogonalize` of (matrices, rows, columns) that are the same on all ranks of `group`, each computed on one of them."""
    import torch.distributed as dist

    rank, world = dist.get_rank(group), dist.get_world_size(group)
    share = -(-len(matrices) // world)
    mine = matrices.new_zeros(share, *matrices.shape[1:])
    own = matrices[rank * share : (rank + 1) * share]
    if len(own):
        mine[: len(own)] = orthogonalize(own)
    all_of_them = matrices.new_empty(world * share, *matrices.shape[1:])
    dist.all_gather_into_tensor(all_of_them, mine, group=group)
    return all_of_them[: len(matrices)]
