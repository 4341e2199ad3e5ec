"""What other processes can do of `prepare`: count the words of some texts, or encode them. And who has them do it: an `Engine`.

A task is a plain function of (shared bytes, texts), so that it can run anywhere and again after a worker has died. What it gives does not
depend on who runs it, and results are taken in the order of the texts: the dataset is the same to the last byte.
"""

from __future__ import annotations

import functools
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
from lm_tokenizer import PretokenCounts, Tokenizer

Item = TypeVar("Item")
Result = TypeVar("Result")
Encoded = tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]
"""The ids of some texts, one after another, and where each text begins and the last one ends."""


class Engine(Protocol):
    """Runs tasks, here or elsewhere."""

    def map(
        self,
        task: Callable[[bytes, list[str]], Result],
        shared: bytes,
        items: Iterator[Item],
        texts: Callable[[Item], list[str]],
    ) -> Iterator[tuple[Item, Result]]:
        """Each item with `task(shared, texts(item))`, in the order of the items; few of them are taken ahead."""
        ...


def counting_bytes(pattern: str, specials: tuple[str, ...]) -> bytes:
    """What `count_texts` must know, as bytes."""
    return json.dumps([pattern, list(specials)]).encode()


def count_texts(shared: bytes, texts: list[str]) -> bytes:
    """The pretokens of the texts, each cut by itself, as the bytes of a counts file (lm-tokenizer's)."""
    pattern, specials = json.loads(shared)
    counts = PretokenCounts(pattern, specials)
    counts.add_texts(texts)
    with tempfile.TemporaryDirectory(prefix="lm-train-counts-") as folder:
        path = Path(folder) / "counts"
        counts.save(path)
        return path.read_bytes()


def counts_of(content: bytes) -> PretokenCounts:
    """What `count_texts` gave."""
    with tempfile.TemporaryDirectory(prefix="lm-train-counts-") as folder:
        path = Path(folder) / "counts"
        path.write_bytes(content)
        return PretokenCounts.load(path)


def summed(parts: Iterable[PretokenCounts], zero: PretokenCounts) -> PretokenCounts:
    """Their sum. Equals are added to equals, so that n parts cost log n passes over the words and not n."""
    sums: list[tuple[int, PretokenCounts]] = []  # how many parts each sum is of: falling powers of two
    for part in parts:
        size = 1
        while sums and sums[-1][0] == size:
            part, size = sums.pop()[1] + part, 2 * size
        sums.append((size, part))
    return functools.reduce(lambda total, each: total + each[1], sums, zero)


def tokenizer_bytes(tokenizer: Tokenizer) -> bytes:
    """The tokenizer as the bytes of its tokenizer.json."""
    with tempfile.TemporaryDirectory(prefix="lm-train-tokenizer-") as folder:
        tokenizer.save(folder)
        return (Path(folder) / "tokenizer.json").read_bytes()


def encode_texts(shared: bytes, texts: list[str]) -> Encoded:
    """The texts' ids with the tokenizer that `shared` holds; special tokens in them are ordinary text."""
    found: Any = _tokenizer(shared).encode_batch_array(texts, disallowed_special=())
    return found  # type: ignore[no-any-return]


@functools.lru_cache(maxsize=1)
def _tokenizer(content: bytes) -> Tokenizer:
    with tempfile.TemporaryDirectory(prefix="lm-train-tokenizer-") as folder:
        (Path(folder) / "tokenizer.json").write_bytes(content)
        return Tokenizer.load(folder)
