"""How weights start: the two recipes in one table, and the function that applies them from a seed.

| weight                         | "fan_in" (default)         | "gpt2"                     |
|--------------------------------|----------------------------|----------------------------|
| token and position embeddings  | normal, std 0.5            | normal, std 0.02           |
| linear layers of a block       | normal, std 0.7/sqrt(d_in) | normal, std 0.02           |
| attention output, down         | zero                       | normal, std 0.02/sqrt(2 n) |
| head, untied                   | zero                       | normal, std 0.02           |
| tied embedding and head        | normal, std 0.02           | normal, std 0.02           |
| norm weights / every bias      | one / zero                 | one / zero                 |

n is the number of layers, d_in the layer's input width. "fan_in" starts every block as the identity and the logits
at zero, so the first loss is ln(vocab_size) exactly; measured as the better start for small models trained in minutes.
A tied table is the head as well: at std 0.5 its logits would start with a deviation of 0.5 sqrt(d_model), at zero
nothing would ever be learnt, hence GPT-2's 0.02. "gpt2" is Radford et al. 2019, section 2.3
(https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from lm_core.config import ModelConfig

EMBEDDING_STD = 0.5
LINEAR_GAIN = 0.7
GPT2_STD = 0.02


def fan_in_normal_(weight: Tensor) -> None:
    """Fills a (d_out, d_in) matrix in place: normal, std 0.7 / sqrt(d_in)."""
    normal_(weight, LINEAR_GAIN / math.sqrt(weight.shape[1]))


def normal_(weight: Tensor, std: float) -> None:
    """Fills a parameter in place from torch's global generator, unless it has no memory (device "meta").

    torch would answer a draw on "meta" by importing its compiler, 5 seconds of every start.
    """
    if not weight.is_meta:
        with torch.no_grad():
            weight.normal_(0.0, std)


def allocate(model: nn.Module, device: torch.device, dtype: torch.dtype | None = None) -> None:
    """Gives every parameter memory on `device`, its numbers undefined. (Module.to_empty would import sympy for it.)"""
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            empty = torch.empty(parameter.shape, dtype=dtype or parameter.dtype, device=device)
            setattr(module, name, nn.Parameter(empty))


def initialise(model: nn.Module, config: ModelConfig, seed: int) -> None:
    """Fills all parameters of a Transformer in place, in the order of `named_parameters`: same seed, same bits.

    The numbers are drawn on the CPU in float32 whatever the device, so that they are the same on every one.
    Parameters without memory (device "meta") are left alone.
    """
    generator = torch.Generator("cpu").manual_seed(seed)
    for name, parameter in model.named_parameters():
        if parameter.is_meta:
            continue
        std = start_std(name, tuple(parameter.shape), config)
        with torch.no_grad():
            if std is None:
                parameter.fill_(1.0)
            elif std == 0.0:
                parameter.zero_()
            else:
                drawn = torch.empty(parameter.shape, dtype=torch.float32, device="cpu")
                parameter.copy_(drawn.normal_(0.0, std, generator=generator))


def start_std(name: str, shape: tuple[int, ...], config: ModelConfig) -> float | None:
    """The standard deviation at which the parameter of this name starts; None means all ones."""
    if name.endswith(".bias"):
        return 0.0
    if len(shape) == 1:
        return None
    zero_start = config.init == "fan_in"
    if name in ("embedding.weight", "position_embedding.weight"):
        tied = config.tie_embeddings and name == "embedding.weight"
        return EMBEDDING_STD if zero_start and not tied else GPT2_STD
    if name == "head.weight":
        return 0.0 if zero_start else GPT2_STD
    if name.endswith((".attention.o.weight", ".feed_forward.down.weight")):
        return 0.0 if zero_start else GPT2_STD / math.sqrt(2 * config.n_layers)
    return LINEAR_GAIN / math.sqrt(shape[1]) if zero_start else GPT2_STD
