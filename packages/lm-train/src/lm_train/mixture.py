"""Batches drawn from several datasets, each with its share of the windows: still a pure function of the step.

The samples of a run come in blocks of 1000. In each block every dataset has its share of the places, rounded to whole ones, and a keyed
permutation says which; the places of a dataset, counted through all blocks, are its own samples 0, 1, 2 ..., which `Batches` finds the
windows of. So each dataset goes through its own epochs in its own order, as if it were alone. docs/data-order.md is the specification.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

import numpy as np
import torch

from lm_train.batches import Batch, Batches, samples_of
from lm_train.config import TrainConfig
from lm_train.corpus import MixedIn
from lm_train.dataset import TokenDataset
from lm_train.errors import ConfigError
from lm_train.packed_batches import PackedBatches
from lm_train.permutation import Indices, Permutation

ORDER_VERSION = 1
BLOCK = 1000


class Mixture:
    """Training batches of several datasets; the interface of `Batches`. `parts` are named; the first has what the shares leave.

    Raises ConfigError for a share that has no place in a block, TooFewTokensError for a part that has no window.
    """

    def __init__(
        self,
        dataset: TokenDataset,
        mixed: Sequence[MixedIn],
        *,
        context: int,
        batch: int,
        seed: int,
        name: str,
        order: str = "windows",
        apart: bool = True,
    ) -> None:
        self.batch_size, self.seed = batch, seed
        self.names = [name, *(part.name for part in mixed)]
        datasets = [dataset, *(part.dataset for part in mixed)]
        self.parts = [
            ordered_batches(each, context=context, batch=batch, seed=seed, order=order, apart=apart)
            for each in datasets
        ]
        self.places = np.array(places_of([part.share for part in mixed]))
        self._edges = np.concatenate([[0], np.cumsum(self.places)])

    @property
    def steps_per_epoch(self) -> float:
        """Steps in which the first part's windows are all taken once."""
        return self.parts[0].windows * BLOCK / int(self.places[0]) / self.batch_size

    @property
    def tokens_per_step(self) -> float:
        """Tokens that a step is trained on, in the mean."""
        each = np.array([part.tokens_per_step for part in self.parts])
        return float((each * self.places).sum()) / BLOCK

    def batch(self, step: int) -> Batch:
        """The global batch of a step."""
        return self.rows(step, 0, self.batch_size)

    def rows(self, step: int, start: int, stop: int) -> Batch:
        """Rows start .. stop-1 of `batch(step)`."""
        taken = self._taken(samples_of(step, start, stop, self.batch_size))
        places = np.concatenate([here for _, here, _ in taken])
        parts = [part.read(samples) for part, _, samples in taken]
        back = torch.from_numpy(np.argsort(places))
        return tuple(torch.cat(tensors)[back] for tensors in zip(*parts, strict=True))

    def tokens(self, step: int) -> int:
        """Tokens that the step is trained on."""
        taken = self._taken(samples_of(step, 0, self.batch_size, self.batch_size))
        return sum(int(part.filled(samples).sum()) for part, _, samples in taken)

    def _taken(self, samples: Indices) -> list[tuple[Batches, Indices, Indices]]:
        """(part, which of the samples are of it, their numbers there) of each part that has any."""
        parts, numbers = self.assigned(samples)
        places = [(number, np.flatnonzero(parts == number)) for number in np.unique(parts)]
        return [(self.parts[number], here, numbers[here]) for number, here in places]

    def assigned(self, samples: Indices) -> tuple[Indices, Indices]:
        """(the part that each sample of the run is of, its number among that part's samples)."""
        blocks, places = np.divmod(samples, BLOCK)
        slots = np.empty_like(places)
        for block in np.unique(blocks):
            here = blocks == block
            order = Permutation(BLOCK, "lm-train mixture", ORDER_VERSION, self.seed, int(block))
            slots[here] = order(places[here])
        parts = np.searchsorted(self._edges, slots, side="right") - 1
        return parts, blocks * self.places[parts] + slots - self._edges[parts]

    def where(self, step: int) -> str:
        """Where the batch is in the texts, for a message."""
        first = step * self.batch_size
        parts, samples = self.assigned(np.arange(first, first + self.batch_size))
        return "; ".join(
            f"tokens {self.parts[number].starts(samples[parts == number]).tolist()} of {self.names[number]}"
            for number in np.unique(parts)
        )


def places_of(shares: Sequence[float]) -> list[int]:
    """Places in a block for the first part, which has the rest, and for each share. Raises ConfigError for a part without one."""
    places = [round(share * BLOCK) for share in shares]
    places = [BLOCK - sum(places), *places]
    if min(places) < 1:
        raise ConfigError(
            f"mix: each text needs a share of at least {1 / BLOCK:g}, got {list(shares)} and the rest"
        )
    return places


def ordered_batches(
    dataset: TokenDataset, *, context: int, batch: int, seed: int, order: str, apart: bool
) -> Batches:
    """The batches of one dataset: windows, or packed documents that are `apart` or see each other."""
    if order == "packed":
        return PackedBatches(dataset, context=context, batch=batch, seed=seed, apart=apart)
    return Batches(dataset, context=context, batch=batch, seed=seed)


def training_batches(
    config: TrainConfig, dataset: TokenDataset, mixed: Sequence[MixedIn]
) -> Batches | Mixture:
    """The batches of a run."""
    c, context = config, config.model.context
    if not mixed:
        return ordered_batches(
            dataset,
            context=context,
            batch=c.batch,
            seed=c.seed,
            order=c.order,
            apart=c.separate_documents,
        )
    return Mixture(
        dataset,
        mixed,
        context=context,
        batch=c.batch,
        seed=c.seed,
        name=c.data,
        order=c.order,
        apart=c.separate_documents,
    )


def data_fingerprint(dataset: TokenDataset, mixed: Sequence[MixedIn]) -> str:
    """The dataset's own fingerprint, or with others mixed in SHA-256 of all of theirs and the shares."""
    if not mixed:
        return dataset.fingerprint
    parts = [[dataset.fingerprint], *([part.dataset.fingerprint, part.share] for part in mixed)]
    return hashlib.sha256(json.dumps(parts, separators=(",", ":")).encode()).hexdigest()


def mean_bytes_per_token(dataset: TokenDataset, mixed: Sequence[MixedIn]) -> float:
    """UTF-8 bytes that a training token spells on average, by share; 1 where the tokenizer is unknown."""
    rest = 1 - sum(part.share for part in mixed)
    parts = [(dataset, rest), *((part.dataset, part.share) for part in mixed)]
    return sum(share * (each.text_bytes() or 0) / each.tokens() for each, share in parts) or 1.0
