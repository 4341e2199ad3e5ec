"""What keeping the weights in fewer bytes costs: measured on a text, beside the model as it was loaded.

    for cost in quality(engine, text): print(cost.storage, cost.bits_per_byte, cost.divergence)

The text is read in windows of the model's context that do not overlap; every token but each window's first is scored.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from lm_core import Transformer

from lm_generate.engine import Engine
from lm_generate.errors import PromptError, SettingError
from lm_generate.kernel.stored import SMALL, storage_of, store, weight_bytes


@dataclass(frozen=True)
class Cost:
    """One way of keeping the weights, measured on one text."""

    storage: str
    weight_bytes: int
    bits_per_byte: float
    divergence: float
    """Mean over the tokens of KL(loaded || stored) = sum_i p_i ln(p_i / q_i), in nats; 0 for the model as loaded."""
    same_choice: float
    """Share of places where the likeliest token is that of the model as loaded."""
    tokens: int


def quality(engine: Engine, text: str, storages: Sequence[torch.dtype] = SMALL) -> Iterator[Cost]:
    """The model as loaded, then each way of keeping it, one at a time.

    Raises SettingError for a model that is not float32 on the CPU, PromptError for a text of fewer than two tokens.
    """
    if engine.device.type != "cpu" or engine.dtype != torch.float32:
        raise SettingError(
            f"the cost is measured from float32 on the CPU, got {engine.dtype} on {engine.device}"
        )
    ids = engine.encode(text)
    if len(ids) < 2:
        raise PromptError(f"nothing to measure on: the text holds {len(ids)} token(s), at least 2 are needed")
    windows = [ids[i : i + engine.config.context + 1] for i in range(0, len(ids) - 1, engine.config.context)]
    scored = sum(len(engine.tokenizer.decode_bytes(window[1:])) for window in windows)
    for storage in (None, *storages):
        model = engine.model
        if storage is not None:
            model = copy.deepcopy(engine.model)
            store(model, storage)
        nats = divergence = same = 0.0
        for window in windows:
            found = compare(engine.model, model, window)
            nats, divergence, same = nats + found[0], divergence + found[1], same + found[2]
        tokens = len(ids) - 1
        yield Cost(
            storage=str(storage_of(model)).removeprefix("torch."),
            weight_bytes=weight_bytes(model),
            bits_per_byte=nats / math.log(2) / max(1, scored),
            divergence=divergence / tokens,
            same_choice=same / tokens,
            tokens=tokens,
        )


@torch.inference_mode()
def compare(loaded: Transformer, stored: Transformer, window: Sequence[int]) -> tuple[float, float, int]:
    """Over one window: the nats of `stored`, the summed KL(loaded || stored), and how often both prefer the same token."""
    tokens = torch.tensor([list(window)])
    log_q = stored(tokens[:, :-1])[0].log_softmax(-1)  # (length - 1, vocab_size)
    log_p = log_q if stored is loaded else loaded(tokens[:, :-1])[0].log_softmax(-1)
    nats = -float(log_q.gather(-1, tokens[0, 1:, None]).double().sum())
    divergence = float((log_p.exp() * (log_p - log_q)).double().sum())
    return nats, divergence, int((log_p.argmax(-1) == log_q.argmax(-1)).sum())
