"""One training step: forward, loss, backward, clip, update. The innermost lines of a run."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from lm_core import IGNORED, Transformer
from lm_core.optim import clip_grad_norm

from lm_train.batches import Batch, Batches
from lm_train.config import TrainConfig
from lm_train.device import Device
from lm_train.mixture import Mixture
from lm_train.optimizers import Optimizers
from lm_train.parallel.exchange import Exchange
from lm_train.parallel.ranks import Ranks
from lm_train.permutation import keyed_below
from lm_train.profiling import Ranges, no_ranges
from lm_train.read_ahead import ReadAhead


@dataclass(frozen=True)
class StepResult:
    """Mean loss of the batch (nats per token), the gradient's norm before clipping, and whether the weights were updated.

    `overflowed`: not updated because the gradients of a scaled loss were too large for float16, as happens while the scale is found.
    """

    loss: float
    grad_norm: float
    updated: bool
    overflowed: bool = False


class Learner(Protocol):
    """What a step takes: a run's session, or the part of it that a rank after the first has."""

    @property
    def config(self) -> TrainConfig: ...
    @property
    def device(self) -> Device: ...
    @property
    def model(self) -> Transformer: ...
    @property
    def optimizers(self) -> Optimizers: ...
    @property
    def batches(self) -> Batches | Mixture: ...
    @property
    def ahead(self) -> ReadAhead[Batch]: ...
    @property
    def ranks(self) -> Ranks: ...
    @property
    def exchange(self) -> Exchange | None: ...
    @property
    def ranges(self) -> Ranges: ...


def run_step(learner: Learner, step: int, factor: float) -> StepResult:
    """Step number `step` of a run, on this rank's rows of its batch; `factor` scales the learning rates."""
    c, ranks, exchange = learner.config, learner.ranks, learner.exchange
    if exchange is not None:
        exchange.started = time.perf_counter()
        if c.model.dropout:  # other rows, other masks; a function of the step, so that nothing need be saved
            torch.manual_seed(keyed_below(1 << 62, "lm-train dropout", c.seed, step, ranks.rank))
    learner.optimizers.set_step(step, factor)
    with learner.ranges("read"):
        batch = [ids.to(learner.device.kind) for ids in learner.ahead(step)]
    return train_step(
        learner.model,
        learner.optimizers,
        *batch,
        tokens=learner.batches.tokens(step),
        clip=c.optim.clip,
        micro_batch=c.micro_batch,
        autocast=learner.device.autocast,
        exchange=exchange,
        ranges=learner.ranges,
    )


def train_step(
    model: Transformer,
    optimizers: Optimizers,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    documents: torch.Tensor | None = None,
    *,
    clip: float,
    tokens: int | None = None,
    micro_batch: int | None = None,
    autocast: Callable[[], contextlib.AbstractContextManager[object]] = contextlib.nullcontext,
    exchange: Exchange | None = None,
    ranges: Ranges = no_ranges,
) -> StepResult:
    """Update the model on one batch of (batch, context) ids; a loss or gradient that is not finite updates nothing.

    The loss is the mean over the batch's targets, IGNORED ones left out. With `micro_batch`, so many rows are computed at a time and
    their gradients add up to the batch's, each weighted by its share of the targets: equal to rounding, in less memory. With an
    `exchange` the ids are one rank's rows of the batch; loss, gradient and norm are the batch's. `tokens` are the targets that
    are not IGNORED in the batch of all ranks (None: those of these rows). `documents` numbers those that do not see each other.
    Where the optimizers have a loss scale, it is followed and updated.
    """
    optimizers.zero_grad()
    scale = optimizers.scale
    if exchange is not None:
        exchange.begin()
    kept = (targets != IGNORED).sum(1).tolist()
    whole = sum(kept) if tokens is None else tokens
    if exchange is not None:
        whole /= exchange.scale
    rows, loss, max_norm = len(inputs), 0.0, clip if clip > 0 else math.inf
    for first in range(0, rows, micro_batch or rows):
        end = min(rows, first + (micro_batch or rows))
        if exchange is not None:
            exchange.before_backward(last=end == rows)
        with ranges("forward"), autocast():
            if documents is None:
                part = model.loss(inputs[first:end], targets[first:end])
            else:
                part = model.loss(inputs[first:end], targets[first:end], documents=documents[first:end])
            part = part * (sum(kept[first:end]) / whole)
        with ranges("backward"):
            (part if scale is None else part * scale.value).backward()
            loss += part.item()
    with ranges("clip"):
        loss = loss if exchange is None else exchange.finish(loss)
        if scale is not None:
            scale.unscale_(model.parameters())
        norm = (
            clip_grad_norm(model.parameters(), max_norm).item()
            if exchange is None
            else exchange.clip(max_norm)
        )
    if not (math.isfinite(loss) and math.isfinite(norm)):
        optimizers.zero_grad()
        overflowed = scale is not None and math.isfinite(loss) and scale.overflowed()
        return StepResult(loss, norm, False, overflowed)
    if scale is not None:
        scale.finite()
    with ranges("update"):
        optimizers.step() if exchange is None else exchange.update(optimizers.step)
    return StepResult(loss, norm, True)
