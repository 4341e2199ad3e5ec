"""A keyed permutation of 0 .. n-1 that is evaluated per index: no list of n numbers is ever made.

A Feistel network shuffles the cells of a grid of `rows x columns >= n`: each round adds to one coordinate a keyed hash
of the other, which can be undone whatever the hash. An index that lands in a cell >= n is sent through again
("cycle walking"), so the map is a bijection of 0 .. n-1; the grid has fewer than sqrt(n) + 1 cells too many, so that is rare.
Luby & Rackoff 1988, https://doi.org/10.1137/0217022; Black & Rogaway 2002, https://doi.org/10.1007/3-540-45760-7_9.

The numbers are part of the data order (docs/data-order.md): they never change within a version of that document.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

ROUNDS = 8
MAX_SIZE = 2**62  # every cell number then fits an int64 and no sum below wraps

Indices = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]


def keyed_words(*parts: int | str, count: int) -> list[int]:
    """`count` 64-bit numbers that depend on all `parts`: BLAKE2b of the parts and a counter, little-endian."""
    text = "/".join(str(part) for part in parts)
    return [
        int.from_bytes(hashlib.blake2b(f"{text}/{index}".encode(), digest_size=8).digest(), "little")
        for index in range(count)
    ]


def keyed_below(limit: int, *parts: int | str) -> int:
    """A number in 0 .. limit-1 that depends on `parts`, uniform up to limit / 2**64."""
    return keyed_words(*parts, count=1)[0] * limit >> 64


def keyed_below_each(limit: int, *parts: int | str, each: Iterable[int]) -> list[int]:
    """`keyed_below(limit, *parts, number)` for each number, at half the cost."""
    begun = hashlib.blake2b("".join(f"{part}/" for part in parts).encode(), digest_size=8)
    found = []
    for number in each:
        whole = begun.copy()
        whole.update(b"%d/0" % number)
        found.append(int.from_bytes(whole.digest(), "little") * limit >> 64)
    return found


class Permutation:
    """The permutation of 0 .. n-1 that `key` names; `permutation(i)` is where i goes. O(1) memory, O(1) an index.

    Every distinct tuple of key parts (seed, epoch ...) gives an independent-looking permutation.
    """

    def __init__(self, n: int, *key: int | str) -> None:
        if not 1 <= n <= MAX_SIZE:
            raise ValueError(f"a permutation needs between 1 and {MAX_SIZE} elements, got {n}")
        self.n = n
        self.rows = math.isqrt(n - 1) + 1
        self.columns = -(-n // self.rows)
        self._words = [np.uint64(word) for word in keyed_words(*key, count=ROUNDS)]

    def __call__(self, indices: npt.ArrayLike) -> Indices:
        """Where each index goes; any shape, same shape back."""
        return self._walk(indices, inverse=False)

    def inverse(self, indices: npt.ArrayLike) -> Indices:
        """Where each index came from: `inverse(permutation(i)) == i`."""
        return self._walk(indices, inverse=True)

    def _walk(self, indices: npt.ArrayLike, *, inverse: bool) -> Indices:
        cells = np.array(indices, dtype=np.int64)
        if cells.size and not (cells.min() >= 0 and cells.max() < self.n):
            raise ValueError(f"indices must be in 0..{self.n - 1}, got {cells.min()}..{cells.max()}")
        flat = self._shuffle(cells.reshape(-1), inverse=inverse)
        while len(outside := np.flatnonzero(flat >= self.n)):
            flat[outside] = self._shuffle(flat[outside], inverse=inverse)
        return flat.reshape(cells.shape)

    def _shuffle(self, cells: Indices, *, inverse: bool) -> Indices:
        row, column = np.divmod(cells, self.columns)
        for number in reversed(range(ROUNDS)) if inverse else range(ROUNDS):
            word = self._words[number]
            if number % 2 == 0:
                shift = hashed(column, word, self.rows)
                row = (row - shift if inverse else row + shift) % self.rows
            else:
                shift = hashed(row, word, self.columns)
                column = (column - shift if inverse else column + shift) % self.columns
        return row * self.columns + column


def hashed(values: Indices, word: np.uint64, limit: int) -> Indices:
    """A keyed hash of each value, reduced to 0 .. limit-1 (the finalizer of splitmix64, modulo 2**64)."""
    mixed: Words = values.astype(np.uint64)
    mixed = (mixed + word) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed = (mixed ^ (mixed >> np.uint64(31))) ^ word
    reduced: Any = mixed % np.uint64(limit)
    return reduced.astype(np.int64)  # type: ignore[no-any-return]
