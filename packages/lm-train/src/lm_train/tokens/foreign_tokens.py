"""Token files that other programs wrote, as shards: nanoGPT, llm.c / modded-nanogpt, numpy.

  nanoGPT     `train.bin`, `val.bin`: raw little-endian uint16, no header
  llm.c       `*_train_*.bin`, `*_val_*.bin`: 256 little-endian int32 (20240520, 1, tokens, 0 ...), then uint16
  numpy       `.npy`: one dimension of uint16 or uint32 (also uint8, int32, int64 within range are refused: rewrite them)

None of them says which tokenizer or how large a vocabulary; a raw uint32 file says not even its dtype and must be told.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lm_train.errors import DatasetError
from lm_train.tokens.token_file import open_to_read, read_at

LLM_C_MAGIC = 20240520
LLM_C_HEADER_BYTES = 1024
_UINT16 = np.dtype("<u2")


class ForeignFile(NamedTuple):
    """Where the ids of a foreign file lie."""

    path: Path
    dtype: np.dtype[np.integer]
    tokens: int
    offset: int


def foreign_splits(path: Path, dtype: np.dtype[np.integer] | None) -> dict[str, list[ForeignFile]]:
    """The token files at `path` (one file, or a folder in nanoGPT's or llm.c's way) by split; {} when there are none."""
    if not path.is_dir():
        return {"train": [inspect(path, dtype)]}
    names = sorted(entry.name for entry in path.iterdir() if entry.suffix in (".bin", ".npy"))
    train = [name for name in names if name in ("train.bin", "train.npy") or "_train_" in name]
    valid = [name for name in names if name in ("val.bin", "val.npy") or "_val_" in name]
    found = {"train": train, "valid": valid}
    return {split: [inspect(path / name, dtype) for name in names] for split, names in found.items() if names}


def inspect(path: Path, dtype: np.dtype[np.integer] | None) -> ForeignFile:
    """Which of the formats a file is and where its ids lie; `DatasetError` for one that is none of them."""
    descriptor = open_to_read(path)
    try:
        size = os.fstat(descriptor).st_size
        start = bytearray(LLM_C_HEADER_BYTES)
        start = start[: read_at(descriptor, memoryview(start), 0)]
    except IsADirectoryError:
        raise DatasetError(f"{path} is a folder; give the file of tokens") from None
    finally:
        os.close(descriptor)
    if size == 0:
        raise DatasetError(f"{path} is empty; give a file that holds tokens")
    if path.suffix == ".npy":
        found = _npy(path)
    elif len(start) == LLM_C_HEADER_BYTES and int.from_bytes(start[:4], "little") == LLM_C_MAGIC:
        version, tokens = np.frombuffer(start, "<i4")[1:3].tolist()
        if version != 1:
            raise DatasetError(
                f"{path} is an llm.c token file of version {version}; only version 1 (uint16) is read"
            )
        found = ForeignFile(path, _UINT16, tokens, LLM_C_HEADER_BYTES)
    else:
        width = (dtype or _UINT16).itemsize
        if size % width:
            raise DatasetError(
                f"{path} has {size:,} bytes, which is no whole number of {width}-byte tokens; it is cut, or no token file; give a whole one"
            )
        found = ForeignFile(path, dtype or _UINT16, size // width, 0)
    if dtype is not None and found.dtype != dtype:
        raise DatasetError(
            f"{path} holds {found.dtype.name}, not {dtype.name}; leave the dtype out: the file says it"
        )
    wanted = found.offset + found.tokens * found.dtype.itemsize
    if size != wanted:
        raise DatasetError(
            f"{path} has {size:,} bytes and its header asks for {wanted:,} ({found.tokens:,} tokens); it is cut or damaged: fetch or write it again"
        )
    return found


def _npy(path: Path) -> ForeignFile:
    header: Any
    with open(path, "rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            read = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            header = read(file)
        except ValueError as error:
            raise DatasetError(
                f"{path} is not a .npy file: {error}; write it with numpy.save, or rename a raw file to .bin"
            ) from error
        shape, _, dtype = header
        if len(shape) != 1 or dtype not in (_UINT16, np.dtype("<u4")):
            raise DatasetError(
                f"{path} holds {dtype} of shape {shape}; wanted one dimension of little-endian uint16 or uint32"
            )
        return ForeignFile(path, dtype, shape[0], file.tell())
