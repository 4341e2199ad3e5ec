"""Encoded documents -> shards: appends ids to `train-00000.bin`, ... with their document ends, counting and hashing on the way."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from lm_core.manifest import FileEntry

from lm_train.errors import DatasetError
from lm_train.tokens.dataset_format import Shard, dtype_for, index_name, shard_of

Places = npt.NDArray[np.int64]
_BLOCK_BYTES = 1 << 20
# Hashed and written while it is in a core's cache; and for larger writes Linux looks for larger pages, at times long.
_WRITTEN_AT_ONCE = 1 << 19
_SYNCED_AT_ONCE = 1 << 24
WriterMark = dict[str, Any]
"""What a split's files hold at one moment, as JSON: {"shards": {name: Shard}, "open": the unfinished one or null}"""


class SplitWriter:
    """Writes one split into `folder`. `append` documents, then `close`; `shards` is then what dataset.json says of them.

    A shard is closed at the first document end at which it has `shard_tokens` tokens or more. With the `mark` of an earlier writer,
    whose files lie there, goes on from that moment.
    """

    def __init__(
        self, folder: Path, split: str, vocab_size: int, *, shard_tokens: int, mark: WriterMark | None = None
    ) -> None:
        self.folder, self.split, self.vocab_size, self.shard_tokens = folder, split, vocab_size, shard_tokens
        self.dtype = dtype_for(vocab_size)
        self.shards: dict[str, Shard] = {}
        self._shard: _OpenShard | None = None
        if mark is not None:
            self.shards = {name: shard_of(row) for name, row in mark["shards"].items()}
            self._shard = _OpenShard.reopened(folder, mark["open"]) if mark["open"] else None

    def mark(self) -> WriterMark:
        """Bring what is written to disk, and say what it is."""
        shards = {name: asdict(shard) for name, shard in self.shards.items()}
        return {"shards": shards, "open": self._shard.mark() if self._shard else None}

    @staticmethod
    def is_there(folder: Path, mark: WriterMark) -> bool:
        """Whether the files of a mark still lie in `folder`, at least as long as they were then."""
        lengths: dict[str, int] = {}
        for name, row in mark["shards"].items():
            lengths |= {name: row["file"]["bytes"], index_name(name): row["index"]["bytes"]}
        if unfinished := mark["open"]:
            lengths |= {
                unfinished["name"]: unfinished["id_bytes"],
                index_name(unfinished["name"]): unfinished["index_bytes"],
            }
        files = {name: folder / name for name in lengths}
        return all(
            files[name].is_file() and files[name].stat().st_size >= size for name, size in lengths.items()
        )

    def append(
        self,
        ids: npt.NDArray[np.unsignedinteger],
        ends: Places,
        bytes_at_ends: Places,
        text_bytes: int,
        largest_id: int | None = None,
    ) -> None:
        """Appends ids, which spell `text_bytes` bytes of text. `ends` are the places in them where documents end and `bytes_at_ends` the
        bytes of text up to there; a document that is not at its end goes on in the next call.

        `DatasetError` for an id outside the vocabulary: nothing is ever wrapped into the dtype.
        """
        largest = _largest(ids) if largest_id is None else largest_id
        if largest >= self.vocab_size:
            raise DatasetError(
                f"the tokenizer gave the id {largest}, outside its vocabulary of {self.vocab_size:,}; it is damaged: take another"
            )
        start = spelled = document = 0
        while start < len(ids) or document < len(ends):
            if self._shard is None:
                self._shard = _OpenShard(self.folder / f"{self.split}-{len(self.shards):05d}.bin")
            full = document + int(
                np.searchsorted(ends[document:], start + self.shard_tokens - self._shard.tokens)
            )
            if closes := full < len(ends):
                stop, stop_spelled, stop_document = int(ends[full]), int(bytes_at_ends[full]), full + 1
            else:
                stop, stop_spelled, stop_document = len(ids), text_bytes, len(ends)
            part, part_ends = ids[start:stop], ends[document:stop_document] - start
            part_largest = largest if len(part) == len(ids) else _largest(part)
            self._shard.append(
                part.astype(self.dtype, copy=False), part_ends, stop_spelled - spelled, part_largest
            )
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


def _largest(ids: npt.NDArray[np.unsignedinteger]) -> int:
    return int(ids.max(initial=0))


class _OpenShard:
    def __init__(self, path: Path, *, id_bytes: int = 0, index_bytes: int = 0) -> None:
        self.path = path
        self.tokens = self.documents = self.text_bytes = self.largest_id = 0
        self._ids = _HashedFile(path, id_bytes)
        self._ends = _HashedFile(path.with_name(index_name(path.name)), index_bytes)

    @classmethod
    def reopened(cls, folder: Path, mark: dict[str, Any]) -> _OpenShard:
        shard = cls(folder / mark["name"], id_bytes=mark["id_bytes"], index_bytes=mark["index_bytes"])
        shard.tokens, shard.documents = mark["tokens"], mark["documents"]
        shard.text_bytes, shard.largest_id = mark["text_bytes"], mark["largest_id"]
        return shard

    def mark(self) -> dict[str, Any]:
        return {
            "name": self.path.name,
            "id_bytes": self._ids.sync(),
            "index_bytes": self._ends.sync(),
            "tokens": self.tokens,
            "documents": self.documents,
            "text_bytes": self.text_bytes,
            "largest_id": self.largest_id,
        }

    def append(
        self, ids: npt.NDArray[np.unsignedinteger], ends: Places, text_bytes: int, largest_id: int
    ) -> None:
        self._ids.write(np.ascontiguousarray(ids).data)
        self._ends.write((ends + self.tokens).astype("<u8").tobytes())
        self.tokens += len(ids)
        self.documents += len(ends)
        self.text_bytes += text_bytes
        self.largest_id = max(self.largest_id, largest_id)

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
        self._ids.abandon()
        self._ends.abandon()


class _HashedFile:
    """A file that is hashed as it grows; `kept`: bytes that are there already, all others are cut off.

    A thread brings it to disk on the way, so that the work need not wait for the disk at its end.
    """

    def __init__(self, path: Path, kept: int = 0) -> None:
        self.file: BinaryIO = open(path, "r+b" if kept else "wb")  # noqa: SIM115 - open as long as its shard
        self.bytes = self._handed_over = kept
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="to-disk")
        self._on_disk: Future[None] | None = None
        self.sha256 = hashlib.sha256()
        left = kept
        while left:
            block = self.file.read(min(left, _BLOCK_BYTES))
            self.sha256.update(block)
            left -= len(block)
        self.file.truncate(kept)

    def sync(self) -> int:
        self._wait()
        self.file.flush()
        os.fsync(self.file.fileno())
        return self.bytes

    def write(self, content: bytes | memoryview) -> None:
        content = memoryview(content).cast("B")
        for start in range(0, len(content), _WRITTEN_AT_ONCE):
            part = content[start : start + _WRITTEN_AT_ONCE]
            self.sha256.update(part)
            self.file.write(part)
        self.bytes += len(content)
        if self.bytes - self._handed_over >= _SYNCED_AT_ONCE and (not self._on_disk or self._on_disk.done()):
            self._wait()
            self.file.flush()
            self._handed_over = self.bytes
            self._on_disk = self._thread.submit(os.fsync, self.file.fileno())

    def close(self) -> FileEntry:
        self._wait()
        self.abandon()
        return FileEntry(bytes=self.bytes, sha256=self.sha256.hexdigest())

    def abandon(self) -> None:
        self._thread.shutdown()
        self.file.close()

    def _wait(self) -> None:
        """What the disk refused is told here: the kernel tells it once, to whoever asks first."""
        if self._on_disk:
            self._on_disk.result()
