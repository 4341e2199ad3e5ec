"""What a run has read, held against what it should have: every window of every epoch once, each where one process has it."""

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
    """Rows of a batch: the text that each is from (0 without a mixture), its epoch there, and the token its window begins at."""

    texts: npt.NDArray[np.int16]
    epochs: npt.NDArray[np.int32]
    starts: Indices


@dataclass(frozen=True)
class Proof:
    """How much was checked: windows, and epochs of the first text."""

    windows: int
    epochs: float


def rows_read(batches: Batches | Mixture, samples: Indices) -> Read:
    """Where these samples of the run lie, as their reader looks them up."""
    if isinstance(batches, Batches):
        epochs = (samples // batches.windows).astype(np.int32)
        return Read(np.zeros(len(samples), np.int16), epochs, batches.starts(samples))
    texts, own = batches.assigned(samples)
    starts, epochs = np.empty_like(own), np.empty(len(own), np.int32)
    for number in np.unique(texts):
        here, text = texts == number, batches.parts[number]
        starts[here], epochs[here] = text.starts(own[here]), own[here] // text.windows
    return Read(texts.astype(np.int16), epochs, starts)


def prove_order(read: list[Read], batches: Batches | Mixture, steps: int) -> Proof:
    """`read` has what each step of the finished run had read, in the order of training. Raises OrderError.

    Two ways: it is step by step what a single process reads; and, whatever that is, each epoch of each text holds each of its windows
    once, one every `context` tokens. The last epoch is not full; of a mixture the one before may lack windows of the last block.
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
    whole = Read(
        np.concatenate([ranks.texts for ranks in read]),
        np.concatenate([ranks.epochs for ranks in read]),
        np.concatenate([ranks.starts for ranks in read]),
    )
    texts = [batches] if isinstance(batches, Batches) else batches.parts
    for number, text in enumerate(texts):
        here = whole.texts == number
        spare = BLOCK if len(texts) > 1 else 0
        _prove_epochs(whole.starts[here], whole.epochs[here], text, number, spare)
    return Proof(len(whole.starts), int((whole.texts == 0).sum()) / texts[0].windows)


def _prove_epochs(
    starts: Indices, epochs: npt.NDArray[np.int32], text: Batches, number: int, spare: int
) -> None:
    last = int(epochs.max(initial=-1))
    for epoch in range(last + 1):
        found = np.sort(starts[epochs == epoch])
        gaps = np.diff(found)
        repeated = int((gaps == 0).sum())
        missing = text.windows - len(found) + repeated
        lost = missing if missing > spare and epoch < last else 0
        if repeated or lost or (gaps % text.context).any() or np.ptp(found) >= text.windows * text.context:
            raise OrderError(
                f"epoch {epoch} of text {number}: {repeated:,} of {text.windows:,} windows came twice and {lost:,} never, or they overlap"
            )


def _difference(ranks: Read, one: Read) -> str | None:
    if len(ranks.starts) != len(one.starts):
        return f"{len(ranks.starts):,} rows instead of {len(one.starts):,}"
    wrong = np.flatnonzero((ranks.texts != one.texts) | (ranks.starts != one.starts))
    if not len(wrong):
        return None
    row = int(wrong[0])
    return f"row {row} begins at token {ranks.starts[row]:,} instead of {one.starts[row]:,}"
