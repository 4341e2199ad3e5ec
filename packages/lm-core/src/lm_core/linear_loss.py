"""The head and the loss in one: cross-entropy straight from hidden states, without ever holding all logits.

For T tokens and a vocabulary of V, the logits, their softmax and their gradient are T V numbers each: at V = 50,000 more
than all the rest of a small model's training step. Here the tokens are taken in chunks; a chunk's logits are made, turned
into its gradient on the spot, and multiplied back into the gradients of the hidden states and of the head.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lm_core.errors import ConfigError, ShapeError
from lm_core.flop_formulas import count
from lm_core.loss import (
    check_targets,
    check_z_loss,
    columns,
    cross_entropy,
    row_weights,
    times,
    weighted_sum,
)
from lm_core.norm import widen
from lm_core.product import product

# Logits held at once: 16 MB, which a large cache still holds (vocabulary 10,000: 0.75 s of processor time against 0.79 with
# three times as many and 0.83 with all). But at least so many tokens, for the head's gradient is gone through once a chunk.
CHUNK_ELEMENTS = 1 << 22
SMALLEST_CHUNK = 256


def linear_cross_entropy(
    hidden: Float[Tensor, "... d_model"],
    weight: Float[Tensor, "rows width"],
    targets: Int[Tensor, "..."],
    *,
    vocab_size: int | None = None,
    softcap: float | int | None = None,
    z_loss: float | int = 0.0,
    chunk: int | None = None,
    fast: bool = True,
) -> Float[Tensor, ""]:
    """cross_entropy(soft_cap(hidden @ weight.T, softcap)[..., :vocab_size], targets, z_loss=z_loss), in less memory.

    `chunk` tokens are taken at a time (None: as many as make 4 million logits, at least 256); the result does not depend on it but for
    rounding. Loss and gradients are computed together in the forward pass, so that a gradient that is not wanted should be
    switched off (torch.no_grad). Rows of `weight` from `vocab_size` on are padding: they get no probability and no gradient.
    A target that is IGNORED (-100) is in no mean. Under autocast the products run in its dtype; the softmax always in float32 or wider. Raises what cross_entropy raises.

    `fast=False`, and torch.compile on a GPU, which fuses by itself, make all the logits and leave the gradient to autograd.
    """
    rows, d_model = weight.shape
    vocab_size = rows if vocab_size is None else vocab_size
    if not 1 <= vocab_size <= rows:
        raise ShapeError(f"vocab_size must be from 1 to the weight's {rows} rows, got {vocab_size}")
    if hidden.shape[-1] != d_model:
        raise ShapeError(f"hidden must end with the weight's d_model of {d_model}, got {tuple(hidden.shape)}")
    check_targets(targets, hidden.shape, "hidden states", vocab_size)
    check_z_loss(z_loss)
    if chunk is not None and chunk < 1:
        raise ConfigError(f"chunk must be at least 1 token, got {chunk}")
    device = hidden.device.type
    compiling = torch.compiler.is_compiling()
    if not fast or (compiling and device != "cpu"):
        logits = soft_cap(hidden @ weight.T, softcap)[..., :vocab_size]
        return cross_entropy(logits, targets, z_loss=z_loss, fast=fast)
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    size = max(SMALLEST_CHUNK, CHUNK_ELEMENTS // rows) if chunk is None else chunk
    flat, (column, kept) = hidden.reshape(-1, d_model), columns(targets)
    if compiling:
        share, later = row_weights(kept, dtype)
        cap, learning = None if softcap is None else float(softcap), torch.is_grad_enabled()
        wanted = learning and hidden.requires_grad, learning and weight.requires_grad
        found = _opaque(flat, weight, column, share, vocab_size, cap, float(z_loss), size, dtype, *wanted)
        loss: Tensor = found[0] * later
    else:
        loss = _LinearCrossEntropy.apply(flat, weight, column, kept, vocab_size, softcap, z_loss, size, dtype)
    return loss


def loss_bytes(
    tokens: int, rows: int, d_model: int, bytes_per_number: int = 4, *, softcap: bool = False
) -> int:
    """What linear_cross_entropy holds at its height, beside what it is given: for a head of (rows, d_model), in numbers of that size,

    a chunk's logits (in float32, and narrow before and after that), the gradients of the hidden states and of the head (float32)
    """
    size = max(SMALLEST_CHUNK, CHUNK_ELEMENTS // rows)
    chunk = -(-tokens // -(-tokens // size))
    logit = (4 if bytes_per_number == 4 else 4 + 2 * bytes_per_number) + (4 if softcap else 0)
    head = 0 if bytes_per_number == 4 else bytes_per_number * rows * d_model
    return chunk * rows * logit + tokens * d_model * bytes_per_number + 4 * rows * d_model + head


def soft_cap(logits: Float[Tensor, "..."], cap: float | int | None) -> Float[Tensor, "..."]:
    """cap tanh(logits / cap): the logits themselves while small, never beyond +-cap. None leaves them as they are.

    Gemma Team 2024, Gemma 2, https://arxiv.org/abs/2408.00118, section 2.
    """
    return logits if cap is None else cap * torch.tanh(logits / cap)


class _LinearCrossEntropy(torch.autograd.Function):
    """For a chunk with hidden states X (rows d_model), head W and D = d loss / d (X W^T):

    d loss / d X = D W        d loss / d W = D^T X, summed over the chunks
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        column: Tensor,
        kept: Tensor,
        vocab_size: int,
        softcap: float | None,
        z_loss: float,
        size: int,
        dtype: torch.dtype,
    ) -> Tensor:
        share, ctx.missing = row_weights(kept, dtype)
        loss, *gradients = _in_chunks(
            hidden, weight, column, share, vocab_size, softcap, z_loss, size, dtype, *ctx.needs_input_grad[:2]
        )
        ctx.save_for_backward(*gradients)
        ctx.hidden_dtype = hidden.dtype
        mean: Tensor = loss * ctx.missing
        return mean

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_weight = ctx.saved_tensors
        factor = grad * ctx.missing
        if grad_hidden is not None:
            grad_hidden = times(grad_hidden.to(ctx.hidden_dtype), factor)
        if grad_weight is not None:
            grad_weight = times(grad_weight, factor)
        return grad_hidden, grad_weight, *[None] * 7


def _in_chunks(
    hidden: Tensor,
    weight: Tensor,
    column: Tensor,
    share: Tensor,
    vocab_size: int,
    softcap: float | None,
    z_loss: float,
    size: int,
    dtype: torch.dtype,
    of_hidden: bool,
    of_weight: bool,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The loss, each token weighted by its share, and the gradients of hidden states (in `dtype`) and head that are wanted."""
    tokens = len(hidden)
    size = -(-tokens // -(-tokens // size))  # the same number of chunks, all nearly alike
    with torch.autocast(hidden.device.type, enabled=False):
        inputs, matrix = hidden.to(dtype), weight.to(dtype)
        grad_hidden = torch.empty_like(inputs) if of_hidden else None
        grad_weight = torch.zeros_like(weight) if of_weight else None
        loss = widen(inputs[:0]).new_zeros(())
        for start in range(0, tokens, size):
            x, part = inputs[start : start + size], slice(start, start + size)
            gradient = widen(product(x, matrix))  # the logits, until below
            slope = None
            if softcap is not None:  # d/dx of cap tanh(x / cap) is 1 - tanh(x / cap)^2
                gradient.div_(softcap).tanh_()
                slope = gradient.square().neg_().add_(1.0)
                gradient.mul_(softcap)
            gradient[:, vocab_size:] = -torch.inf
            loss += _loss_and_gradient_(gradient, column[part], share[part], z_loss)
            if slope is not None:
                gradient.mul_(slope)
            narrow = gradient.to(dtype)
            if grad_hidden is not None:
                grad_hidden[part] = product(narrow, matrix.T)
            if grad_weight is not None:
                _add_product_(grad_weight, narrow.T, x)
    return loss, grad_hidden, grad_weight


# What torch.compile sees of it: one operation that it does not look into, for what it would make of the inside holds all the logits.
@torch.library.custom_op("lm_core::linear_cross_entropy", mutates_args=())
def _opaque(
    hidden: Tensor,
    weight: Tensor,
    column: Tensor,
    share: Tensor,
    vocab_size: int,
    softcap: float | None,
    z_loss: float,
    size: int,
    dtype: torch.dtype,
    of_hidden: bool,
    of_weight: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    loss, grad_hidden, grad_weight = _in_chunks(
        hidden, weight, column, share, vocab_size, softcap, z_loss, size, dtype, of_hidden, of_weight
    )
    nothing = hidden.new_empty(0)
    return (
        loss,
        nothing if grad_hidden is None else grad_hidden.to(hidden.dtype),
        nothing.clone() if grad_weight is None else grad_weight,
    )


@_opaque.register_fake
def _(hidden, weight, column, share, vocab_size, softcap, z_loss, size, dtype, of_hidden, of_weight):  # type: ignore[no-untyped-def]
    return (
        share.new_empty(()),
        torch.empty_like(hidden) if of_hidden else hidden.new_empty(0),
        torch.empty_like(weight) if of_weight else hidden.new_empty(0),
    )


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    ctx.save_for_backward(*output[1:])
    ctx.wanted = inputs[-2:]


def _scale(ctx: Any, grad: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
    gradients = zip(ctx.saved_tensors, ctx.wanted, strict=True)
    return *(kept * grad if wanted else None for kept, wanted in gradients), *[None] * 9


_opaque.register_autograd(_scale, setup_context=_keep)


def _flops(hidden: Sequence[int], weight: Sequence[int], *rest: Any, **_: Any) -> int:
    """The logits, and as many again for each of the two gradients that is wanted (the last two arguments)."""
    wanted: int = sum(rest[-2:])
    return 2 * math.prod(hidden) * weight[0] * (1 + wanted)


count(torch.ops.lm_core.linear_cross_entropy, _flops)


def _loss_and_gradient_(
    logits: Float[Tensor, "rows vocab_size"],
    column: Int[Tensor, "rows 1"],
    weight: Float[Tensor, "rows 1"],
    z_loss: float | int,
) -> Float[Tensor, ""]:
    """lm_core.loss.loss_and_gradient in place: one buffer less, for another pass over it."""
    largest = logits.amax(-1, keepdim=True)
    picked = logits.sub_(largest).gather(1, column)
    total = logits.exp_().sum(-1, keepdim=True)
    log_total = total.log()
    losses = log_total - picked
    factor = weight
    if z_loss:
        z = log_total + largest
        losses = losses + z_loss * z.square()
        factor = (1.0 + 2.0 * z_loss * z) * weight
    logits.mul_(factor / total)
    logits.scatter_add_(1, column, -weight)
    return weighted_sum(losses, weight)


def _add_product_(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total += a b, in one product where the dtypes allow it."""
    if total.dtype == a.dtype:
        torch.addmm(total, a, b, out=total)  # addmm_, but counted by torch's FlopCounterMode
    else:
        total.add_(a @ b)
