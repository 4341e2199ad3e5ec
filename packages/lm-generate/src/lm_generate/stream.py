"""From tokens to text as it comes: whole characters only, nothing of a stop string, and at the end the result."""

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

from lm_tokenizer import Tokenizer

from lm_generate.generate import TokenLogprob, Written
from lm_generate.results import FinishReason, Generation, Timings
from lm_generate.stop import StopStrings


class TextStream:
    """An iterator over pieces of text. `result` is the whole `Generation` once it has ended, None before.

    Joined, the pieces are `result.text`. No piece is empty and none ends inside a character. Each `next` computes
    only what it needs, so leaving the loop early stops the work.
    """

    def __init__(self, pieces: Generator[str, None, Generation]) -> None:
        self._pieces = pieces
        self.result: Generation | None = None

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self.result is not None:
            raise StopIteration
        try:
            return next(self._pieces)
        except StopIteration as end:
            self.result = end.value
            raise StopIteration from None

    def finish(self) -> Generation:
        """Runs to the end, dropping the pieces; the result."""
        for _ in self:
            pass
        assert self.result is not None
        return self.result


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What `pieces` needs to know beside the tokens themselves."""

    seen: Sequence[int]
    """Tokens before the first one written: the decoder starts behind them, perhaps inside a character."""
    skip: int
    """Characters at the beginning that repeat the end of the prompt (token healing writes them anew)."""
    stop_strings: Sequence[str]
    stop_ids: frozenset[int]
    with_logprobs: bool
    ran_out: FinishReason
    """The reason when neither an id nor a string stopped it."""
    seed: int
    row: int
    called: float
    """`time.perf_counter()` at the call."""


def pieces(
    tokenizer: Tokenizer, written: Iterator[Written], plan: Plan, prefill: Sequence[float]
) -> Generator[str, None, Generation]:
    """Yields the text of `written` piece by piece and returns the `Generation`.

    `prefill` holds the seconds of the prompt, once the first token has come.
    """
    decoder = tokenizer.stream()
    for id in plan.seen:
        decoder.push(id)
    stops = StopStrings(plan.stop_strings)
    skip, text = plan.skip, ""
    ids: list[int] = []
    logprobs: list[TokenLogprob] = []
    stopped_by: str | int | None = None
    first = 0.0

    for token in written:
        first = first or time.perf_counter()
        if token.id in plan.stop_ids:
            stopped_by = token.id
            break
        ids.append(token.id)
        if token.logprob is not None:
            logprobs.append(token.logprob)
        fresh = decoder.push(token.id)
        piece, skip = stops.push(fresh[skip:]), max(0, skip - len(fresh))
        text += piece
        if piece:
            yield piece
        if stops.found is not None:
            stopped_by = stops.found
            break
    if stops.found is None:
        piece = stops.push(decoder.finish()[skip:]) + stops.finish()
        stopped_by = stopped_by if stops.found is None else stops.found
        text += piece
        if piece:
            yield piece

    now = time.perf_counter()
    return Generation(
        text=text,
        ids=tuple(ids),
        finish_reason=plan.ran_out if stopped_by is None else "stop",
        stopped_by=stopped_by,
        prompt_tokens=len(plan.seen),
        seed=plan.seed,
        row=plan.row,
        logprobs=tuple(logprobs) if plan.with_logprobs else None,
        timings=Timings(sum(prefill), (first or now) - plan.called, now - plan.called),
    )
