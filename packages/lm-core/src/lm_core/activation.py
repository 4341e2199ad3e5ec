"""Softmax and the pointwise activations, from exponentials up."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from lm_core.norm import widen


def softmax(x: Float[Tensor, "..."], dim: int) -> Float[Tensor, "..."]:
    """exp(x_i) / sum_j exp(x_j) along `dim`, with the largest x subtracted first so that no exponential overflows.

    -inf entries get exactly 0. A slice of nothing but -inf gives zeros, with zero gradient, where torch gives NaN:
    a query that may look at nothing then adds nothing. Computed in float32 for half-precision input, then cast back.
    """
    wide = widen(x)
    largest = wide.detach().amax(dim, keepdim=True)
    exponentials = torch.exp(wide - largest.masked_fill(largest == -math.inf, 0.0))
    total = exponentials.sum(dim, keepdim=True)
    return (exponentials / total.masked_fill(total == 0.0, 1.0)).to(x.dtype)


def dropout(x: Float[Tensor, "..."], p: float | int) -> Float[Tensor, "..."]:
    """Each number 0 with probability p, else divided by 1 - p, so that the mean stays; from torch's global generator.

    Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html.
    """
    if p == 0:
        return x
    return x * torch.empty_like(x).bernoulli_(1.0 - p).div_(1.0 - p)


def silu(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """x sigmoid(x). Elfwing et al. 2017, https://arxiv.org/abs/1702.03118, eq. 2."""
    return x * torch.sigmoid(x)


def gelu(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))), GPT-2's form ("gelu_new").

    Hendrycks & Gimpel 2016, https://arxiv.org/abs/1606.08415, section 2.
    """
    return 0.5 * x * (1.0 + torch.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def relu2(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """max(x, 0)^2. So et al. 2021 (Primer), https://arxiv.org/abs/2109.08668, section 4."""
    return x.clamp(min=0.0).square()
