"""What a run has read, held against what it should have: every piece of text once an epoch, each where one process has it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from lm_train.batches import Batches, samples_of
from lm_train.mixture import BLOCK, Mixture
from lm_train.permutation import Indices
from lm_train.run_errors import OrderError


@dataclass(frozen=True)
class Read:
    """Rows of a batch: of each the text that it is from (0 without a mixture) and its epoch there; and the pieces of text that they are made of.

    Of each piece, in their order: its row, the token that it begins at, and its tokens. A window is one piece, a packed row some.
    """

    texts: npt.NDArray[np.int16]
    epochs: npt.NDArray[np.int32]
    rows: npt.NDArray[np.int32]
    starts: Indices
    lengths: npt.NDArray[np.int32]


@dataclass(frozen=True)
class Proof:
    """How much was checked: rows, the pieces of text in them, and epochs of the first text."""

    rows: int
    pieces: int
    epochs: float


def rows_read(batches: Batches | Mixture, samples: Indices) -> Read:
    """What these samples of the run are made of, as their reader looks it up."""
    parts = _texts(batches)
    texts, own = np.zeros_like(samples), samples
    if not isinstance(batches, Batches):
        texts, own = batches.assigned(samples)
    epochs, found = np.empty(len(own), np.int32), []
    for number in np.unique(texts):
        here = np.flatnonzero(texts == number)
        rows, starts, lengths = parts[number].spans(own[here])
        epochs[here] = own[here] // parts[number].windows
        found.append((here[rows], starts, lengths))
    rows, starts, lengths = (np.concatenate(each) for each in zip(*found, strict=True))
    if len(found) > 1:
        order = np.argsort(rows, kind="stable")
        rows, starts, lengths = rows[order], starts[order], lengths[order]
    return Read(texts.astype(np.int16), epochs, rows.astype(np.int32), starts, lengths.astype(np.int32))


def _texts(batches: Batches | Mixture) -> list[Batches]:
    return [batches] if isinstance(batches, Batches) else batches.parts


def prove_order(read: list[Read], batches: Batches | Mixture, steps: int) -> Proof:
    """`read` has what each step of the finished run had read, in the order of training. Raises OrderError.

    Two ways: it is step by step what a single process reads; and, whatever that is, in each epoch of each text every piece comes once,
    and no token is in two. The last epoch is not full; of a mixture the one before may lack rows of the last block.
    """
    if len(read) != steps:
        raise OrderError(f"the weights have seen {len(read):,} batches after {steps:,} steps")
    size = batches.batch_size
    for step, ranks in enumerate(read):
        one = rows_read(batches, samples_of(step, 0, size, size))
        if difference := _difference(ranks, one):
            raise OrderError(
                f"the ranks' rows of step {step:,} are not the batch that one process has: {difference}"
            )
    texts = _texts(batches)
    row_text = np.concatenate([ranks.texts for ranks in read])
    row_epoch = np.concatenate([ranks.epochs for ranks in read])
    starts = np.concatenate([ranks.starts for ranks in read])
    lengths = np.concatenate([ranks.lengths for ranks in read])
    piece_text = np.concatenate([ranks.texts[ranks.rows] for ranks in read])
    piece_epoch = np.concatenate([ranks.epochs[ranks.rows] for ranks in read])
    for number, text in enumerate(texts):
        last = int(row_epoch[row_text == number].max(initial=-1))
        for epoch in range(last + 1):
            rows = int(((row_text == number) & (row_epoch == epoch)).sum())
            here = (piece_text == number) & (piece_epoch == epoch)
            missing_rows = text.windows - rows
            may_lack = epoch == last or (len(texts) > 1 and 0 < missing_rows <= BLOCK)
            _prove_epoch(
                starts[here], lengths[here], text.pieces, may_lack, f"epoch {epoch} of text {number}"
            )
    return Proof(len(row_text), len(starts), int((row_text == 0).sum()) / texts[0].windows)


def _prove_epoch(
    starts: Indices, lengths: npt.NDArray[np.int32], pieces: int, may_lack: bool, where: str
) -> None:
    order = np.argsort(starts)
    starts, ends = starts[order], starts[order] + lengths[order]
    repeated = int((starts[1:] == starts[:-1]).sum())
    lost = 0 if may_lack else pieces - len(starts) + repeated
    gaps = starts[1:] - ends[:-1]
    if repeated or lost or (gaps < 0).any() or (not may_lack and (gaps > 0).any()):
        raise OrderError(
            f"{where}: {repeated:,} of {pieces:,} pieces of text came twice and {lost:,} never, or they overlap or leave a gap"
        )


def _difference(ranks: Read, one: Read) -> str | None:
    if len(ranks.texts) != len(one.texts):
        return f"{len(ranks.texts):,} rows instead of {len(one.texts):,}"
    if len(ranks.starts) != len(one.starts):
        return f"{len(ranks.starts):,} pieces of text instead of {len(one.starts):,}"
    same_text = ranks.texts[ranks.rows] == one.texts[one.rows]
    same_place = (ranks.rows == one.rows) & (ranks.starts == one.starts) & (ranks.lengths == one.lengths)
    wrong = np.flatnonzero(~(same_text & same_place))
    if not len(wrong):
        return None
    place = int(wrong[0])
    return f"row {ranks.rows[place]} has token {ranks.starts[place]:,} where it should have {one.starts[place]:,}"
