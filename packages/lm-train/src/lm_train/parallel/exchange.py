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
from collections.abc import Callable

import torch
from lm_core import Transformer
from lm_core.optim import clip_grad_norm

from lm_train.parallel.ranks import Ranks


class Figures:
    """What ranks tell each other each step, besides gradients: summed, as a tensor in which each rank has places of its own."""

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self.size = 2 + 2 * ranks.world
        self.stop_asked = False
        """Whether any rank was asked to stop, as of the last step."""
        self.seconds = [0.0] * ranks.world
        """What each rank took for its part of the last step, without waiting for others."""
        self.memory = [0.0] * ranks.world
        """Each rank's peak memory, in bytes (of the GPU where there is one)."""

    def mine(self, loss: float, seconds: float, device: torch.device) -> torch.Tensor:
        """This rank's summand."""
        ranks, tensor = self._ranks, torch.zeros(self.size)
        tensor[0], tensor[1] = loss, float(ranks.stop_asked())
        tensor[2 + ranks.rank] = seconds
        tensor[2 + ranks.world + ranks.rank] = peak_memory(device)
        return tensor

    def heard(self, total: torch.Tensor) -> float:
        """Take in the sum of all ranks; gives that of their losses."""
        loss, stops, *each = total.tolist()
        self.stop_asked = stops > 0
        self.seconds, self.memory = each[: self._ranks.world], each[self._ranks.world :]
        return float(loss)

    def row(self) -> dict[str, float | int]:
        """For metrics.jsonl: the slowest rank and the spread of seconds, the fullest rank and the spread of peak memory."""
        slowest = max(range(len(self.seconds)), key=self.seconds.__getitem__)
        fullest = max(range(len(self.memory)), key=self.memory.__getitem__)
        return {
            "slowest_rank": slowest,
            "slowest_seconds": round(self.seconds[slowest], 5),
            "median_seconds": round(statistics.median(self.seconds), 5),
            "fastest_seconds": round(min(self.seconds), 5),
            "fullest_rank": fullest,
            "largest_memory": int(self.memory[fullest]),
            "smallest_memory": int(min(self.memory)),
        }


class Exchange:
    """The gradients of a replica and a tail of figures, summed over the ranks in one buffer.

    `begin()`, then backward passes of the rank's rows, each a part of the batch's mean times `scale`, then `finish(loss)`.
    """

    scale: float
    """1 where the ranks' gradients are added up, their number where they are averaged."""
    started: float
    """When this rank began its part of the step, by `time.perf_counter`."""

    def __init__(self, model: Transformer, ranks: Ranks) -> None:
        self._model, self._ranks = model, ranks
        self.figures = Figures(ranks)
        self.scale, self.started = 1.0, 0.0
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        sizes = [p.numel() for p in self._parameters] + [self.figures.size]
        self._buffer = torch.zeros(sum(sizes), device=self._parameters[0].device)
        *parts, self._tail = torch.split(self._buffer, sizes)
        self._views = [part.view_as(p) for part, p in zip(parts, self._parameters, strict=True)]

    def begin(self) -> None:
        self._buffer.zero_()
        for parameter, view in zip(self._parameters, self._views, strict=True):
            parameter.grad = view

    def before_backward(self, last: bool) -> None:
        """Called before each backward pass; nothing is sent before `finish`."""

    def finish(self, loss: float) -> float:
        """Add everything up; afterwards each parameter has the batch's gradient. Gives the batch's mean loss."""
        self._tail.copy_(self.figures.mine(loss, time.perf_counter() - self.started, self._buffer.device))
        self._ranks.sum_(self._buffer)
        return self.figures.heard(self._tail)

    def update(self, step: Callable[[], None]) -> None:
        """Let the optimizers step; Muon shares its matrices out among the ranks."""
        self._ranks.together(step)

    def clip(self, max_norm: float) -> float:
        """Clip the batch's gradient, the same on every rank; gives its norm before that."""
        return clip_grad_norm(self._model.parameters(), max_norm).item()


def peak_memory(device: torch.device) -> float:
    """The most bytes that this process has held at once; 0 on Windows, whose Python does not tell."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    if sys.platform == "win32":
        return 0.0
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
