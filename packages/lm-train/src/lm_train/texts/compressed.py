"""Files that may be compressed -> their bytes, in blocks of bounded size: `.gz` and `.zst`, by name; any other as it is."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import zstandard

from lm_train.errors import SourceError

BLOCK_BYTES = 1 << 20
COMPRESSIONS = (".gz", ".zst")
PACKED = (".xz", ".bz2", ".zip", ".7z", ".lz4", ".tar", ".tgz", ".rar")  # which is not unpacked here
_PACKED_BYTES = (
    1 << 12
)  # of .zst at a time: a hostile block unpacks to 30,000 times its size at most, which must fit in memory
_FRAME_HEADER_BYTES = 18
_LARGEST_WINDOW = 1 << 31  # what `zstd --ultra --long=31` needs


def without_compression(name: str) -> str:
    """ "a.jsonl.gz" -> "a.jsonl"."""
    for ending in COMPRESSIONS:
        name = name.removesuffix(ending)
    return name


def is_compressed(name: str) -> bool:
    return name.lower().endswith(COMPRESSIONS)


def zstandard_window(path: Path) -> int:
    """Bytes that unpacking a .zst file takes to look back into; 0 for any other, and for one that is damaged."""
    if not path.name.lower().endswith(".zst"):
        return 0
    try:
        with open(path, "rb") as file:
            return zstandard.get_frame_parameters(file.read(_FRAME_HEADER_BYTES)).window_size
    except (OSError, zstandard.ZstdError):
        return 0


def unpacked(file: BinaryIO, name: str) -> Iterator[bytes]:
    """The content of a file, unpacked as its name says. Raises SourceError where it is damaged or its end is missing."""
    if name.lower().endswith(".gz"):
        return _gzip(file, name)
    return _zstandard(file, name) if name.lower().endswith(".zst") else _blocks(file, BLOCK_BYTES)


def _blocks(file: BinaryIO, size: int) -> Iterator[bytes]:
    while block := file.read(size):
        yield block


def _gzip(file: BinaryIO, name: str) -> Iterator[bytes]:
    try:
        with gzip.open(file) as unzipped:
            while block := unzipped.read(BLOCK_BYTES):
                yield block
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise SourceError(f"{name} is not a whole gzip file: {error}; fetch it again") from error


def _zstandard(file: BinaryIO, name: str) -> Iterator[bytes]:
    """All frames of the file, one after another. (The library's stream reader does not tell a file whose end is missing.)"""
    decompressor = zstandard.ZstdDecompressor(max_window_size=_LARGEST_WINDOW)
    frame, whole = decompressor.decompressobj(), False
    try:
        for block in _blocks(file, _PACKED_BYTES):
            while block:
                if frame.eof:
                    frame = decompressor.decompressobj()
                if unpacked_block := frame.decompress(block):
                    yield unpacked_block
                block, whole = frame.unused_data, frame.eof
    except zstandard.ZstdError as error:
        raise SourceError(f"{name} is not a whole zstd file: {error}; fetch it again") from error
    if not whole:
        raise SourceError(f"{name} is not a whole zstd file: its end is missing; fetch it again")
