"""One request's rows on the event loop's side: tokens come in as the worker makes them, parts of answers go out.

A part holds the text that can be shown and the tokens that begin inside what is shown: where text is held back,
because it may become a stop string or is half a character, its tokens are held back too, and those of a stop
string are never told. So the tokens of an answer, joined, are its text.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from lm_generate.engine import Engine
from lm_generate.explain import Explained
from lm_generate.generate import Written
from lm_generate.results import Generation
from lm_generate.serving.worker import Ended, Piece
from lm_generate.stream import Text


@dataclass(frozen=True)
class Placed:
    """A token and the character of the row's text at which it begins."""

    offset: int
    token: Written
    account: Explained | None


@dataclass(frozen=True)
class Part:
    """What one event adds to a row; `result` with its last."""

    text: str
    tokens: Sequence[Placed] = ()
    result: Generation | None = None


class RowText:
    """Keeps the place of each token of a row; without `places` its parts tell of no tokens."""

    def __init__(self, engine: Engine, text: Text, *, places: bool) -> None:
        self._places = places
        self._stop_ids, self._skip = text.row.rules.stop_ids, text.plan.skip
        self._decoder = engine.tokenizer.stream()
        for id in text.row.prompt:
            self._decoder.push(id)
        self._decoded = 0
        self._shown = 0
        self._held: deque[Placed] = deque()

    def add(self, event: Piece | Ended) -> Part:
        if not self._places:
            return Part(event.text, (), event.result if isinstance(event, Ended) else None)
        self._shown += len(event.text)
        if isinstance(event, Ended):
            by_string = isinstance(event.result.stopped_by, str)
            while self._held and by_string and self._held[-1].offset >= self._shown:
                self._held.pop()
            tokens, self._held = tuple(self._held), deque()
            return Part(event.text, tokens, event.result)
        self._held.append(Placed(max(0, self._decoded - self._skip), event.token, event.account))
        if event.token.id not in self._stop_ids:
            self._decoded += len(self._decoder.push(event.token.id))
        shown = []
        while self._held and self._held[0].offset < self._shown:
            shown.append(self._held.popleft())
        return Part(event.text, shown)
