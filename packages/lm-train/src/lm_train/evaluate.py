"""The loss on held-out text, in nats per token and in bits per byte.

Bits per byte = (sum of the targets' nats) / ln 2 / (bytes of text that the targets spell): exact, and it compares models across
tokenizers. The end of a document costs its nats and spells no byte.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from lm_core import Transformer

from lm_train.batches import ValidationWindows
from lm_train.compiled import uncompiled
from lm_train.device import Device
from lm_train.parallel.ranks import Ranks
from lm_train.view.metrics import Row


@dataclass(frozen=True)
class Evaluation:
    """Mean loss in nats per token, bits per byte (None where the tokenizer is unknown), and over how many tokens."""

    loss: float
    bits_per_byte: float | None
    tokens: int

    def row(self) -> Row:
        """For metrics.jsonl."""
        return {
            "valid_loss": self.loss,
            "valid_bits_per_byte": self.bits_per_byte,
            "valid_tokens": self.tokens,
        }


def evaluate(
    model: Transformer,
    windows: ValidationWindows,
    device: Device,
    *,
    stopped: Callable[[], bool] = lambda: False,
    ranks: Ranks | None = None,
) -> Evaluation | None:
    """Score the model on all the windows; None as soon as `stopped()` says so. Leaves the model in training mode.

    Of several ranks each takes every `world`-th batch of windows, and all get the same result.
    """
    ranks = ranks or Ranks()
    nats = 0.0
    model.eval()
    try:
        with torch.no_grad(), uncompiled(model):
            for first in range(0, len(windows), ranks.world):
                if ranks.any(stopped()):
                    return None
                number = first + ranks.rank
                if number < len(windows) or ranks.lockstep:
                    inputs, targets, *documents = (
                        ids.to(device.kind) for ids in windows[min(number, len(windows) - 1)]
                    )
                    with device.autocast():
                        if documents:
                            loss = model.loss(inputs, targets, documents=documents[0]).item()
                        else:
                            loss = model.loss(inputs, targets).item()
                    nats += loss * targets.numel() if number < len(windows) else 0.0
    finally:
        model.train()
    nats = nats if ranks.alone else ranks.total(nats)
    text_bytes = windows.text_bytes
    bits = nats / math.log(2) / text_bytes if text_bytes else None
    return Evaluation(nats / windows.tokens, bits, windows.tokens)
