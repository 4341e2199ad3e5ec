"""How weights start: the recipes in one table, and the function that applies them from a seed.

| weight                         | "fan_in" (default)  | "gpt2"           | "truncated" (cut at 3)  | "mup"                   |
|--------------------------------|---------------------|------------------|-------------------------|-------------------------|
| token and position embeddings  | 0.5                 | 0.02             | 1/sqrt(d_model)         | 0.5                     |
| linear layers of a block       | 0.7/sqrt(d_in)      | 0.02             | 1/sqrt(d_in)            | 0.7/sqrt(d_in)          |
| attention output, down         | zero                | 0.02/sqrt(2 n)   | 1/sqrt(2 d_in l)        | 0.7/sqrt(2 n d_in)      |
| head, untied                   | zero                | 0.02             | 1/sqrt(d_in)            | 1/d_in                  |
| tied embedding and head        | 0.02                | 0.02             | 1/sqrt(d_model)         | refused                 |
| norm weights / every bias      | one / zero          | one / zero       | one / zero              | one / zero              |

Numbers are standard deviations of a normal distribution; n is the number of layers, l = 1 ... n the layer, d_in the
layer's input width.

"fan_in" starts every block as the identity and the logits at zero, so the first loss is ln(vocab_size) exactly
(docs/architecture.md has what three starts came to in 300 steps). A tied table is the head as well: at std 0.5 its logits would
start with a deviation of 0.5 sqrt(d_model), at zero nothing would ever be learnt, hence GPT-2's 0.02.
"gpt2" is Radford et al. 2019, section 2.3
(https://cdn.openai.com/better-language-models/language_models_are_unsupervised_multitask_learners.pdf).
"truncated" has no outliers, and later layers write less (depth scaling: Zhang et al. 2019, https://arxiv.org/abs/1908.11365).
"mup" follows the maximal update parametrisation, Yang et al. 2022, Tensor Programs V, https://arxiv.org/abs/2203.03466,
table 3: with the learning rates of `lm_core.optim.mup_groups`, the best ones of a narrow model stay the best of a wide
one. Keep d_head fixed and grow the number of heads: then 1/sqrt(d_head) in the attention is a constant.
"""

import math

import torch
from torch import Tensor, nn

from lm_core.config import ModelConfig

EMBEDDING_STD = 0.5
LINEAR_GAIN = 0.7
GPT2_STD = 0.02
CUT = 3.0  # standard deviations
VOCABULARY = ("embedding.weight", "head.weight")  # whose rows may be padded


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
    draw = truncated_normal if config.init == "truncated" else normal
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
                # rows of padding stay zero and are not drawn: the others do not depend on how many there are
                rows = config.vocab_size if name in VOCABULARY else len(parameter)
                parameter[rows:].zero_()
                parameter[:rows].copy_(draw((rows, *parameter.shape[1:]), std, generator))


def normal(shape: tuple[int, ...], std: float, generator: torch.Generator) -> Tensor:
    """Float32 numbers on the CPU with mean 0 and standard deviation `std`."""
    return torch.empty(shape, dtype=torch.float32, device="cpu").normal_(0.0, std, generator=generator)


def truncated_normal(shape: tuple[int, ...], std: float, generator: torch.Generator) -> Tensor:
    """The same, but never beyond CUT standard deviations: the inverse of the normal's distribution function, at uniform
    numbers between its values at -CUT and CUT. (The deviation that is left is 0.987 std.)"""
    most = math.erf(CUT / math.sqrt(2.0))
    uniform = torch.empty(shape, dtype=torch.float32, device="cpu").uniform_(-most, most, generator=generator)
    return uniform.erfinv_().mul_(math.sqrt(2.0) * std).clamp_(-CUT * std, CUT * std)


def start_std(name: str, shape: tuple[int, ...], config: ModelConfig) -> float | None:
    """The standard deviation at which the parameter of this name starts; None means all ones."""
    if name.endswith(".bias"):
        return 0.0
    if len(shape) == 1:
        return None
    is_table = name in ("embedding.weight", "position_embedding.weight")
    is_head = name == "head.weight"
    writes = name.endswith((".attention.o.weight", ".feed_forward.down.weight"))
    d_in, n = shape[1], config.n_layers
    if config.init == "gpt2":
        return GPT2_STD / math.sqrt(2 * n) if writes else GPT2_STD
    if config.init == "truncated":
        return 1.0 / math.sqrt(d_in * (2 * (1 + int(name.split(".")[1])) if writes else 1))
    if is_table:
        tied = config.tie_embeddings and name == "embedding.weight"
        return GPT2_STD if tied else EMBEDDING_STD
    if config.init == "mup":
        return 1.0 / d_in if is_head else LINEAR_GAIN / math.sqrt(d_in * (2 * n if writes else 1))
    return 0.0 if is_head or writes else LINEAR_GAIN / math.sqrt(d_in)
