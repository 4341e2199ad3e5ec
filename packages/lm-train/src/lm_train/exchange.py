"""The one exchange of a step: the gradients of all ranks are added up, and a few figures with them.

All gradients of a replica lie in one buffer, and backward passes add into it, however many there are: no copy, and no communication
before the last one is done. Behind them in the same buffer is room for what else must be known everywhere: the loss, whether any rank was
asked to stop, and every rank's seconds and memory. So a step costs one all-reduce, and all ranks see the same numbers, bit for bit: what is
not finite on one of them is not finite on all, and all skip the same step.
"""

from __future__ import annotations

import statistics
import sys
import time

import torch
from lm_core import Transformer
from lm_core.optim import clip_grad_norm

from lm_train.ranks import Ranks


class Exchange:
    """The gradients of `model` and a tail of figures, summed over the ranks in one buffer.

    `begin()`, then backward passes of the rank's rows, each loss scaled by `share`, then `finish(loss)`.
    """

    def __init__(self, model: Transformer, ranks: Ranks) -> None:
        self._model, self._ranks = model, ranks
        self.share = 1 / ranks.world  # of a rank's mean loss in the batch's
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        sizes = [p.numel() for p in self._parameters]
        device = self._parameters[0].device
        self._buffer = torch.zeros(sum(sizes) + 2 + 2 * ranks.world, device=device)
        *parts, self._tail = torch.split(self._buffer, [*sizes, 2 + 2 * ranks.world])
        self._views = [part.view_as(p) for part, p in zip(parts, self._parameters, strict=True)]
        self.started = 0.0
        """When this rank began its part of the step, by `time.perf_counter`."""
        self.stop_asked = False
        """Whether any rank was asked to stop, as of the last step."""
        self.seconds = [0.0] * ranks.world
        """What each rank took for its part of the last step, without waiting for others."""
        self.memory = [0.0] * ranks.world
        """Each rank's peak memory, in bytes (of the GPU where there is one)."""

    def begin(self) -> None:
        self._buffer.zero_()
        for parameter, view in zip(self._parameters, self._views, strict=True):
            parameter.grad = view

    def finish(self, loss: float) -> float:
        """Add everything up; afterwards each parameter has the batch's gradient. Gives the batch's mean loss."""
        ranks, mine = self._ranks, torch.zeros(2 + 2 * self._ranks.world)
        mine[0], mine[1] = loss, float(ranks.stop_asked())
        mine[2 + ranks.rank] = time.perf_counter() - self.started
        mine[2 + ranks.world + ranks.rank] = peak_memory(self._buffer.device)
        self._tail.copy_(mine)
        ranks.sum_(self._buffer)
        total, stops, *figures = self._tail.tolist()
        self.stop_asked = stops > 0
        self.seconds, self.memory = figures[: ranks.world], figures[ranks.world :]
        return float(total)

    def clip(self, max_norm: float) -> float:
        """Clip the batch's gradient, the same on every rank; gives its norm before that."""
        return clip_grad_norm(self._model.parameters(), max_norm).item()

    def figures(self) -> dict[str, float | int]:
        """What a row of metrics says of the ranks."""
        return rank_figures(self.seconds, self.memory)


def rank_figures(seconds: list[float], memory: list[float]) -> dict[str, float | int]:
    """The slowest rank, its seconds and the middle one's (without waiting), and the largest peak memory, in bytes."""
    slowest = max(range(len(seconds)), key=seconds.__getitem__)
    return {
        "slowest_rank": slowest,
        "slowest_seconds": round(seconds[slowest], 5),
        "median_seconds": round(statistics.median(seconds), 5),
        "largest_memory": int(max(memory)),
    }


def peak_memory(device: torch.device) -> float:
    """The most bytes that this process has held at once."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    import resource  # not on Windows, where there is no gloo to come here

    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
