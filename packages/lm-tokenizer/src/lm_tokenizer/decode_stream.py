"""Ids to text as they come, one at a time, never in the middle of a character; and where in the text each begins."""

import codecs
from itertools import accumulate

from lm_tokenizer import _rust
from lm_tokenizer.errors import TokenizerError


class DecodeStream:
    """Gives out text as soon as its characters are whole; what it gives, joined, is what `Tokenizer.decode` gives.

    One token may hold a part of a character only (an emoji is often three). Such bytes are kept until the rest has
    come; bytes that can never become a character come out as U+FFFD.
    """

    def __init__(self, core: _rust.Core) -> None:
        """Not for callers: `Tokenizer.stream()` makes streams."""
        self._token_bytes = core.token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, id: int) -> str:
        """The text that is complete once this id has come; often "", sometimes several characters."""
        return self._decoder.decode(self._token_bytes(id))

    def finish(self) -> str:
        """What is left, as U+FFFD, when no more ids will come; the stream may then be used anew."""
        rest = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return rest


def decoded_with_offsets(core: _rust.Core, ids: list[int], unit: str) -> tuple[str, list[int]]:
    """See `Tokenizer.decode_with_offsets`."""
    if unit not in ("characters", "bytes"):
        raise TokenizerError(f'unit must be "characters" or "bytes", not {unit!r}')
    text, starts = core.decode_with_offsets(ids)
    if unit == "bytes":
        starts = list(accumulate((len(core.token_bytes(id)) for id in ids), initial=0))[:-1]
    return text, starts
