"""The loop that writes: read the prompt once, then one token at a time, each from the cache of all before it.

    logits = read(model, prompt, cache)                    prefill: the keys and values of the prompt, once
    for token in write(model, logits, prompt, cache, ...): decode: choose a token, feed it back, repeat

`read` costs one pass over the prompt; every token of `write` one pass over the weights and the cache. The
choice is in `sampling.py`, its random number in `rng.py`: a pure function of (seed, row, position).
A row is always decoded by itself, with the same shapes whoever else is in its batch; so the text of a row, greedy
or sampled, is the same bits alone and beside any neighbours.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from lm_core import KVCache, Transformer

from lm_generate.errors import ContextLengthError, PromptError
from lm_generate.rng import uniform
from lm_generate.sampling import FloatArray, IdArray, Sampling, choose, log_probabilities

PREFILL_CHUNK = 512
"""Prompt tokens of one pass: bounds the memory of attention and logits; larger was not faster."""


@dataclass(frozen=True)
class TokenLogprob:
    """How likely the model itself held a token: natural logarithms, before temperature, top-k and top-p."""

    id: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()
    """The most likely (id, logprob) at this place, best first; as many as were asked for."""


@dataclass(frozen=True)
class Written:
    """One token of the continuation; `logprob` only where it was asked for."""

    id: int
    logprob: TokenLogprob | None = None


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Everything that decides which tokens are written, apart from the prompt."""

    sampling: Sampling
    seed: int
    row: int
    max_tokens: int
    stop_ids: frozenset[int]
    banned: IdArray
    """Ids that are never chosen: they stand for no bytes."""
    roll: bool = False
    logprobs: int | None = None


Allowed = Callable[[Sequence[int]], Sequence[int] | None]
"""Given the tokens written so far, the ids that may come next; None: all, from here on."""


@torch.inference_mode()
def read(model: Transformer, ids: Sequence[int], cache: KVCache) -> FloatArray:
    """Appends `ids` to the cache; the logits (vocab_size,) of what follows the last of them, float32."""
    if not ids:
        raise PromptError("the prompt holds no token: give it at least one character or one id")
    device = next(model.parameters()).device
    for start in range(0, len(ids), PREFILL_CHUNK):
        chunk = torch.tensor([ids[start : start + PREFILL_CHUNK]], device=device)  # (1, length)
        hidden = model.hidden(chunk, cache)
    logits: FloatArray = model.logits(hidden[0, -1]).float().cpu().numpy()  # the head for one position only
    return logits


def write(
    model: Transformer,
    logits: FloatArray,
    prompt: Sequence[int],
    cache: KVCache,
    rules: Rules,
    allowed: Allowed | None = None,
) -> Iterator[Written]:
    """Continues `prompt`, whose keys and values are in `cache` and whose next-token `logits` are given.

    Ends after `max_tokens`, or after yielding one of `stop_ids`. A full context raises `ContextLengthError`, unless
    `roll`: then the newest context // 2 tokens are read afresh as if they were the whole text, and it goes on.
    """
    ids = list(prompt)
    for count in range(1, rules.max_tokens + 1):
        may_come = None
        if allowed is not None and (may_come := allowed(ids[len(prompt) :])) is None:
            allowed = None
        choosable = without(logits, rules.banned) if may_come is None else only(logits, may_come)
        number = uniform(rules.seed, rules.row, len(ids)) if rules.sampling.temperature > 0 else 0.0
        id = choose(choosable, rules.sampling, number)
        ids.append(id)
        yield Written(id, None if rules.logprobs is None else token_logprob(logits, id, rules.logprobs))
        if id in rules.stop_ids or count == rules.max_tokens:
            return
        if cache.length < model.config.context:
            logits = read(model, ids[-1:], cache)
        elif rules.roll:
            cache.reset()
            logits = read(model, ids[-rolled_length(model.config.context) :], cache)
        else:
            raise ContextLengthError(
                f"the model's context of {model.config.context} tokens is full after {len(ids)}; ask for fewer, or roll"
            )


def rolled_length(context: int) -> int:
    """How many of the newest tokens are read afresh when the context is full: half, and at least one."""
    return max(1, context // 2)


def only(logits: FloatArray, ids: Sequence[int]) -> FloatArray:
    """The logits with every id but the given ones at -inf."""
    masked = np.full_like(logits, -np.inf)
    masked[list(ids)] = logits[list(ids)]
    return masked


def without(logits: FloatArray, ids: IdArray) -> FloatArray:
    """The logits with the given ids at -inf."""
    if ids.size == 0:
        return logits
    masked = logits.copy()
    masked[ids] = -np.inf
    return masked


def token_logprob(logits: FloatArray, id: int, top: int) -> TokenLogprob:
    """The log-probability of `id` and of the `top` most likely ids; ties to the lower id."""
    log_p = log_probabilities(logits)
    best = np.argsort(-log_p, kind="stable")[:top]
    return TokenLogprob(id, float(log_p[id]), tuple((int(i), float(log_p[i])) for i in best))
