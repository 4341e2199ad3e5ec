"""One training step: forward, loss, backward, clip, update. The innermost lines of a run."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from lm_core import Transformer
from lm_core.optim import clip_grad_norm

from lm_train.optimizers import Optimizers


@dataclass(frozen=True)
class StepResult:
    """Mean loss of the batch (nats per token), the gradient's norm before clipping, and whether the weights were updated."""

    loss: float
    grad_norm: float
    updated: bool


def train_step(
    model: Transformer,
    optimizers: Optimizers,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    *,
    clip: float,
    micro_batch: int | None = None,
    autocast: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext,
) -> StepResult:
    """Update the model on one batch of (batch, context) ids; a loss or gradient that is not finite updates nothing.

    The loss is the mean over the batch. With `micro_batch`, so many rows are computed at a time and their gradients add up to
    the batch's, each weighted by its share of the rows: equal to rounding, in less memory.
    """
    optimizers.zero_grad()
    rows, loss = len(inputs), 0.0
    for first in range(0, rows, micro_batch or rows):
        end = min(rows, first + (micro_batch or rows))
        with autocast():
            part = model.loss(inputs[first:end], targets[first:end]) * ((end - first) / rows)
        part.backward()  # type: ignore[no-untyped-call]
        loss += part.item()
    norm = clip_grad_norm(model.parameters(), clip if clip > 0 else math.inf)
    result = StepResult(loss, norm.item(), True)
    if not (math.isfinite(result.loss) and math.isfinite(result.grad_norm)):
        optimizers.zero_grad()
        return StepResult(result.loss, result.grad_norm, False)
    optimizers.step()
    return result
