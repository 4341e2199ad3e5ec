"""Beam search: the texts that a model holds likeliest, found by following the best few beginnings at once.

    for hypothesis in beam_search(decode, row, ends, width=4, length_penalty=1.0, prefixes=prefixes): ...    best first

A beginning is worth sum log q(token), q being the model's distribution after bias, penalties and bans
(`lm_generate.adjust`); nothing is drawn. A text that has ended is worth that sum / (its tokens) ** length_penalty, the end id counted: 0
leaves the sum, which favours short texts, 1 is the mean. In each step every continuation by one token of the `width` best
beginnings is ranked by its sum, ties by the beginning's own rank and then the lower id. Going down the ranking, those that
have ended among the first `width` go to the ended ones, of which the best `width` are kept, and the best `width` others are the next
beginnings. The search is over when no beginning can overtake the worst of `width` ended texts, whatever follows it.

With a width of at least the number of all beginnings that is the exact maximum. The rules are those of
transformers' beam search with `early_stopping="never"`. Graves 2012, https://arxiv.org/abs/1211.3711, section 2.5 (search);
Wu et al. 2016, https://arxiv.org/abs/1609.08144, section 7 (normalising by length).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from lm_core import KVCache

from lm_generate.adjust import adjust, check_left
from lm_generate.constrain import Follower
from lm_generate.decoder import Decoder, Logits
from lm_generate.generate import CHUNK, Row, Written
from lm_generate.logprob import token_logprob
from lm_generate.prefix import PrefixStore
from lm_generate.sampling import Float64Array, log_probabilities


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """A beginning, or a text that has ended."""

    tokens: tuple[Written, ...]
    total: float
    """Its tokens' log q, summed, in nats."""
    score: float
    """`total` / len(tokens) ** length_penalty; that of a beginning means nothing."""
    matched: bool
    follower: Follower | None

    @property
    def ids(self) -> list[int]:
        return [token.id for token in self.tokens]


@dataclass(frozen=True)
class Beam:
    """A beginning with what has been read of it."""

    hypothesis: Hypothesis
    cache: KVCache
    logits: Logits


def beam_search(
    decode: Decoder,
    row: Row,
    ends: Callable[[Sequence[int]], bool],
    *,
    width: int,
    length_penalty: float,
    prefixes: PrefixStore,
) -> list[Hypothesis]:
    """The best ended texts, at most `width`, best first. `ends(ids)`: whether a stop string is complete."""
    start = Hypothesis(tokens=(), total=0.0, score=0.0, matched=False, follower=row.rules.follower)
    beams = [Beam(start, *read_prompt(decode, row, prefixes))]
    ended: list[Hypothesis] = []
    longest = row.rules.max_tokens
    for length in range(1, longest + 1):
        totals = np.stack([beam.hypothesis.total + log_q(row, beam) for beam in beams])
        chosen: list[tuple[int, Hypothesis]] = []
        for rank, (parent, id) in enumerate(ranking(totals, width)):
            if rank >= width and (len(chosen) == width or length == longest):
                break
            new = extend(row, beams[parent], id, float(totals[parent, id]), length_penalty)
            over = id in row.rules.stop_ids or new.matched or length == longest or ends(new.ids)
            if over and rank < width:
                ended.append(new)
            elif not over and len(chosen) < width:
                chosen.append((parent, new))
        ended = sorted(ended, key=lambda text: -text.score)[:width]
        if not chosen:
            break
        reach = (longest if length_penalty > 0 else length + 1) ** length_penalty
        if len(ended) == width and chosen[0][1].total / reach <= ended[-1].score:
            break
        beams = advance(decode, beams, chosen)
    return ended


def read_prompt(decode: Decoder, row: Row, prefixes: PrefixStore) -> tuple[KVCache, Logits]:
    """The row's cache with its prompt, and the logits of what follows."""
    started = time.perf_counter()
    row.start(decode, prefixes)
    assert row.cache is not None
    logits = row.logits
    for first in range(0, len(row.unread), CHUNK):
        (logits,) = decode([(row.cache, row.unread[first : first + CHUNK])])
    assert logits is not None
    row.prefill = time.perf_counter() - started
    return row.cache, np.asarray(logits, dtype=np.float32)


def log_q(row: Row, beam: Beam) -> Float64Array:
    """The log-probability of each id behind a beginning, after bias, penalties and bans."""
    rules, ids = row.rules, beam.hypothesis.ids
    follower = beam.hypothesis.follower
    may_come = (
        rules.allowed(ids) if rules.allowed else follower.may_come(rules.stop_ids) if follower else None
    )
    adjusted = adjust(
        beam.logits,
        rules.adjustment,
        row.prompt,
        ids,
        banned=rules.banned,
        ends=rules.stop_ids,
        may_come=may_come,
    )
    if may_come is not None:
        check_left(adjusted, may_come)
    return log_probabilities(adjusted)


def ranking(totals: Float64Array, first: int) -> Iterator[tuple[int, int]]:
    """(row, column) of totals (beams, vocab_size), the largest first; ties by row, then column. Leaves out -inf."""
    flat = totals.ravel()
    told, count = 0, min(flat.size, 4 * first)
    while told < flat.size:
        threshold = np.partition(flat, flat.size - count)[flat.size - count]
        among = np.flatnonzero(flat >= threshold)  # all that tie with the last are in
        order = among[np.argsort(-flat[among], kind="stable")]
        for place in order[told:]:
            if flat[place] == -np.inf:
                return
            yield divmod(int(place), totals.shape[1])
        told, count = len(order), min(flat.size, 4 * len(order))


def extend(row: Row, beam: Beam, id: int, total: float, length_penalty: float) -> Hypothesis:
    """A beginning with one more token."""
    old, rules = beam.hypothesis, row.rules
    logprob = None if rules.logprobs is None else token_logprob(beam.logits, id, rules.logprobs)
    tokens = (*old.tokens, Written(id, logprob))
    follower = old.follower
    if follower and id not in rules.stop_ids:
        follower = follower.copy()
        follower.take(id)
    return replace(
        old,
        tokens=tokens,
        total=total,
        score=total / len(tokens) ** length_penalty,
        matched=follower is not None and id not in rules.stop_ids and follower.complete,
        follower=follower,
    )


def advance(decode: Decoder, beams: Sequence[Beam], chosen: Sequence[tuple[int, Hypothesis]]) -> list[Beam]:
    """Reads the last token of each chosen beginning: the first of a parent goes on in its cache, others in a copy."""
    free = dict(enumerate(beams))
    caches = []
    for parent, _ in chosen:
        caches.append(free.pop(parent).cache if parent in free else copied(decode, beams[parent].cache))
    logits = decode([(cache, [new.tokens[-1].id]) for cache, (_, new) in zip(caches, chosen, strict=True)])
    return [Beam(new, cache, found) for (_, new), cache, found in zip(chosen, caches, logits, strict=True)]


def copied(decode: Decoder, cache: KVCache) -> KVCache:
    """A cache of its own with what another holds."""
    made, length = decode.new_cache(cache.capacity), cache.length
    made.keys[..., :length, :] = cache.keys[..., :length, :]
    made.values[..., :length, :] = cache.values[..., :length, :]
    made.length = length
    return made
