"""Whether all replicas of the model hold the same weights: asked at every checkpoint.

They compute the same update from the same sum, so they can only differ where a machine computes wrongly or its memory fails. Such a
replica poisons the others' gradients without a sound; here it is named before its run is saved.
"""

from __future__ import annotations

import torch
from lm_core import Transformer

from lm_train.parallel.ranks import Ranks
from lm_train.run_errors import ReplicaError


def check_replicas(model: Transformer, ranks: Ranks) -> None:
    """Raises ReplicaError, on all ranks, naming those whose weights differ in any bit from the most common ones."""
    if ranks.alone:
        return
    marks = ranks.gather(fingerprint(model))
    common = max(marks, key=marks.count)
    others = [str(rank) for rank, mark in enumerate(marks) if mark != common]
    if others:
        raise ReplicaError(
            f"the weights of rank {', '.join(others)} differ from the other ranks': a machine computes wrongly, or ranks run different "
            "versions or devices; nothing was saved. Leave that machine out and go on with --resume"
        )


def fingerprint(model: Transformer) -> int:
    """63 bits that any changed bit of the weights changes with near certainty: a weighted sum of their bit patterns."""
    total = torch.zeros((), dtype=torch.int64, device=next(model.parameters()).device)
    for number, parameter in enumerate(model.parameters()):
        bits = parameter.detach().reshape(-1).view(torch.int32)
        for part in torch.split(bits, 1 << 22):  # the sum in int64 wraps around, which is well defined
            weights = torch.arange(1, 2 * len(part), 2, device=part.device)
            total = total * 31 + (part * weights).sum() + number
    return int(total) & (2**63 - 1)
