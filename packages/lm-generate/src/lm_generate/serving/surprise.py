"""Where a model is surprised: each token of a given text with its probability, its rank and what was expected instead.

As `lm_generate.score`, window by window, but with the likeliest tokens at each place. A window is computed at each
`next`, so that whoever runs this can do other things in between.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from lm_core import Transformer

from lm_generate.errors import NonFiniteLogitsError
from lm_generate.score import windows

PLACES = 64
"""Places whose logits are held at once: (PLACES, vocab_size) float32."""


@dataclass(frozen=True)
class TokenScore:
    """One token of a text; natural logarithms."""

    id: int
    logprob: float
    rank: int
    """Among all ids; 1 is the likeliest."""
    entropy_bits: float
    top: tuple[tuple[int, float], ...]
    """The likeliest (id, logprob), best first."""


def surprises(model: Transformer, ids: Sequence[int], stride: int, top: int) -> Iterator[list[TokenScore]]:
    """The scores of ids[1:], in windows; raises NonFiniteLogitsError where the weights give NaN."""
    for start, first, stop in windows(len(ids), model.config.context, stride):
        yield score_window(model, ids[start:stop], first - start, top)


@torch.inference_mode()
def score_window(model: Transformer, ids: Sequence[int], first: int, top: int) -> list[TokenScore]:
    """The scores of ids[first:], each given all before it."""
    device = next(model.parameters()).device
    tokens = torch.tensor([list(ids)], device=device)  # (1, length)
    hidden = model.hidden(tokens[:, :-1])[0, first - 1 :]  # (scored, d_model)
    result: list[TokenScore] = []
    for begin in range(0, len(hidden), PLACES):
        log_p = model.logits(hidden[begin : begin + PLACES]).float().log_softmax(-1)  # (places, vocab_size)
        if bool(log_p.isnan().any()):
            raise NonFiniteLogitsError(
                "the model's log-probabilities are NaN: the weights are damaged or the dtype overflows; try float32"
            )
        wanted = tokens[0, first + begin : first + begin + PLACES]  # (places,)
        logprob = log_p.gather(-1, wanted[:, None])  # (places, 1)
        rank = (log_p > logprob).sum(-1) + 1
        entropy = -(log_p.exp() * log_p.clamp_min(-1e4)).sum(-1) / math.log(2)
        best = log_p.topk(min(top, log_p.shape[-1]), dim=-1)
        result += [
            TokenScore(id, value, place, bits, tuple(zip(likeliest, values, strict=True)))
            for id, value, place, bits, likeliest, values in zip(
                wanted.tolist(),
                logprob[:, 0].tolist(),
                rank.tolist(),
                entropy.tolist(),
                best.indices.tolist(),
                best.values.tolist(),
                strict=True,
            )
        ]
    return result
