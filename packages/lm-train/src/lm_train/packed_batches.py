"""Batches of whole documents (`--order packed`): rows of best fit, each beginning at a document, each token predicted once an epoch.

A document of n tokens, its end-of-text among them, takes n places of a row: the inputs are the token before it, the end-of-text of the
document before, and its tokens but the last; the targets are its tokens. Which lengths share a row is the same in every epoch
(packing.py); which documents of these lengths, and in which order the rows come, each epoch's key decides. So the step is still all that
has to be known. docs/data-order.md is the specification.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import torch
from lm_core import IGNORED

from lm_train.batches import ORDER_VERSION, Batch, Batches
from lm_train.dataset import TokenDataset
from lm_train.errors import DatasetError, TooFewTokensError
from lm_train.packing import best_fit, cut
from lm_train.permutation import Indices, Permutation, hashed, keyed_words

_CUT_AT_ONCE = 1 << 18  # documents
_EPOCHS_KEPT = 2
_ANY_NUMBER = 1 << 62


class PackedBatches(Batches):
    """Training batches of whole documents. Held in memory: 8 bytes for each document, or piece of one longer than the context.

    windows      rows an epoch, the same number in every epoch
    documents    in an epoch;   pieces: the same, and more where a document was cut
    apart        whether batches have a third tensor, (batch, context), with a number for each document of a row
    """

    def __init__(
        self,
        dataset: TokenDataset,
        *,
        context: int,
        batch: int,
        seed: int,
        split: str = "train",
        apart: bool = True,
    ) -> None:
        self.apart = apart
        super().__init__(dataset, context=context, batch=batch, seed=seed, split=split)

    def _lay_out(self) -> None:
        dataset, room = self.dataset, self.context
        if dataset.end_of_text is None:
            raise DatasetError(
                f"{dataset.folder} has no end-of-text token between documents, or does not say where they end: its documents "
                "cannot be packed; prepare the text again, or use --order windows"
            )
        self.end_of_text: int = dataset.end_of_text
        counts, self.documents = np.zeros(room + 1, np.int64), 0
        for _, lengths, documents in self._cut():
            counts += np.bincount(lengths, minlength=room + 1)
            self.documents += documents
        self.pieces = int(counts.sum())
        if not self.pieces:
            raise TooFewTokensError(
                f"{dataset.folder} has no document in its {self.split} split; give more text, or --order windows"
            )
        self._edges = np.cumsum(counts) - counts  # where the pieces of each length begin in _starts
        self._counts, free = counts, self._edges.copy()
        self._starts = np.empty(self.pieces, np.uint64)
        for starts, lengths, _ in self._cut():
            order = np.argsort(lengths, kind="stable")
            here = np.bincount(lengths, minlength=room + 1)
            place = np.arange(len(order)) - np.repeat(np.cumsum(here) - here, here)
            self._starts[free[lengths[order]] + place] = starts[order]
            free += here
        self._groups = best_fit(counts)
        self._filled = np.array([group.filled for group in self._groups])
        self._rows = np.array([group.rows for group in self._groups])
        self._ends = np.cumsum(self._rows)
        self._slots = np.array(
            [slot for group in self._groups for slot in group.slots]
        )  # (length, times, first)
        self._slots_in = np.array([len(group.slots) for group in self._groups])
        self.windows = int(self._ends[-1])

    def _cut(self) -> Iterator[tuple[Indices, Indices, int]]:
        """(starts, lengths) of the pieces of some documents after the other, and how many documents."""
        start = 0
        for ends in self.dataset.document_ends_by_file(self.split):
            for at in range(0, len(ends), _CUT_AT_ONCE):
                part = ends[at : at + _CUT_AT_ONCE].astype(np.int64)
                yield *cut(part, start, self.context), len(part)
                start = int(part[-1])

    @property
    def efficiency(self) -> float:
        """The share of the places that hold tokens; the others are padding, which is in no loss."""
        return self.dataset.tokens(self.split) / (self.windows * self.context)

    @property
    def tokens_per_step(self) -> float:
        return self.batch_size * self.context * self.efficiency

    def pieces_of(self, sample: int) -> list[tuple[int, int]]:
        """(start in the split, length) of each piece of a sample's row, in their order in it."""
        epoch, place = divmod(sample, self.windows)
        row = int(self._order(epoch, 0)(place))
        group = int(np.searchsorted(self._ends, row, side="right"))
        slots = self._groups[group].part(row - int(self._ends[group]) + self._groups[group].rows, 1).slots
        starts, lengths = [], []
        for length, times, first in slots:
            picked = self._order(epoch, length)(np.arange(first, first + times))
            starts.append(self._starts[self._edges[length] + picked].astype(np.int64))
            lengths.append(np.full(times, length))
        found = np.concatenate(starts)
        order = np.argsort(hashed(found, self._word(epoch), _ANY_NUMBER), kind="stable")
        return list(zip(found[order].tolist(), np.concatenate(lengths)[order].tolist(), strict=True))

    def starts(self, samples: Indices) -> Indices:
        """Where the first document of each row begins in the split, in tokens."""
        return np.array([self.pieces_of(int(sample))[0][0] for sample in samples], np.int64)

    def spans(self, samples: Indices) -> tuple[Indices, Indices, Indices]:
        """`pieces_of` each sample, for many at once."""
        epochs, places = np.divmod(samples, self.windows)
        found = [
            self._spans(int(epoch), np.flatnonzero(epochs == epoch), places[epochs == epoch])
            for epoch in np.unique(epochs)
        ]
        rows, starts, lengths, order = (np.concatenate(each) for each in zip(*found, strict=True))
        sorted_ = np.lexsort((order, rows))
        return rows[sorted_], starts[sorted_], lengths[sorted_]

    def _spans(self, epoch: int, here: Indices, places: Indices) -> tuple[Indices, ...]:
        """(row, start, length, place in the row) of each piece of rows `here`, which are at `places` of an epoch."""
        rows = self._order(epoch, 0)(places)
        group = np.searchsorted(self._ends, rows, side="right")
        within = rows - (self._ends - self._rows)[group]
        row = np.repeat(np.arange(len(rows)), self._slots_in[group])  # of each slot
        slots = self._slots[
            _ranges((np.cumsum(self._slots_in) - self._slots_in)[group], self._slots_in[group])
        ]
        numbers = _ranges(
            slots[:, 2] + within[row] * slots[:, 1], slots[:, 1]
        )  # of each piece, among those of its length
        row, lengths = np.repeat(row, slots[:, 1]), np.repeat(slots[:, 0], slots[:, 1])
        by_length = np.argsort(lengths, kind="stable")
        picked = np.empty_like(numbers)
        for alike in np.split(by_length, np.flatnonzero(np.diff(lengths[by_length])) + 1):
            picked[alike] = self._order(epoch, int(lengths[alike[0]]))(numbers[alike])
        starts = self._starts[self._edges[lengths] + picked].astype(np.int64)
        return here[row], starts, lengths, hashed(starts, self._word(epoch), _ANY_NUMBER)

    def filled(self, samples: Indices) -> Indices:
        epochs, places = np.divmod(samples, self.windows)
        filled = np.empty_like(places)
        for epoch in np.unique(epochs):
            here = epochs == epoch
            rows = self._order(int(epoch), 0)(places[here])
            filled[here] = self._filled[np.searchsorted(self._ends, rows, side="right")]
        return filled

    def read(self, samples: Indices) -> Batch:
        shape = len(samples), self.context
        inputs, targets = np.full(shape, self.end_of_text, np.int64), np.full(shape, IGNORED, np.int64)
        documents = np.full(shape, -1, np.int64)  # padding is a document of its own
        for row, sample in enumerate(samples):
            at = 0
            for number, (start, length) in enumerate(self.pieces_of(int(sample))):
                before = min(
                    start, 1
                )  # the split's first token has none before it: the padding there is what it would be
                ids = self.dataset.read(self.split, start - before, length + before)
                inputs[row, at + 1 - before : at + length] = ids[:-1]
                targets[row, at : at + length] = ids[before:]
                documents[row, at : at + length] = number
                at += length
        found = (inputs, targets, documents) if self.apart else (inputs, targets)
        return tuple(torch.from_numpy(each) for each in found)

    @functools.cached_property
    def _orders(self) -> dict[int, dict[int, Permutation]]:
        return {}

    def _order(self, epoch: int, length: int) -> Permutation:
        """The epoch's permutation of the pieces of a length; of length 0 that of the rows."""
        known = self._orders.get(epoch)
        if known is None:
            if len(self._orders) >= _EPOCHS_KEPT:  # steps come in order
                self._orders.clear()
            known = self._orders[epoch] = {}
        if length not in known:
            size = int(self._counts[length]) if length else self.windows
            known[length] = Permutation(size, *self._key(epoch), length)
        return known[length]

    def _word(self, epoch: int) -> np.uint64:
        return np.uint64(keyed_words(*self._key(epoch), "in a row", count=1)[0])

    def _key(self, epoch: int) -> tuple[int | str, ...]:
        return ("lm-train packed order", ORDER_VERSION, self.seed, epoch)


def _ranges(starts: Indices, counts: Indices) -> Indices:
    """starts[0], starts[0] + 1 ... (counts[0] of them), starts[1] ..."""
    return np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
