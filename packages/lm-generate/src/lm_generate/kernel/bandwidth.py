"""What bounds decoding at batch 1: how fast this machine reads memory, and how much of it a token needs."""

import time

import torch
from lm_core import Transformer

from lm_generate.kernel.stored import weight_bytes

_BYTES = 256 * 2**20
"""Beyond every cache."""


def bytes_per_token(model: Transformer) -> int:
    """Bytes of weights that one token reads: all but the tables from which it takes a single row."""
    tables: list[torch.nn.Module] = [] if model.head is None else [model.embedding]
    if model.config.position == "learned":
        tables.append(model.position_embedding)
    return weight_bytes(model) - sum(weight_bytes(table) for table in tables)


def memory_bandwidth(repeats: int = 3) -> float:
    """Bytes a second that torch's threads read from main memory: the best of so many sums over 256 MiB."""
    data = torch.ones(_BYTES // 4)
    best = float("inf")
    for _ in range(repeats):
        started = time.perf_counter()
        data.sum()
        best = min(best, time.perf_counter() - started)
    return _BYTES / best
