"""The loss: cross-entropy of the next id, in nats, with the z-loss as an option."""

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lm_core.embedding import check_ids
from lm_core.errors import ConfigError, ShapeError
from lm_core.norm import widen


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

    Computed in float32 (float64 for float64 logits) with the largest logit subtracted, so large and -inf logits are
    fine; a target whose logit is -inf gives +inf. Raises ShapeError when the shapes do not match, when there is no
    target, and on a CPU when one is outside 0..vocab_size-1. `fast` computes loss and gradient in one pass over one
    buffer of the logits' size; `fast=False` is the formula, left to autograd. When the logits themselves are too
    large for the memory, `linear_cross_entropy` never makes them.
    """
    check_targets(targets, logits.shape, "logits")
    check_ids(targets, logits.shape[-1], "target id")
    check_z_loss(z_loss)
    flat, column = logits.reshape(-1, logits.shape[-1]), targets.reshape(-1, 1).long()
    if fast and not torch.compiler.is_compiling():
        loss: Tensor = _FastCrossEntropy.apply(flat, column, z_loss)
        return loss
    wide = widen(flat)
    largest = wide.detach().amax(-1, keepdim=True)
    shifted = wide - largest  # the same loss, and exp cannot overflow
    log_total = shifted.exp().sum(-1).log()
    loss = (log_total - shifted.gather(-1, column).squeeze(-1)).mean()
    return loss + z_loss * (log_total + largest.squeeze(-1)).square().mean() if z_loss else loss


def check_targets(targets: Tensor, shape: torch.Size, what: str) -> None:
    """Raises ShapeError unless there is one target, and at least one, for each row of a tensor of this shape."""
    if shape[:-1] != targets.shape:
        raise ShapeError(
            f"targets must have the {what}' shape without the last axis, {tuple(shape[:-1])}, "
            f"got {tuple(targets.shape)}"
        )
    if targets.numel() == 0:
        raise ShapeError("cross_entropy needs at least one target, got none")


def check_z_loss(z_loss: float | int) -> None:
    if not (math.isfinite(z_loss) and z_loss >= 0):
        raise ConfigError(f"z_loss must be a finite number >= 0, got {z_loss}")


def loss_and_gradient(
    logits: Float[Tensor, "rows vocab_size"],
    column: Int[Tensor, "rows 1"],
    tokens: int,
    z_loss: float | int,
    buffer: Float[Tensor, "rows vocab_size"],
    divisor: int,
) -> Float[Tensor, ""]:
    """Sum of the rows' losses / tokens; in `buffer` is left, with `divisor` in place of tokens, its gradient

    d/d logits = (softmax(logits) (1 + 2 z_loss Z) - onehot(target)) / tokens        Z = ln(sum exp(logits))

    float32 or wider; `logits` are only read.
    """
    torch.log_softmax(logits, dim=-1, out=buffer)
    loss = -buffer.gather(1, column).sum() / tokens
    weight: float | Tensor = 1.0 / divisor
    if z_loss:
        z = logits.amax(-1, keepdim=True) - buffer.amax(-1, keepdim=True)
        loss = loss + z_loss * z.square().sum() / tokens
        weight = (1.0 + 2.0 * z_loss * z) / divisor
    buffer.exp_().mul_(weight)
    buffer.scatter_add_(1, column, buffer.new_full((1, 1), -1.0 / divisor).expand_as(column))
    return loss


def gradient_divisor(dtype: torch.dtype, tokens: int) -> int:
    """What a gradient of the mean over tokens is divided by at once; float16 waits until the scale of the loss is known.

    softmax / tokens is soon below 6e-8, the smallest number of float16; multiplied by the scale first, it is not.
    """
    return 1 if dtype == torch.float16 else tokens


class _FastCrossEntropy(torch.autograd.Function):
    """The gradient is computed in the forward pass, into the one buffer of the logits' size that it needs."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, column: Tensor, z_loss: float) -> Tensor:
        wide = widen(logits)
        gradient = torch.empty_like(wide)
        tokens = column.numel()
        divisor = gradient_divisor(logits.dtype, tokens)
        loss = loss_and_gradient(wide, column, tokens, z_loss, gradient, divisor)
        ctx.missing = divisor / tokens
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward(gradient.to(logits.dtype))
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        return times(gradient, grad * ctx.missing), None, None


def times(gradient: Tensor, factor: Float[Tensor, ""]) -> Tensor:
    """The product in `gradient`'s dtype, `factor` in float32; where it is 1 and reading it is free, no product."""
    if factor.device.type == "cpu" and factor.item() == 1.0:
        return gradient
    return gradient * factor  # a scalar tensor does not widen the result
