"""From tokens to text as it comes: whole characters only, nothing of a stop string, and at the end the result."""

import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

from lm_tokenizer import Tokenizer

from lm_generate.generate import Batch, Row, Written
from lm_generate.logprob import TokenLogprob
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
    """What `Text` needs to know beside the tokens themselves."""

    skip: int
    """Characters at the beginning that repeat the end of the prompt (token healing writes them anew)."""
    stop_strings: Sequence[str]
    ran_out: FinishReason
    """The reason when neither an id nor a string stopped it."""
    called: float
    """`time.perf_counter()` at the call."""


class Text:
    """The text of one row: `push` each token and show what comes back, until the row is done; then `finish`."""

    def __init__(self, tokenizer: Tokenizer, row: Row, plan: Plan) -> None:
        self._tokenizer, self.row, self.plan = tokenizer, row, plan
        self.text = ""
        self._decoder = tokenizer.stream()
        for id in row.prompt:  # the text begins behind them, perhaps inside a character
            self._decoder.push(id)
        self._stops = StopStrings(plan.stop_strings)
        self._skip = plan.skip
        self._ids: list[int] = []
        self._logprobs: list[TokenLogprob] = []
        self._stopped_by: str | int | None = None
        self._first: float | None = None

    def again(self) -> "Text":
        """The same, at its beginning, for another row of the same prompt and rules."""
        return Text(self._tokenizer, Row(self.row.prompt, self.row.rules), self.plan)

    def stops_within(self, ids: Sequence[int]) -> bool:
        """Whether these tokens would complete a stop string."""
        other = self.again()
        for id in ids:
            other.push(Written(id))
        return other.row.done

    def push(self, token: Written) -> str:
        """The characters that can now be shown; ends the row when a stop string is complete."""
        if self._stops.found is not None:  # a step of several tokens went on behind it
            return ""
        self._first = self._first or time.perf_counter()
        if token.id in self.row.rules.stop_ids:
            self._stopped_by = token.id
            return ""
        self._ids.append(token.id)
        if token.logprob is not None:
            self._logprobs.append(token.logprob)
        piece = self._pass(self._decoder.push(token.id))
        if self._stops.found is not None:
            self.row.done = True
        return piece

    def finish(self) -> tuple[str, Generation]:
        """The last characters, which were held back, and the whole. Raises what ended the row, if it failed."""
        if self.row.error is not None:
            raise self.row.error
        piece = ""
        if self._stops.found is None:
            piece = self._pass(self._decoder.finish())
            rest = self._stops.finish()
            self.text += rest
            piece += rest
        if self._stops.found is not None:
            self._stopped_by = self._stops.found
        rules, now = self.row.rules, time.perf_counter()
        return piece, Generation(
            text=self.text,
            ids=tuple(self._ids),
            finish_reason=self._reason(),
            stopped_by=self._stopped_by,
            prompt_tokens=len(self.row.prompt),
            seed=rules.seed,
            row=rules.row,
            logprobs=None if rules.logprobs is None else tuple(self._logprobs),
            timings=Timings(
                self.row.prefill, (self._first or now) - self.plan.called, now - self.plan.called
            ),
        )

    def _reason(self) -> FinishReason:
        if self._stopped_by is not None:
            return "stop"
        return "match" if self.row.matched else self.plan.ran_out

    def _pass(self, fresh: str) -> str:
        piece, self._skip = self._stops.push(fresh[self._skip :]), max(0, self._skip - len(fresh))
        self.text += piece
        return piece


def pieces(batch: Batch, text: Text) -> Generator[str, None, Generation]:
    """Writes the one row of a batch: yields its text piece by piece and returns the `Generation`."""
    batch.add(text.row)
    while batch.busy:
        for _, token in batch.step():
            if token is not None and (piece := text.push(token)):
                yield piece
    piece, result = text.finish()
    if piece:
        yield piece
    return result
