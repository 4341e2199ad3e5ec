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

import numpy as np
from lm_tokenizer import Documents

from lm_train.permutation import keyed_below, keyed_below_each
from lm_train.texts.blocks import Block
from lm_train.texts.text_files import Piece

SplitPiece = tuple[str, str, bool]
"""(split, text, whether a document ends with it)"""

_KEY = "lm-train held out"


@dataclass(frozen=True)
class HeldOut:
    """A rule, ready to be applied. `every`: documents in a group; `train_bytes`: where the tail begins."""

    rule: Literal["documents", "tail", "none"]
    every: int = 0
    train_bytes: int = 0
    seed: int = 0


def documents_in_group(share: float) -> int:
    """Of so many documents in a row one is held out; with fewer, the tail is. 1 when nothing is held out."""
    return max(2, round(1 / share)) if share else 1


def choose_rule(documents: int, text_bytes: int, share: float, seed: int) -> HeldOut:
    if share == 0:
        return HeldOut("none")
    every = documents_in_group(share)
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
            chosen = document + keyed_below(held_out.every, _KEY, held_out.seed, group)
            group_end += held_out.every
        yield "valid" if document == chosen else "train", text, last
        document += last


def split_block(block: Block, held_out: HeldOut) -> list[tuple[str, Documents]]:
    """The documents of a block by splits: what `split_pieces` does, piece by piece."""
    documents = block.documents
    if held_out.rule == "documents":
        n, end = held_out.every, block.first + len(documents)
        groups = range(block.first // n, -(-end // n))
        places = keyed_below_each(n, _KEY, held_out.seed, each=groups)
        chosen = (group * n + place - block.first for group, place in zip(groups, places, strict=True))
        valid, train = documents.split([place for place in chosen if 0 <= place < len(documents)])
        return [("train", train), ("valid", valid)]
    if held_out.rule == "none" or (left := held_out.train_bytes - block.start) >= documents.text_bytes:
        return [("train", documents)]
    if left < 0:
        return [("valid", documents)]
    train, valid = documents.split_at(_tail_start(block, left))
    return [("train", train), ("valid", valid)]


def _tail_start(block: Block, left: int) -> int:
    """Bytes of the block that come before the tail, which begins in it, at or before `left`."""
    ends = np.cumsum(block.documents.lengths())
    place = int(np.searchsorted(ends, left, side="right"))  # of the document that holds byte `left`
    before = int(ends[place - 1]) if place else 0
    text = block.documents[place].decode()
    at = len(text[: _line_start(text, left - before)].encode())
    begun = block.goes_on and before == 0
    return before + (
        at or (len(text[0].encode()) if begun else 0)
    )  # what has begun to be trained on ends with a text


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
