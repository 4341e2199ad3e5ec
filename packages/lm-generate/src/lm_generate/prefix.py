"""What has been read once need not be read again: the keys and values of prompts, for prompts that begin alike."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from lm_core import KVCache
from torch import Tensor

from lm_generate.sampling import FloatArray


@dataclass(frozen=True)
class Prefix:
    """A prompt that was read: its ids, its keys and values (n_layers, n_kv_heads, tokens, d_head), its logits."""

    ids: npt.NDArray[np.int64]
    keys: Tensor
    values: Tensor
    logits: FloatArray | None
    """What follows the last of `ids`; None where that is not known."""
    bytes: int
    """Memory that it holds."""


class PrefixStore:
    """The newest texts, at most `most`, that together take at most `limit` bytes (0: none are kept); the longest unused
    goes first. Looking a prompt up costs a comparison with each.

    Safe for several threads.
    """

    def __init__(self, limit: int = 0, most: int = 1024) -> None:
        self.limit, self.most = limit, most
        self.bytes = 0
        self._kept: OrderedDict[tuple[int, ...], Prefix] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, ids: Sequence[int], cache: KVCache, logits: FloatArray) -> None:
        """Keeps a copy of the first len(ids) keys and values of a cache of one row."""
        size = cache.bytes // cache.capacity * len(ids) + logits.nbytes
        if size <= self.limit and tuple(ids) not in self._kept:
            keys, values = (kept[:, 0, :, : len(ids)].clone() for kept in (cache.keys, cache.values))
            self._keep(Prefix(np.array(ids, dtype=np.int64), keys, values, logits, size))

    def take(self, ids: Sequence[int], cache: KVCache) -> None:
        """Keeps the memory of a cache of one row, which from now on nobody may write to; `ids` begin with what it holds."""
        ids = ids[: cache.length]
        if ids and cache.bytes <= self.limit:
            keys, values = (kept[:, 0, :, : len(ids)] for kept in (cache.keys, cache.values))
            self._keep(Prefix(np.array(ids, dtype=np.int64), keys, values, None, cache.bytes))

    def _keep(self, prefix: Prefix) -> None:
        key = tuple(prefix.ids.tolist())
        with self._lock:
            if key in self._kept:
                return
            self._kept[key] = prefix
            self.bytes += prefix.bytes
            while self.bytes > self.limit or len(self._kept) > self.most:
                self.bytes -= self._kept.popitem(last=False)[1].bytes

    def copy_to(self, ids: Sequence[int], cache: KVCache, chunk: int) -> tuple[int, FloatArray | None]:
        """Fills an empty cache with what is known of `ids`: how many tokens that is, and the logits if it is all of them.

        Unless it is all, it is a multiple of `chunk`: so the rest is read in the pieces in which it would
        have been read from the beginning, and comes out in the same bits.
        """
        with self._lock:
            found = self._kept.get(tuple(ids))
            known = len(ids)
            if found is None or found.logits is None:
                known, found = self._longest(ids, chunk)
            if found is None:
                return 0, None
            self._kept.move_to_end(tuple(found.ids.tolist()))
        cache.keys[:, 0, :, :known] = found.keys[:, :, :known]
        cache.values[:, 0, :, :known] = found.values[:, :, :known]
        cache.length = known
        return known, found.logits if known == len(ids) == len(found.ids) else None

    def _longest(self, ids: Sequence[int], chunk: int) -> tuple[int, Prefix | None]:
        """The kept prompt that agrees longest, in whole chunks and short of all of `ids`: one token must be read."""
        wanted = np.array(ids, dtype=np.int64)
        best: tuple[int, Prefix | None] = (0, None)
        for prefix in self._kept.values():
            length = min(len(wanted) - 1, len(prefix.ids))
            differs = np.flatnonzero(wanted[:length] != prefix.ids[:length])
            agreed = (int(differs[0]) if differs.size else length) // chunk * chunk
            if agreed > best[0]:
                best = (agreed, prefix)
        return best


def shares(ids: Sequence[int], other: Sequence[int], chunk: int) -> bool:
    """Whether one of the two can copy what the other has read: the same prompt, or the same first chunk."""
    return ids == other or (min(len(ids), len(other)) > chunk and ids[:chunk] == other[:chunk])
