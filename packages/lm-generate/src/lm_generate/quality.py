"""What keeping the weights in fewer bytes costs: measured on a text, beside the model as it was loaded.

    for cost in quality(engine, text): print(cost.storage, cost.bits_per_byte, cost.divergence)

Measured is what writes: the engine's own pass with all that it rounds (int8: also what the weights multiply, to 15 bits). The text is read in windows of the model's context that do not overlap; every token but each window's first is scored.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lm_generate.decoder import Decoder
from lm_generate.engine import Engine
from lm_generate.errors import PromptError, SettingError
from lm_generate.kernel.native import PASS_ROWS
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
        loaded, stored = Decoder(engine.model), Decoder(model)
        nats = divergence = same = 0.0
        for window in windows:
            found = compare(loaded, stored, window)
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


def compare(loaded: Decoder, stored: Decoder, window: Sequence[int]) -> tuple[float, float, int]:
    """Over one window: the nats of `stored`, the summed KL(loaded || stored), and how often both prefer the same token."""
    nats, divergence, same = 0.0, 0.0, 0
    pairs = zip(log_probabilities(loaded, window), log_probabilities(stored, window), strict=True)
    for first, (log_p, log_q) in zip(range(0, len(window) - 1, PASS_ROWS), pairs, strict=True):
        wanted = torch.tensor(window[first + 1 : first + 1 + PASS_ROWS])
        nats -= float(log_q.gather(-1, wanted[:, None]).double().sum())
        divergence += float((log_p.exp() * (log_p - log_q)).double().sum())
        same += int((log_p.argmax(-1) == log_q.argmax(-1)).sum())
    return nats, divergence, same


@torch.inference_mode()
def log_probabilities(decode: Decoder, window: Sequence[int]) -> Iterator[Float[Tensor, "places vocab_size"]]:
    """Of what follows each token of the window but the last, `PASS_ROWS` places at a time."""
    ids = list(window[:-1])
    cache = decode.new_cache(len(ids))
    if decode.any_pieces:
        for first in range(0, len(ids), PASS_ROWS):
            logits = np.stack(decode.after_each(cache, ids[first : first + PASS_ROWS]))
            yield torch.from_numpy(logits).log_softmax(-1)
    else:  # without the kernel stored weights are unpacked and multiplied in float32, all places at once here
        yield from decode.model(torch.tensor([ids]))[0].log_softmax(-1).split(PASS_ROWS)
