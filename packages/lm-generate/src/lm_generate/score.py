"""Log-probabilities of a given text: how surprised the model is, token by token.

A text that is longer than the context is read in windows of `context` tokens that move on by `stride`: every
token is scored once, in the first window that predicts it, so each but those of the first window has at least
context - stride + 1 tokens before it. A smaller stride is closer to a full view of the past and costs
context / stride passes over the text.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from lm_core import Transformer

from lm_generate.errors import NonFiniteLogitsError
from lm_generate.results import Score


def windows(length: int, context: int, stride: int) -> Iterator[tuple[int, int, int]]:
    """(start, first_scored, stop) over `length` tokens: tokens[start : stop - 1] are read, tokens[first_scored:stop] scored.

    Token 0 has nothing before it and is never scored.
    """
    scored = 1
    while scored < length:
        start = 0 if scored == 1 else scored - 1 - (context - stride)
        stop = min(
            length, start + context + 1
        )  # the last target is not an input, so one more than the context
        yield start, scored, stop
        scored = stop


@torch.inference_mode()
def token_logprobs(model: Transformer, ids: Sequence[int], stride: int) -> list[float]:
    """log p(ids[t] | the tokens before it in its window) for t = 1, 2, ...; natural logarithms, float32 sums."""
    device = next(model.parameters()).device
    result: list[float] = []
    for start, first, stop in windows(len(ids), model.config.context, stride):
        tokens = torch.tensor([ids[start:stop]], device=device)  # (1, length)
        hidden = model.hidden(tokens[:, :-1])[0, first - start - 1 :]  # only the scored places reach the head
        log_p = model.logits(hidden).float().log_softmax(-1)  # (scored, vocab_size)
        result += log_p.gather(-1, tokens[0, first - start :, None]).squeeze(-1).tolist()
    if any(math.isnan(value) for value in result):
        raise NonFiniteLogitsError(
            "the model's log-probabilities are NaN: the weights are damaged or the dtype overflows; try float32"
        )
    return result


def make_score(ids: Sequence[int], logprobs: Sequence[float], scored_bytes: int) -> Score:
    """The sums over a scored text."""
    nats = -math.fsum(logprobs)
    return Score(
        ids=tuple(ids),
        logprobs=tuple(logprobs),
        nats=nats,
        bytes=scored_bytes,
        bits_per_byte=nats / math.log(2) / scored_bytes,
        perplexity=math.exp(min(nats / len(logprobs), 700.0)),
    )
