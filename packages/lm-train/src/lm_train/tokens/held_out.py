"""Which text is held out for validation: one rule for many documents, one for few, or a text of its own.

  documents   with at least n = round(1 / share) of them: of each n documents in a row one is held out, chosen by a keyed hash
  tail        with fewer: the last `share` of all text, cut after a line (a book, a play: the model sees the beginning)
  none        share 0, or a text of its own is given

The rule depends on nothing but the documents' count and bytes, the share and the seed, so the split is the same each time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from lm_train.permutation import keyed_below
from lm_train.texts.text_files import Piece

SplitPiece = tuple[str, str, bool]
"""(split, text, whether a document ends with it)"""


@dataclass(frozen=True)
class HeldOut:
    """A rule, ready to be applied. `every`: documents in a group; `train_bytes`: where the tail begins."""

    rule: Literal["documents", "tail", "none"]
    every: int = 0
    train_bytes: int = 0
    seed: int = 0


def choose_rule(documents: int, text_bytes: int, share: float, seed: int) -> HeldOut:
    if share == 0:
        return HeldOut("none")
    every = max(2, round(1 / share))
    if documents >= every:
        return HeldOut("documents", every=every, seed=seed)
    return HeldOut("tail", train_bytes=text_bytes - int(text_bytes * share))


def split_pieces(pieces: Iterator[Piece], held_out: HeldOut) -> Iterator[SplitPiece]:
    """Each piece with its split. Documents stay in order; only the tail rule ever cuts one, and then in two documents."""
    if held_out.rule == "tail":
        yield from _cut_tail(pieces, held_out.train_bytes)
        return
    if held_out.rule == "none":
        for text, last in pieces:
            yield "train", text, last
        return
    document, chosen, group_end = (
        0,
        -1,
        0,
    )  # of the group of documents that ends at `group_end`, `chosen` is held out
    for text, last in pieces:
        if document == group_end:
            group = document // held_out.every
            chosen = document + keyed_below(held_out.every, "lm-train held out", held_out.seed, group)
            group_end += held_out.every
        yield "valid" if document == chosen else "train", text, last
        document += last


def _cut_tail(pieces: Iterator[Piece], train_bytes: int) -> Iterator[SplitPiece]:
    left = train_bytes
    for text, last in pieces:
        size = len(text.encode())
        if left < 0 or size <= left:
            yield "valid" if left < 0 else "train", text, last
            left -= size if left >= 0 else 0
            continue
        at = _line_start(text, left)
        if at:
            yield "train", text[:at], True
        left = -1
        if at < len(text):
            yield "valid", text[at:], last


def _line_start(text: str, limit: int) -> int:
    """The last place within the first `limit` UTF-8 bytes that follows a line end; or a space; or any character."""
    end = len(text.encode()[:limit].decode(errors="ignore"))
    for mark in ("\n", " "):
        if at := text.rfind(mark, 0, end) + 1:
            return at
    return end
