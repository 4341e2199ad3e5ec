"""The loss: cross-entropy of the next id, in nats, with the z-loss as an option."""

import math
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from lm_core.embedding import check_ids
from lm_core.errors import ConfigError, ShapeError
from lm_core.norm import widen

IGNORED = -100
"""A target that is not in the loss: padding, or text that is only read. The number that the field's losses take by default."""


def cross_entropy(
    logits: Float[Tensor, "... vocab_size"],
    targets: Int[Tensor, "..."],
    *,
    z_loss: float | int = 0.0,
    fast: bool = True,
) -> Float[Tensor, ""]:
    """mean over targets of -ln softmax(logits)[target] = Z - logits[target], with Z = ln(sum exp(logits)): nats per token.

    `z_loss` adds z_loss * mean(Z**2), which keeps Z, and so the logits, from drifting away; 1e-4 is usual
    (Chowdhery et al. 2022, PaLM, https://arxiv.org/abs/2204.02311, section 5). The result then is no longer in nats.

    A target that is IGNORED (-100) is not there: the means are over the others, and its logits get no gradient. Where all are
    ignored there is nothing to learn: the loss is 0, and so is every gradient (not 0/0).

    Computed in float32 (float64 for float64 logits) with the largest logit subtracted, so large and -inf logits are
    fine; a target whose logit is -inf gives +inf. Raises ShapeError when the shapes do not match, when there is no
    target, and on a CPU when one is outside 0..vocab_size-1. `fast` computes loss and gradient in one pass over one
    buffer of the logits' size; `fast=False` is the formula, left to autograd. When the logits themselves are too
    large for the memory, `linear_cross_entropy` never makes them.
    """
    check_targets(targets, logits.shape, "logits", logits.shape[-1])
    check_z_loss(z_loss)
    flat, (column, kept) = logits.reshape(-1, logits.shape[-1]), columns(targets)
    if fast and not torch.compiler.is_compiling():
        loss: Tensor = _FastCrossEntropy.apply(flat, column, kept, z_loss)
        return loss
    wide = widen(flat)
    largest = wide.detach().amax(-1, keepdim=True)
    shifted = wide - largest  # the same loss, and exp cannot overflow
    log_total = shifted.exp().sum(-1, keepdim=True).log()
    losses = log_total - shifted.gather(-1, column)  # (tokens, 1)
    if z_loss:
        losses = losses + z_loss * (log_total + largest).square()
    return losses.masked_fill(~kept, 0.0).sum() / how_many(kept)


def columns(targets: Int[Tensor, "..."]) -> tuple[Int[Tensor, "rows 1"], Bool[Tensor, "rows 1"]]:
    """The column of each row's target, 0 where it is IGNORED, and where it is not."""
    column = targets.reshape(-1, 1).long()
    kept = column != IGNORED
    return column.where(kept, 0), kept


def how_many(kept: Bool[Tensor, "rows 1"]) -> Int[Tensor, ""]:
    """What a mean over the kept rows is divided by: their number, or 1 if there is none. On the device: nobody waits for it."""
    return kept.sum().clamp_min(1)


def check_targets(targets: Tensor, shape: torch.Size, what: str, vocab_size: int) -> None:
    """Raises ShapeError unless each row of a tensor of this shape has one target, an id or IGNORED, and there is a row."""
    if shape[:-1] != targets.shape:
        raise ShapeError(
            f"targets must have the {what}' shape without the last axis, {tuple(shape[:-1])}, "
            f"got {tuple(targets.shape)}"
        )
    if targets.numel() == 0:
        raise ShapeError("cross_entropy needs at least one target, got none")
    check_ids(targets.masked_fill(targets == IGNORED, 0), vocab_size, "target id")


def check_z_loss(z_loss: float | int) -> None:
    if not (math.isfinite(z_loss) and z_loss >= 0):
        raise ConfigError(f"z_loss must be a finite number >= 0, got {z_loss}")


def loss_and_gradient(
    logits: Float[Tensor, "rows vocab_size"],
    column: Int[Tensor, "rows 1"],
    weight: Float[Tensor, "rows 1"],
    z_loss: float | int,
    buffer: Float[Tensor, "rows vocab_size"],
) -> Float[Tensor, ""]:
    """Sum of weight times the rows' losses; in `buffer` is left its gradient

    d/d logits = weight (softmax(logits) (1 + 2 z_loss Z) - onehot(target))        Z = ln(sum exp(logits))

    float32 or wider; `logits` are only read. A row of weight 0 adds nothing, even if its loss is infinite.
    """
    torch.log_softmax(logits, dim=-1, out=buffer)
    losses = -buffer.gather(1, column)
    factor = weight
    if z_loss:
        z = logits.amax(-1, keepdim=True) - buffer.amax(-1, keepdim=True)
        losses = losses + z_loss * z.square()
        factor = (1.0 + 2.0 * z_loss * z) * weight
    buffer.exp_().mul_(factor)
    buffer.scatter_add_(1, column, -weight)
    return weighted_sum(losses, weight)


def weighted_sum(losses: Float[Tensor, "rows 1"], weight: Float[Tensor, "rows 1"]) -> Float[Tensor, ""]:
    return (losses * weight).masked_fill(weight == 0, 0.0).sum()


def row_weights(
    kept: Bool[Tensor, "rows 1"], dtype: torch.dtype
) -> tuple[Float[Tensor, "rows 1"], Tensor | float]:
    """What each row counts in the loss and its gradient: 1 / how_many(kept), and 0 if ignored; and a factor that comes later.

    For logits of float16 the rows count 1 and the division is the later factor: it waits until the scale of the loss is
    known. softmax / tokens is soon below 6e-8, the smallest number of float16; multiplied by the scale first, it is not.
    """
    tokens = how_many(kept)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    if dtype == torch.float16:
        return kept.to(wide), tokens.to(wide).reciprocal()
    return kept.to(wide) / tokens, 1.0


class _FastCrossEntropy(torch.autograd.Function):
    """The gradient is computed in the forward pass, into the one buffer of the logits' size that it needs."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, column: Tensor, kept: Tensor, z_loss: float) -> Tensor:
        wide = widen(logits)
        gradient = torch.empty_like(wide)
        weight, ctx.missing = row_weights(kept, logits.dtype)
        loss = loss_and_gradient(wide, column, weight, z_loss, gradient)
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(gradient.to(logits.dtype))
        mean: Tensor = loss * ctx.missing
        return mean

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return times(gradient, grad * ctx.missing), None, None, None


def times(gradient: Tensor, factor: Float[Tensor, ""]) -> Tensor:
    """The product in `gradient`'s dtype, `factor` in float32; where it is 1 and reading it is free, no product."""
    if factor.device.type == "cpu" and factor.item() == 1.0:
        return gradient
    return gradient * factor  # a scalar tensor does not widen the result
