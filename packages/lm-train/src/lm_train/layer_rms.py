"""How large each layer's numbers are: root mean squares of weights, of the stream, and of gradients, at the evaluations on the way.

    weight_rms/blocks.0        over all weights of the block
    activation_rms/blocks.0    over the stream of numbers that leaves the block
    gradient_rms/blocks.0      over the gradient of the held-out loss to the block's weights

Measured on the first held-out windows, always the same, without dropout: a function of the weights, so that a resumed run has the
same figures. A block whose gradient vanishes learns nothing; a stream that grows without end is the first sign of a run that breaks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lm_core import Block, Transformer
from lm_core.inspection import gradient_norms, watching, weight_norms
from torch import Tensor, nn

from lm_train.batches import ValidationWindows
from lm_train.compiled import uncompiled
from lm_train.parallel.sharding import REPLICATE
from lm_train.session import Session
from lm_train.view.metrics import Row

KINDS = ("weight_rms", "activation_rms", "gradient_rms")
_WINDOWS = 2  # of text, for stream and gradients: their forward and backward pass is all that this costs


def layer_rms(s: Session, windows: ValidationWindows) -> Row:
    """`KIND/LAYER` -> root mean square; nothing for a model that is spread over ranks, of which no rank has all."""
    if s.sharding != REPLICATE:
        return {}
    inputs, targets, *documents = (ids[:_WINDOWS].to(s.device.kind) for ids in windows[0])
    scale = 1.0 if s.optimizers.scale is None else s.optimizers.scale.value
    stream: Row = {}

    def see(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        stream[f"activation_rms/{name}"] = _finite(output.detach().float().square().mean().sqrt().item())

    s.optimizers.zero_grad()
    if s.exchange is not None:
        s.exchange.begin()  # the gradients get the memory that they have in a step
    s.model.eval()
    with uncompiled(s.model), watching(s.model, see, only=Block), s.device.autocast():
        if documents:  # packed rows
            loss = s.model.loss(inputs, targets, documents=documents[0])
        else:
            loss = s.model.loss(inputs, targets)
    (loss * scale).backward()  # type: ignore[no-untyped-call]
    s.model.train()
    found = by_layer("weight_rms", s.model, weight_norms(s.model)) | stream
    found |= by_layer("gradient_rms", s.model, {k: v / scale for k, v in gradient_norms(s.model).items()})
    s.optimizers.zero_grad()
    return found


def by_layer(kind: str, model: Transformer, norms: Mapping[str, float]) -> Row:
    """Root mean squares of parameters, put together for each block; embedding, last norm and head stand for themselves."""
    squares: dict[str, float] = {}
    numbers: dict[str, int] = {}
    for name, parameter in model.named_parameters():
        if name in norms:
            parts = name.split(".")
            layer = ".".join(parts[:2]) if parts[0] == "blocks" else parts[0]
            squares[layer] = squares.get(layer, 0.0) + norms[name] ** 2 * parameter.numel()
            numbers[layer] = numbers.get(layer, 0) + parameter.numel()
    return {f"{kind}/{layer}": _finite(math.sqrt(squares[layer] / numbers[layer])) for layer in squares}


def _finite(value: float) -> float | None:
    """metrics.jsonl holds no other numbers."""
    return value if math.isfinite(value) else None
