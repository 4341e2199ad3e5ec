"""Which parameters get which optimizer, and which of them decay."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from lm_core.errors import ConfigError
from lm_core.optim.optimizer import Number

BLOCKS = "blocks"


def split_parameters(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """(matrices for Muon, all the rest for AdamW), each in the model's order, shared parameters once.

    The rule: a parameter with two dimensions whose name has the part `blocks` ("blocks.3.attention.q.weight") is a matrix for
    Muon. Embeddings and the output head lie outside the blocks; norms and biases have one dimension. Parameters that
    do not require gradients are left out.
    """
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            inside = BLOCKS in name.split(".") and parameter.ndim == 2
            (matrices if inside else rest).append(parameter)
    return matrices, rest


def mup_groups(model: nn.Module, lr: Number, base_width: int) -> list[dict[str, Any]]:
    """Parameter groups for Adam-like optimizers with the learning rates of the maximal update parametrisation.

    Matrices whose input grows with the model's width (those of the blocks, and the head) get lr * base_width / d_model,
    embeddings, norms and biases get lr. With `ModelConfig(init="mup")`, an lr tuned at width `base_width` then serves
    any width. Yang et al. 2022, https://arxiv.org/abs/2203.03466, table 3. Muon needs no such rule.
    """
    if base_width < 1:
        raise ConfigError(f"base_width must be the d_model that lr was tuned at, got {base_width}")
    wide: list[nn.Parameter] = []
    narrow: list[nn.Parameter] = []
    d_model = 0
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        if name == "embedding.weight":
            d_model = parameter.shape[1]
        grows = parameter.ndim == 2 and (BLOCKS in name.split(".") or name == "head.weight")
        (wide if grows else narrow).append(parameter)
    if not d_model:
        raise ConfigError("mup_groups is for a Transformer: the model has no trainable embedding.weight")
    return [{"params": wide, "lr": float(lr) * base_width / d_model}, {"params": narrow, "lr": float(lr)}]


def weight_decay_groups(params: Iterable[Tensor], weight_decay: Number) -> list[dict[str, Any]]:
    """Parameter groups for any optimizer: matrices and embeddings decay, vectors (norms, biases) do not."""
    params = list(params)
    decayed = [parameter for parameter in params if parameter.ndim >= 2]
    kept = [parameter for parameter in params if parameter.ndim < 2]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
