"""Muon: momentum, orthogonalized by Newton-Schulz, for the weight matrices of hidden layers.

Jordan et al. 2024, Muon: An optimizer for hidden layers in neural networks, https://kellerjordan.github.io/posts/muon/;
weight decay as in Liu et al. 2025, Muon is Scalable for LLM Training, https://arxiv.org/abs/2502.16982.
Embeddings, the output head, norms and biases belong to AdamW: see `split_parameters`.
"""

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lm_core.errors import ConfigError
from lm_core.optim.newton_schulz import newton_schulz_dtype, orthogonalize, orthogonalize_fast
from lm_core.optim.optimizer import (
    GroupOptimizer,
    Number,
    Parameters,
    check_decay_rates,
    check_not_negative,
    gradient,
    name_of,
)
from lm_core.optim.ranks import (
    each_once_copied,
    each_once_sharded,
    is_sharded,
    local,
    require_rows,
    shard_group,
)

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

# Matrices of one shape go through Newton-Schulz together, but not more than this many elements at once.
BATCH_ELEMENTS = 1 << 24


class Muon(GroupOptimizer):
    """For gradient G of a parameter W of shape (out, in):

        W <- W - lr * weight_decay * W
        B <- momentum * B + (1 - momentum) * G
        U = momentum * B + (1 - momentum) * G if nesterov, else B
        W <- W - lr * sqrt(max(1, out / in)) * orthogonalize(U, ns_steps)

    (The averaging form of the momentum; orthogonalize does not see its scale.) State of a parameter: `B`, of its shape
    and dtype. Momentum warm-up is the caller's: set `group["momentum"]` before a step.

    `ns_dtype` is the precision of Newton-Schulz; None takes bfloat16 on CUDA devices that have units for it (compute
    capability 8 or more) and, for matrices of 256 rows and columns or more, on CPUs that have them (AVX-512-BF16), and
    everywhere else the parameter's own, at least float32. `foreach=False` is the definition,
    matrix by matrix; `foreach=True` takes matrices of one shape (or its transpose) together and fewer products.

    On many ranks each matrix is orthogonalized once: parameters that are cut by rows (FSDP2) travel to one rank each and
    back; parameters that are the same on all ranks of `ranks` are shared out among them (None: each rank does all).
    Errors: `ConfigError`, also for a parameter that is no matrix.
    """

    def __init__(
        self,
        params: Parameters,
        lr: Number = 0.02,
        momentum: Number = 0.95,
        nesterov: bool = True,
        ns_steps: int = 5,
        weight_decay: Number = 0.0,
        *,
        ns_dtype: torch.dtype | None = None,
        foreach: bool = True,
        ranks: "ProcessGroup | None" = None,
    ) -> None:
        self.ranks = ranks
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "nesterov": nesterov,
                "ns_steps": ns_steps,
                "weight_decay": weight_decay,
                "ns_dtype": ns_dtype,
                "foreach": foreach,
            },
        )

    def check(self, group: dict[str, Any]) -> None:
        check_not_negative(group, "lr", "weight_decay")
        check_decay_rates(("momentum",), [group["momentum"]])
        if group["ns_steps"] < 1:
            raise ConfigError(f"ns_steps must be >= 1, got {group['ns_steps']}")
        for index, parameter in enumerate(group["params"]):
            if parameter.ndim != 2:
                raise ConfigError(
                    f"Muon is for matrices; {name_of(group, index)} has {parameter.ndim} dimensions. Give it to AdamW: "
                    "split_parameters(model) says which parameters go where"
                )

    def new_state(self, parameter: Tensor) -> dict[str, Tensor]:
        require_rows("Muon", parameter)
        return {"B": torch.zeros_like(parameter)}

    def update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        lr, momentum = float(group["lr"]), group["momentum"]
        works = [_Work(parameter, self.state[parameter]["B"], self.ranks) for parameter in parameters]
        grads, buffers = [work.grad for work in works], [work.buffer for work in works]
        torch._foreach_lerp_(buffers, grads, 1 - momentum)
        directions = list(torch._foreach_lerp(grads, buffers, momentum)) if group["nesterov"] else buffers
        if group["weight_decay"]:
            torch._foreach_mul_([work.matrix for work in works], 1 - lr * group["weight_decay"])
        for batch in _batches(works, together=group["foreach"]):
            members = [directions[index] for index in batch]
            changes = _orthogonal(works[batch[0]], members, group)
            for index, change in zip(batch, changes, strict=True):
                matrix, (rows, columns) = works[index].matrix, works[index].shape
                change = change if change.shape == matrix.shape else change.mT
                matrix.add_(change.to(matrix.dtype), alpha=-lr * math.sqrt(max(1.0, rows / columns)))


class _Work:
    """One parameter's tensors as this rank updates them: its own rows of a sharded one, else the whole."""

    def __init__(self, parameter: Tensor, buffer: Tensor, ranks: "ProcessGroup | None") -> None:
        self.shape = parameter.shape
        self.holders = shard_group(parameter)
        self.ranks = None if is_sharded(parameter) else ranks
        self.matrix, self.grad, self.buffer = local(parameter, gradient(parameter), buffer)

    @property
    def world(self) -> int:
        """Ranks that share the work."""
        group = self.holders or self.ranks
        return 1 if group is None else group.size()


def _orthogonal(work: _Work, members: list[Tensor], group: dict[str, Any]) -> list[Tensor]:
    """Newton-Schulz of matrices that are all like `work`; wide ones may be answered for tall ones that are not cut."""
    dtype = group["ns_dtype"] or newton_schulz_dtype(members[0], min(work.shape))
    definition = orthogonalize_fast if group["foreach"] else orthogonalize

    def wide(matrices: Tensor) -> Tensor:
        return definition(matrices, group["ns_steps"])

    def any_shape(matrices: Tensor) -> Tensor:
        return wide(matrices) if _wide(matrices) is matrices else wide(matrices.mT).mT

    if work.holders is not None:
        return each_once_sharded(members, work.shape[0], work.holders, any_shape, dtype)
    stacked = torch.stack([_wide(member).to(dtype) for member in members])  # (batch, rows <= columns)
    return list(wide(stacked) if work.ranks is None else each_once_copied(stacked, work.ranks, wide))


def _wide(matrices: Tensor) -> Tensor:
    return matrices if matrices.shape[-2] <= matrices.shape[-1] else matrices.mT


def _batches(works: list[_Work], *, together: bool) -> list[list[int]]:
    """Which matrices go through Newton-Schulz together: those of one wide shape, device and dtype, cut alike."""
    if not together:
        return [[index] for index in range(len(works))]
    alike: dict[tuple[Any, ...], list[int]] = {}
    for index, work in enumerate(works):
        shape = tuple(work.shape) if work.holders is not None else tuple(sorted(work.shape))
        alike.setdefault((shape, work.matrix.device, work.matrix.dtype, work.holders), []).append(index)
    result = []
    for (shape, *_), members in alike.items():
        size = max(1, works[members[0]].world * (BATCH_ELEMENTS // max(1, math.prod(shape))))
        result += [members[start : start + size] for start in range(0, len(members), size)]
    return result
