"""Token healing: a prompt may end inside a token of the text that it begins.

The model was trained on `def foo` as the tokens `def`, ` foo`. The prompt `def ` ends with the token ` `, behind
which no name ever came, so plain continuation starts off in a place the model has never seen. Healing takes
such unfinished tokens away again and lets the model write them anew, allowing only what agrees with the prompt:

    kept, rest = healer.split(ids)         tokens that no continuation can change; the bytes behind them
    healer.allowed(written, rest)          the ids that may come next while `rest` is being written anew; then None

`split` keeps everything up to the last place that no token of the vocabulary can reach across.
`allowed` follows the ways in which the tokenizer itself would cut a longer text: a token may come if there is a
continuation behind which the tokenizer writes it there, and if some token can follow that ends the rest.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence

from lm_tokenizer import Tokenizer

LONGEST_REST = 48
"""Bytes after which `split` goes back no further: a line of a thousand dashes is not written anew as a whole."""
CONTINUATIONS = (b"", b"x", b"0", b"!", b" ", b"\n")
"""One of each kind that a pre-tokenizer tells apart: what follows decides how white space before it is cut."""


class Healer:
    """Made once for a tokenizer: O(vocab_size log vocab_size)."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        special = set(tokenizer.special_tokens.values())
        self._tokenizer = tokenizer
        self._bytes = {id: data for id, data in tokenizer.vocab.items() if id not in special and data}
        self._ids = {data: id for id, data in self._bytes.items()}
        self._sorted = sorted(self._ids)
        self._longest = max(map(len, self._sorted), default=0)

    def split(self, ids: Sequence[int]) -> tuple[list[int], bytes]:
        """The ids that stay whatever comes next, and the bytes of those that do not."""
        kept = list(ids)
        rest = b""
        while kept and kept[-1] in self._bytes and len(rest) < LONGEST_REST:
            before = b"".join(self._bytes.get(id, b"") for id in kept[-self._longest :])
            if not self._crosses(before, rest):
                break
            rest = self._bytes[kept.pop()] + rest
        return kept, rest

    def allowed(self, written: Sequence[int], rest: bytes) -> list[int] | None:
        """Ids that may follow `written`, the tokens chosen since `split`; None once they cover `rest`."""
        done = sum(len(self._bytes[id]) for id in written)
        if done >= len(rest):
            return None
        return list(self._next(list(written), rest[done:]))

    def _next(self, path: list[int], rest: bytes) -> Iterator[int]:
        """The ids that may follow the tokens of `path` when `rest` is still to be written."""
        for data in self._beginning_with(rest):
            if self._is_written(path, self._ids[data]):
                yield self._ids[data]
        for length in range(1, min(len(rest) - 1, self._longest) + 1):  # tokens that end inside the rest
            id = self._ids.get(rest[:length])
            if id is None or not self._is_written(path, id):
                continue
            if next(self._next([*path, id], rest[length:]), None) is not None:
                yield id

    def _is_written(self, path: list[int], id: int) -> bool:
        """Whether some text that begins with these bytes is cut by the tokenizer into `path`, `id`, and more."""
        tokens = [*path, id]
        data = b"".join(self._bytes[token] for token in tokens)
        return any(
            list(self._tokenizer.encode_bytes(data + more))[: len(tokens)] == tokens for more in CONTINUATIONS
        )

    def _crosses(self, before: bytes, rest: bytes) -> bool:
        """Whether a token can begin inside `before` and end behind it, in agreement with `rest` and what may follow."""
        for start in range(max(0, len(before) - self._longest + 1), len(before)):
            head = before[start:]
            if self._beginning_with(head + rest, longer=not rest):
                return True
            if any(head + rest[:length] in self._ids for length in range(1, len(rest))):
                return True
        return False

    def _beginning_with(self, data: bytes, *, longer: bool = False) -> list[bytes]:
        """All tokens that begin with `data`; with `longer`, only those that go on behind it."""
        start = bisect_left(self._sorted, data)
        stop = start
        while stop < len(self._sorted) and self._sorted[stop].startswith(data):
            stop += 1
        found = self._sorted[start:stop]
        return found[1:] if longer and found and found[0] == data else found
