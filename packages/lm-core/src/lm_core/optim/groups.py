"""Which parameters get which optimizer, and which of them decay."""

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

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
