"""Which tokens are in the batch of a step: a pure function of (dataset, context, batch, seed, step).

An epoch cuts the split into windows of `context + 1` tokens, one every `context` tokens (each token but the first is predicted
once), beginning at an offset that the epoch's key chooses. A keyed permutation orders the windows. Row r of step s
is sample number `s * batch + r` of the run; its epoch and place follow by division. So a resumed run needs no state but its step,
and any number of ranks reads the same global batch (`rows`). The order is specified in docs/data-order.md.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from lm_train.dataset import TokenDataset
from lm_train.errors import TooFewTokensError
from lm_train.permutation import Indices, Permutation, keyed_below

ORDER_VERSION = 1
_EPOCHS_KEPT = 64

Batch = tuple[Tensor, ...]
"""(inputs, targets), and where the documents of a row are kept apart their numbers: int64, (rows, context) each."""


class Batches:
    """Training batches. `batch(step)` -> (inputs, targets), int64, (batch, context); targets are the inputs one later.

    windows          windows an epoch, the same number in every epoch
    pieces           runs of tokens an epoch: as many, each window being one
    steps_per_epoch  windows / batch; a batch may lie across the end of an epoch, nothing is dropped
    """

    windows: int
    pieces: int

    def __init__(
        self, dataset: TokenDataset, *, context: int, batch: int, seed: int, split: str = "train"
    ) -> None:
        if context < 1 or batch < 1:
            raise ValueError(f"context and batch must be at least 1, got {context} and {batch}")
        self.dataset, self.context, self.batch_size, self.seed, self.split = (
            dataset,
            context,
            batch,
            seed,
            split,
        )
        self._lay_out()

    def _lay_out(self) -> None:
        """Work out what an epoch consists of."""
        predicted = self.dataset.tokens(self.split) - 1
        if predicted < self.context:
            raise TooFewTokensError(_too_few(self.dataset, self.split, self.context))
        # One number of windows for all epochs, such that offsets of at least 0 .. context-1 are possible behind it. What an
        # epoch leaves out at both ends is less than two windows, and other epochs have it.
        self.windows = max(1, (predicted - (self.context - 1)) // self.context)
        self.pieces = self.windows
        self._offsets = predicted - self.windows * self.context + 1

    @property
    def steps_per_epoch(self) -> float:
        return self.windows / self.batch_size

    @property
    def tokens_per_step(self) -> float:
        """Tokens that a step is trained on, in the mean over an epoch."""
        return self.batch_size * self.context

    def epoch(self, step: int) -> float:
        """Epochs finished before `step`."""
        return step * self.batch_size / self.windows

    def batch(self, step: int) -> Batch:
        """The global batch of a step."""
        return self.rows(step, 0, self.batch_size)

    def rows(self, step: int, start: int, stop: int) -> Batch:
        """Rows start .. stop-1 of `batch(step)`: one rank's or one micro-batch's part of it."""
        return self.read(samples_of(step, start, stop, self.batch_size))

    def tokens(self, step: int) -> int:
        """Tokens that the step is trained on: the targets of its global batch that are not padding."""
        return int(self.filled(samples_of(step, 0, self.batch_size, self.batch_size)).sum())

    def window_starts(self, step: int) -> list[int]:
        """Where each row of the batch begins in the split, in tokens."""
        return [int(start) for start in self.starts(samples_of(step, 0, self.batch_size, self.batch_size))]

    def where(self, step: int) -> str:
        """Where the batch is in the text, for a message."""
        return f"tokens {self.window_starts(step)}"

    def starts(self, samples: Indices) -> Indices:
        """Where the windows of these samples of the run begin in the split, in tokens."""
        epochs, places = np.divmod(samples, self.windows)
        starts = np.empty_like(places)
        for epoch in np.unique(epochs):
            order, offset = self._epoch(int(epoch))
            here = epochs == epoch
            starts[here] = offset + self.context * order(places[here])
        return starts

    def spans(self, samples: Indices) -> tuple[Indices, Indices, Indices]:
        """The runs of tokens in these samples, in their order: (which of the samples, start in the split, length) of each."""
        return np.arange(len(samples)), self.starts(samples), np.full(len(samples), self.context)

    def filled(self, samples: Indices) -> Indices:
        """How many targets each of these samples has."""
        return np.full(len(samples), self.context)

    def read(self, samples: Indices) -> Batch:
        """The rows of these samples of the run."""
        ids = np.empty((len(samples), self.context + 1), np.int64)
        for row, start in enumerate(self.starts(samples)):
            ids[row] = self.dataset.read(self.split, int(start), self.context + 1)
        return _inputs_and_targets(ids)

    @functools.cached_property
    def _epochs(self) -> dict[int, tuple[Permutation, int]]:
        return {}

    def _epoch(self, epoch: int) -> tuple[Permutation, int]:
        known = self._epochs.get(epoch)
        if known is None:
            key = ("lm-train order", ORDER_VERSION, self.seed, epoch)
            known = Permutation(self.windows, *key), keyed_below(self._offsets, *key, "offset")
            if len(self._epochs) >= _EPOCHS_KEPT:  # steps come in order
                self._epochs.clear()
            self._epochs[epoch] = known
        return known


def samples_of(step: int, start: int, stop: int, batch: int) -> Indices:
    """Numbers of the samples of the run that are rows start .. stop-1 of the batch of a step."""
    if step < 0 or not 0 <= start <= stop <= batch:
        raise ValueError(f"step {step}, rows {start}..{stop} of a batch of {batch}")
    return np.arange(step * batch + start, step * batch + stop)


class ValidationWindows:
    """Held-out windows in a fixed order: an iterable of (inputs, targets) batches, int64, (<= batch, context).

    Windows follow each other without overlap, so each token but the split's first is predicted once; what is left at the end and
    fills no window is not predicted. A split shorter than one window is one shorter window. With `windows` given and fewer
    than there are, that many are taken at even distances, always the same. `apart`: with a third tensor that numbers the documents of
    a row, a new one at each end-of-text, for a model that was trained on documents that do not see each other.
    """

    def __init__(
        self,
        dataset: TokenDataset,
        *,
        context: int,
        batch: int,
        windows: int | None = None,
        split: str = "valid",
        apart: bool = False,
    ) -> None:
        predicted = dataset.tokens(split) - 1
        if predicted < 1:
            raise TooFewTokensError(
                f"need at least 2 tokens to predict one, got {predicted + 1} in the {split} split of {dataset.folder}; hold out more text"
            )
        self.dataset, self.batch_size, self.split = dataset, batch, split
        self._end_of_text = dataset.end_of_text if apart else None
        self.context = min(context, predicted)
        there = predicted // self.context
        self.windows = there if windows is None else min(windows, there)
        self._starts = [number * there // self.windows * self.context for number in range(self.windows)]

    @property
    def tokens(self) -> int:
        """Tokens that are predicted."""
        return self.windows * self.context

    def __len__(self) -> int:
        """Batches."""
        return -(-self.windows // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> Batch:
        if not 0 <= number < len(self):
            raise IndexError(f"batch {number} of {len(self)}")
        starts = self._starts[number * self.batch_size : (number + 1) * self.batch_size]
        ids = np.stack(
            [self.dataset.read(self.split, start, self.context + 1).astype(np.int64) for start in starts]
        )
        inputs, targets = _inputs_and_targets(ids)
        if self._end_of_text is None:
            return inputs, targets
        return inputs, targets, (inputs == self._end_of_text).cumsum(1)

    @functools.cached_property
    def text_bytes(self) -> int | None:
        """UTF-8 bytes of the tokens that are predicted (end-of-text counts none); None when the tokenizer is unknown.

        Bits per byte is then `nats / ln 2 / text_bytes`, with `nats` summed over the same tokens: exact, whatever the tokenizer.
        """
        if self.dataset.tokenizer_fingerprint is None:
            return None
        lengths = self.dataset.bytes_of_tokens()
        return sum(int(lengths[targets.numpy()].sum()) for _, targets, *_ in self)


def _inputs_and_targets(ids: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> tuple[Tensor, Tensor]:
    tokens = torch.from_numpy(ids)
    return tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()


def _too_few(dataset: TokenDataset, split: str, context: int) -> str:
    tokens = dataset.tokens(split)
    return (
        f"need at least context + 1 = {context + 1:,} tokens for one window, got {tokens:,} in the {split} split of {dataset.folder}; "
        f"give more text, or a context of at most {max(tokens - 1, 0):,}"
    )
