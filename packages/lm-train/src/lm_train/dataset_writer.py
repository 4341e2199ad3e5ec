"""Encoded documents -> shards: appends ids to `train-00000.bin`, ... with their document ends, counting and hashing on the way."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from lm_core.manifest import FileEntry

from lm_train.dataset_format import Shard, dtype_for, index_name
from lm_train.errors import DatasetError

Places = npt.NDArray[np.int64]


class SplitWriter:
    """Writes one split into `folder`. `append` documents, then `close`; `shards` is then what dataset.json says of them.

    A shard is closed at the first document end at which it has `shard_tokens` tokens or more.
    """

    def __init__(self, folder: Path, split: str, vocab_size: int, *, shard_tokens: int) -> None:
        self.folder, self.split, self.vocab_size, self.shard_tokens = folder, split, vocab_size, shard_tokens
        self.dtype = dtype_for(vocab_size)
        self.shards: dict[str, Shard] = {}
        self._shard: _OpenShard | None = None

    def append(
        self, ids: npt.NDArray[np.uint32], ends: Places, bytes_at_ends: Places, text_bytes: int
    ) -> None:
        """Appends ids, which spell `text_bytes` bytes of text. `ends` are the places in them where documents end and `bytes_at_ends` the
        bytes of text up to there; a document that is not at its end goes on in the next call.

        `DatasetError` for an id outside the vocabulary: nothing is ever wrapped into the dtype.
        """
        if len(ids) and (largest := int(ids.max())) >= self.vocab_size:
            raise DatasetError(
                f"the tokenizer gave the id {largest}, outside its vocabulary of {self.vocab_size:,}; it is damaged"
            )
        start = spelled = document = 0
        while start < len(ids):
            if self._shard is None:
                self._shard = _OpenShard(self.folder / f"{self.split}-{len(self.shards):05d}.bin")
            full = document + int(
                np.searchsorted(ends[document:], start + self.shard_tokens - self._shard.tokens)
            )
            if closes := full < len(ends):
                stop, stop_spelled, stop_document = int(ends[full]), int(bytes_at_ends[full]), full + 1
            else:
                stop, stop_spelled, stop_document = len(ids), text_bytes, len(ends)
            part_ends = ends[document:stop_document] - start
            self._shard.append(ids[start:stop].astype(self.dtype), part_ends, stop_spelled - spelled)
            start, spelled, document = stop, stop_spelled, stop_document
            if closes:
                self._close_shard()

    def close(self) -> None:
        if self._shard:
            self._close_shard()

    def abandon(self) -> None:
        """Lets go of the files of a split that will not be finished."""
        if self._shard:
            self._shard.abandon()

    def _close_shard(self) -> None:
        assert self._shard
        self.shards[self._shard.path.name] = self._shard.close()
        self._shard = None


class _OpenShard:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.tokens = self.documents = self.text_bytes = self.largest_id = 0
        self._ids = _HashedFile(path)
        self._ends = _HashedFile(path.with_name(index_name(path.name)))

    def append(self, ids: npt.NDArray[np.integer], ends: Places, text_bytes: int) -> None:
        self._ids.write(ids.tobytes())
        self._ends.write((ends + self.tokens).astype("<u8").tobytes())
        self.tokens += len(ids)
        self.documents += len(ends)
        self.text_bytes += text_bytes
        self.largest_id = max(self.largest_id, int(ids.max()))

    def close(self) -> Shard:
        return Shard(
            file=self._ids.close(),
            index=self._ends.close(),
            tokens=self.tokens,
            documents=self.documents,
            text_bytes=self.text_bytes,
            largest_id=self.largest_id,
        )

    def abandon(self) -> None:
        self._ids.file.close()
        self._ends.file.close()


class _HashedFile:
    def __init__(self, path: Path) -> None:
        self.file: BinaryIO = open(path, "wb")  # noqa: SIM115 - open as long as its shard
        self.bytes = 0
        self.sha256 = hashlib.sha256()

    def write(self, content: bytes) -> None:
        self.file.write(content)
        self.sha256.update(content)
        self.bytes += len(content)

    def close(self) -> FileEntry:
        self.file.close()
        return FileEntry(bytes=self.bytes, sha256=self.sha256.hexdigest())
