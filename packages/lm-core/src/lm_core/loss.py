"""The loss: cross-entropy of the next id, in nats."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lm_core.embedding import check_ids
from lm_core.errors import ShapeError
from lm_core.norm import widen


def cross_entropy(
    logits: Float[Tensor, "... vocab_size"], targets: Int[Tensor, "..."], *, fast: bool = True
) -> Float[Tensor, ""]:
    """mean over targets of -ln softmax(logits)[target] = ln(sum exp(logits)) - logits[target]: nats per token.

    Computed in float32 (float64 for float64 logits) with the largest logit subtracted, so large and -inf logits are
    fine; a target whose logit is -inf gives +inf. Raises ShapeError when the shapes do not match, when there is no
    target, and on a CPU when one is outside 0..vocab_size-1. `fast` computes loss and gradient in one pass over one
    buffer of the logits' size; `fast=False` is the formula, left to autograd.
    """
    if logits.shape[:-1] != targets.shape:
        raise ShapeError(
            f"targets must have the logits' shape without the last axis, {tuple(logits.shape[:-1])}, "
            f"got {tuple(targets.shape)}"
        )
    if targets.numel() == 0:
        raise ShapeError("cross_entropy needs at least one target, got none")
    check_ids(targets, logits.shape[-1], "target id")
    flat, column = logits.reshape(-1, logits.shape[-1]), targets.reshape(-1, 1).long()
    if fast and not torch.compiler.is_compiling():
        loss: Tensor = _FastCrossEntropy.apply(flat, column)
        return loss
    wide = widen(flat)
    shifted = wide - wide.detach().amax(-1, keepdim=True)  # the same loss, and exp cannot overflow
    return (shifted.exp().sum(-1).log() - shifted.gather(-1, column).squeeze(-1)).mean()


class _FastCrossEntropy(torch.autograd.Function):
    """d loss / d logits = (softmax(logits) - onehot(target)) / tokens, written into the forward pass's only buffer."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, column: Tensor) -> Tensor:
        buffer = torch.log_softmax(widen(logits), dim=-1)
        loss = -buffer.gather(1, column).mean()
        if ctx.needs_input_grad[0]:
            tokens = column.numel()
            gradient = buffer.exp_().mul_(1.0 / tokens)
            gradient.scatter_add_(1, column, gradient.new_full((1, 1), -1.0 / tokens).expand_as(column))
            ctx.save_for_backward(gradient.to(logits.dtype))
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        if grad.device.type == "cpu" and grad.item() == 1.0:
            return gradient, None
        return gradient * grad.to(gradient.dtype), None
