"""The loop that writes: every pass over the weights moves every text on, each from the cache of what it has read.

    batch = Batch(Decoder(model), slots=8)
    batch.add(Row(prompt, rules))              waits until one of the 8 slots is free
    while batch.busy:
        for row, token in batch.step(): ...    one pass: rows still reading take in their next chunk of the prompt,
                                               the others the token that they wrote last; each that has read all chooses

A row's text is the same bits alone and beside any neighbours, greedy or sampled: what it reads in one pass depends on its
own prompt only, `decoder.py` gives its rows the same bits in any company, and the random number of a choice
(`rng.py`, `sampling.py`) is a pure function of (seed, row, position).
"""

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from lm_core import KVCache

from lm_generate.adjust import adjust, check_left
from lm_generate.decoder import Decoder, Work
from lm_generate.errors import LmGenerateError, PromptError
from lm_generate.explain import Seen
from lm_generate.logprob import TokenLogprob, token_logprob
from lm_generate.prefix import PrefixStore, shares
from lm_generate.rng import uniform
from lm_generate.rules import Rules
from lm_generate.sampling import FloatArray, IdArray, choose

CHUNK = 512
"""Tokens that one row reads in one pass: bounds its memory. Read prefixes are shared in whole chunks."""
PASS_TOKENS = 2048
"""Tokens of one pass, all rows together; what does not fit is read in the next."""


@dataclass(frozen=True)
class Written:
    """One token of the continuation; `logprob` only where it was asked for."""

    id: int
    logprob: TokenLogprob | None = None


class Row:
    """One text: its prompt, what is written so far, and its cache. `done` ends it, whoever sets it."""

    def __init__(self, prompt: Sequence[int], rules: Rules) -> None:
        if not prompt:
            raise PromptError("the prompt holds no token: give it at least one character or one id")
        self.prompt, self.rules, self.allowed = list(prompt), rules, rules.allowed
        self.written: list[int] = []
        self.unread: list[int] = []
        self.reading: list[int] = []  # by the first passes: the prompt, or its end where it is too long
        self.logits: FloatArray | None = None
        self.cache: KVCache | None = None
        self.done = self.matched = False  # matched: by its constraint, and nothing can follow
        self.error: LmGenerateError | None = None
        self.prefill = 0.0  # seconds of passes that read the prompt

    def start(self, decode: Decoder, prefixes: PrefixStore) -> None:
        """Makes the cache; what an earlier row has read of the same prompt is copied, not read again."""
        context = decode.config.context
        capacity = context if self.rules.roll else min(context, len(self.prompt) + self.rules.max_tokens)
        self.cache = decode.new_cache(capacity)
        self.reading = self.prompt if len(self.prompt) < context else self.prompt[-rolled_length(context) :]
        known, self.logits = prefixes.copy_to(self.reading, self.cache, 1 if decode.any_pieces else CHUNK)
        self.unread = self.reading[known:]

    def choose(self) -> Written:
        """The next token, from the logits that reading ended with."""
        rules, logits = self.rules, self.logits
        assert logits is not None
        self.logits = None
        may_come = self._may_come()
        choosable = adjust(
            logits,
            rules.adjustment,
            self.prompt,
            self.written,
            banned=rules.banned,
            ends=rules.stop_ids,
            may_come=may_come,
        )
        if may_come is not None:
            check_left(choosable, may_come)
        position = len(self.prompt) + len(self.written)
        number = uniform(rules.seed, rules.row, position) if rules.sampling.temperature > 0 else 0.0
        id = choose(choosable, rules.sampling, number)
        if rules.watch:
            rules.watch(Seen(logits, choosable, id))
        self.written.append(id)
        self.unread = [id]
        if rules.follower and id not in rules.stop_ids:
            rules.follower.take(id)
            self.matched = rules.follower.complete
        self.done = self.done or self.matched or id in rules.stop_ids or len(self.written) == rules.max_tokens
        return Written(id, None if rules.logprobs is None else token_logprob(logits, id, rules.logprobs))

    def _may_come(self) -> Sequence[int] | IdArray | None:
        """What healing or a constraint leaves to choose from; None: anything."""
        if self.allowed:
            ids = self.allowed(self.written)
            if ids is None:
                self.allowed = None
            return ids
        return self.rules.follower.may_come(self.rules.stop_ids) if self.rules.follower else None

    def roll(self, context: int) -> None:
        """Where the context is full: the newest context // 2 tokens are read afresh, as if they were the whole text."""
        assert self.cache is not None
        if self.rules.roll and not self.done and self.cache.length == context:
            self.cache.reset()
            self.reading = []  # the cache no longer begins as the text does
            self.unread = [*self.prompt, *self.written][-rolled_length(context) :]

    def leave(self, decode: Decoder, prefixes: PrefixStore) -> None:
        """Gives the memory back, or on to texts that begin as this one: where pieces do not matter."""
        if self.cache is not None and self.reading and self.error is None and decode.any_pieces:
            prefixes.take([*self.reading, *self.written], self.cache)
        self.cache = None


class Batch:
    """Rows that are written together, at most `slots` at a time; a row that ends makes room for the next."""

    def __init__(self, decode: Decoder, *, slots: int = 32, prefixes: PrefixStore | None = None) -> None:
        self.decode, self.slots = decode, slots
        self.prefixes = prefixes or PrefixStore()
        self.waiting: deque[Row] = deque()
        self.rows: list[Row] = []

    @property
    def busy(self) -> bool:
        return bool(self.waiting or self.rows)

    def add(self, row: Row) -> None:
        self.waiting.append(row)

    def step(self) -> list[tuple[Row, Written | None]]:
        """One pass over the weights; what it wrote, each with its row; None beside a row that failed, see its `error`."""
        for row in self.rows:
            if row.done:
                row.leave(self.decode, self.prefixes)
        self.rows = [row for row in self.rows if not row.done]
        self._admit()
        self._read()
        result: list[tuple[Row, Written | None]] = []
        for row in self.rows:
            if row.logits is None or row.done:
                continue
            try:
                result.append((row, row.choose()))
            except (
                LmGenerateError
            ) as error:  # damaged weights, nothing left to choose: this row ends, others go on
                row.error, row.done = error, True
                result.append((row, None))
        return result

    def _admit(self) -> None:
        """Fills free slots, in order. A prompt that shares what a row is just reading waits for it, to copy it."""
        while self.waiting and len(self.rows) < self.slots:
            prompt = self.waiting[0].prompt
            if any(
                len(row.written) == 0 and shares(prompt, row.prompt, CHUNK) for row in self.rows if row.unread
            ):
                return
            row = self.waiting.popleft()
            if not row.done:
                row.start(self.decode, self.prefixes)
                self.rows.append(row)

    def _read(self) -> None:
        """Every row's next tokens, as many rows as fit into one pass."""
        work: list[Work] = []
        rows, total, started = [], 0, time.perf_counter()
        for row in sorted(self.rows, key=lambda row: len(row.unread)):
            row.roll(self.decode.config.context)
            chunk = row.unread[:CHUNK]
            if chunk and not row.done and (total == 0 or total + len(chunk) <= PASS_TOKENS):
                assert row.cache is not None
                work.append((row.cache, chunk))
                rows.append(row)
                total += len(chunk)
        for row, logits in zip(rows, self.decode(work) if work else [], strict=True):
            row.unread = row.unread[CHUNK:]
            row.logits = None if row.unread else logits
            if not row.written:
                row.prefill += time.perf_counter() - started
                if row.logits is not None and row.cache is not None and self.slots > 1:
                    self.prefixes.add(row.reading, row.cache, row.logits)


def rolled_length(context: int) -> int:
    """How many of the newest tokens are read afresh when the context is full: half, and at least one."""
    return max(1, context // 2)
