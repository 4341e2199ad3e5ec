"""One training step: forward, loss, backward, clip, update. The innermost lines of a run."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass

import torch
from lm_core import Transformer, cross_entropy
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
    autocast: contextlib.AbstractContextManager[object] | None = None,
) -> StepResult:
    """Update the model on one batch of (batch, context) ids; a loss or gradient that is not finite updates nothing."""
    optimizers.zero_grad()
    with autocast or contextlib.nullcontext():
        logits = model(inputs)
    loss = cross_entropy(logits, targets)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = clip_grad_norm(model.parameters(), clip if clip > 0 else math.inf)
    result = StepResult(loss.item(), norm.item(), True)
    if not (math.isfinite(result.loss) and math.isfinite(result.grad_norm)):
        optimizers.zero_grad()
        return StepResult(result.loss, result.grad_norm, False)
    optimizers.step()
    return result
