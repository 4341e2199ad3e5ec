"""Why this token: what the model held likely at each place, and what each step of sampling left of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lm_generate.results import Generation
from lm_generate.sampling import FloatArray, Sampling, candidates, greedy, log_probabilities, probabilities


@dataclass(frozen=True)
class Alternative:
    """One token that could have come."""

    id: int
    text: str
    """Its bytes as text; what is no whole character is shown as U+FFFD."""
    before: float
    """The model's own probability."""
    after: float
    """The probability with which it was drawn: after bias, penalties, bans, temperature and filters."""
    removed_by: str | None
    """Where `after` is 0, the setting that took it out: "ban", "temperature" (greedy), "top_k", "top_p" ..."""


@dataclass(frozen=True)
class Explained:
    """One written token, and the likeliest at its place, best first."""

    chosen: Alternative
    rank: int
    """Of the chosen token by `before`; 1 is the likeliest."""
    entropy_bits: float
    """Of the model's own distribution: 0 is certain, log2(vocab_size) knows nothing."""
    alternatives: tuple[Alternative, ...]


@dataclass(frozen=True)
class Explanation:
    """A text and the account of every token of it."""

    result: Generation
    read: str
    """The prompt, without the end that token healing wrote anew."""
    tokens: tuple[Explained, ...]
    """One for each of `result.ids`, and one more for an id that ended the text."""


@dataclass(frozen=True)
class Seen:
    """The logits of one choice, before and after `lm_generate.adjust`, and the token it came to."""

    logits: FloatArray
    adjusted: FloatArray
    id: int


def explain(seen: Seen, sampling: Sampling, texts: dict[int, str], top: int) -> Explained:
    """The account of one choice; `texts` has the text of every id that stands for bytes."""
    log_p = log_probabilities(seen.logits)
    after = probabilities(seen.adjusted, sampling)
    order = np.argsort(-log_p, kind="stable")
    steps = removed(seen.adjusted, sampling)

    def alternative(id: int) -> Alternative:
        by = None if after[id] > 0 else next((step for step, left in steps if id not in left), "temperature")
        return Alternative(id, texts.get(id, ""), math.exp(log_p[id]), float(after[id]), by)

    p = np.exp(log_p)
    return Explained(
        chosen=alternative(seen.id),
        rank=int(np.flatnonzero(order == seen.id)[0]) + 1,
        entropy_bits=float(-(p[p > 0] * log_p[p > 0]).sum() / math.log(2)),
        alternatives=tuple(alternative(int(id)) for id in order[:top]),
    )


def removed(adjusted: FloatArray, sampling: Sampling) -> Sequence[tuple[str, frozenset[int]]]:
    """The steps that are on, in order, each with the ids that it leaves."""
    left = [("ban", frozenset(np.flatnonzero(adjusted > -np.inf).tolist()))]
    if sampling.temperature == 0:
        return [*left, ("temperature", frozenset([greedy(adjusted)]))]
    so_far = base = Sampling(temperature=sampling.temperature)
    for step, wider in (
        ("top_k", replace(base, top_k=sampling.top_k)),
        ("top_p", replace(base, top_k=sampling.top_k, top_p=sampling.top_p)),
        ("min_p", replace(sampling, typical_p=1.0)),
        ("typical_p", sampling),
    ):
        if wider != so_far:
            left.append((step, frozenset(candidates(adjusted, wider)[0].tolist())))
            so_far = wider
    return left
