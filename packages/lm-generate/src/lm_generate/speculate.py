"""Speculation: a cheap guess at the next tokens, checked by the model in one pass instead of one pass each.

    batch = Speculation(decode, PromptLookup())       one text; tokens come several at a step where guesses were right

A pass reads the token written last and the guessed ones behind it, and gives the logits after each. Then tokens are chosen from
these logits exactly as they would have been, with the random numbers of their own positions, for as long as the choice is
the guess. Guesses decide only how many choices a pass yields, never what they are: with the native kernel, where a pass gives a
token the same bits in any company, the text is bit for bit the text without speculation, and so is its distribution.

Leviathan et al. 2023, https://arxiv.org/abs/2211.17192, and Chen et al. 2023, https://arxiv.org/abs/2302.01318, accept by a
random test, which keeps the distribution but not the text. Prompt lookup: Saxena 2023, https://github.com/apoorvumang/prompt-lookup-decoding.
"""

from collections.abc import Sequence
from typing import Protocol

from lm_core import KVCache

from lm_generate.adjust import adjust
from lm_generate.decoder import Decoder
from lm_generate.errors import LmGenerateError
from lm_generate.generate import Batch, Row, Written
from lm_generate.prefix import PrefixStore
from lm_generate.rng import uniform
from lm_generate.sampling import choose

GUESSES = 5
"""Tokens guessed at a time."""
LONGEST = 3
"""Tokens of the longest ending that is looked up."""


class Drafter(Protocol):
    """What guesses. One for each text."""

    def guess(self, row: Row, count: int) -> Sequence[int]:
        """At most `count` tokens that may follow the row's prompt and what is written; none where it has no idea."""
        ...


class PromptLookup:
    """Guesses what followed when the last tokens, three or fewer, stood in the text before: for texts that repeat themselves."""

    def __init__(self) -> None:
        self._places: dict[tuple[int, ...], int] = {}  # what stood there -> where it last went on
        self._known = 0

    def guess(self, row: Row, count: int) -> Sequence[int]:
        ids = [*row.prompt, *row.written]
        for end in range(max(1, self._known), len(ids)):  # the text's own ending has no continuation yet
            for length in range(1, min(LONGEST, end) + 1):
                self._places[tuple(ids[end - length : end])] = end
        self._known = len(ids)
        for length in range(min(LONGEST, len(ids)), 0, -1):
            place = self._places.get(tuple(ids[-length:]))
            if place is not None:
                return ids[place : place + count]
        return ()


class DraftModel:
    """Guesses what a smaller model would write, with the text's own settings and random numbers."""

    def __init__(self, decode: Decoder) -> None:
        self._decode = decode
        self._cache: KVCache | None = None
        self._read: list[int] = []

    def guess(self, row: Row, count: int) -> Sequence[int]:
        ids, rules = [*row.prompt, *row.written], row.rules
        context = self._decode.config.context
        if len(ids) + count > context:
            return ()
        self._cache = self._cache or self._decode.new_cache(context)
        known = 0
        while known < min(len(self._read), len(ids) - 1) and self._read[known] == ids[known]:
            known += 1
        self._cache.truncate(known)  # forgets guesses that were wrong
        written = list(row.written)
        new = ids[known:]
        for _ in range(count):
            (logits,) = self._decode([(self._cache, new)])
            choosable = adjust(
                logits, rules.adjustment, row.prompt, written, banned=rules.banned, ends=rules.stop_ids
            )
            number = uniform(rules.seed, rules.row, len(row.prompt) + len(written))
            written.append(choose(choosable, rules.sampling, number))
            new = written[-1:]
        guessed = written[len(row.written) :]
        self._read = [*ids, *guessed[:-1]]
        return guessed


class Speculation(Batch):
    """A batch of one text at a time whose steps write several tokens where guesses are right."""

    def __init__(self, decode: Decoder, drafter: Drafter, *, prefixes: PrefixStore | None = None) -> None:
        super().__init__(decode, slots=1, prefixes=prefixes)
        self.drafter = drafter

    def step(self) -> list[tuple[Row, Written | None]]:
        """As `Batch.step`; a row that was ended from outside may have written more than was wanted."""
        for row in self.rows:
            cache = row.cache
            if not row.done and row.written and len(row.unread) == 1 and cache is not None:
                left = min(row.rules.max_tokens - len(row.written), cache.capacity - cache.length) - 1
                guesses = self.drafter.guess(row, min(GUESSES, left)) if left > 0 else ()
                if guesses:
                    return self._check(row, cache, guesses)
        return super().step()

    def _check(self, row: Row, cache: KVCache, guesses: Sequence[int]) -> list[tuple[Row, Written | None]]:
        start, result = cache.length, list[tuple[Row, Written | None]]()
        all_logits = self.decode.after_each(cache, [*row.unread, *guesses])
        for right, logits in enumerate(all_logits):
            row.logits = logits
            try:
                written = row.choose()
            except LmGenerateError as error:
                row.error, row.done = error, True
                return [*result, (row, None)]
            result.append((row, written))
            if row.done or right == len(guesses) or written.id != guesses[right]:
                break
        cache.truncate(start + right + 1)
        return result
