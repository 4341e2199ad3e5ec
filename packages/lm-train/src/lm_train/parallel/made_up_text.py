"""A text that is made up for a simulated run: how many tokens it has, and where its documents end."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class MadeUpText:
    """As much of a dataset as its order depends on. Half the documents are longer than half of `context`, a quarter than all of it.

    Their lengths are log-normal, as those of web pages roughly are, and a function of the seed.
    """

    length: int
    context: int
    seed: int
    folder: str = "a text that is made up"
    end_of_text: int = 0

    def tokens(self, split: str = "train") -> int:
        return self.length

    def document_ends_by_file(self, split: str = "train") -> list[npt.NDArray[np.uint64]]:
        count = 4 + 2 * self.length // self.context  # more than it takes
        drawn = np.random.default_rng(self.seed).lognormal(math.log(self.context / 2), 1.0, count)
        ends = np.cumsum(np.maximum(1, drawn.astype(np.int64)))
        return [np.append(ends[ends < self.length], self.length).astype(np.uint64)]
