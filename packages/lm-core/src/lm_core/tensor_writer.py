"""One safetensors file, written from the tensors' own memory while it is hashed and brought to the disk.

Handing the bytes to the system, their SHA-256 and the disk each take about as long. They go on side by side, so that a file costs
the slowest of the three, and its `FileEntry` is known without reading it back. The format: see tensor_files.py.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lm_core.manifest import FileEntry

AT_ONCE = 16 << 20  # bytes for the system at a time
SYNC_EVERY = 128 << 20  # bytes after which the disk is told to begin
NAMES = {  # in the order in which safetensors lays tensors out: widest first, so that each begins at a multiple of its width
    torch.int64: "I64",
    torch.float64: "F64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_PLACES = {dtype: place for place, dtype in enumerate(NAMES)}


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> FileEntry:
    """Writes contiguous CPU tensors as a new file, which is on the disk when this returns; gives its length and SHA-256.

    Byte for byte what safetensors' `save_file` writes. Raises OSError, which is FileExistsError where `path` is something already.
    """
    assert sys.byteorder == "little", (
        "the format is little-endian, and numbers are written as they lie in memory"
    )
    ordered = sorted(tensors.items(), key=lambda item: (_PLACES[item[1].dtype], item[0]))
    sha256, written, synced = hashlib.sha256(), 0, 0
    with (
        open(path, "xb", buffering=0) as file,
        ThreadPoolExecutor(1) as hashing,
        ThreadPoolExecutor(1) as syncing,
    ):
        pending = []
        for piece in _pieces(_header(ordered, metadata), [tensor for _, tensor in ordered]):
            hashing.submit(sha256.update, piece)
            while len(piece):
                count = file.write(piece) or 0
                piece, written = piece[count:], written + count
            if written - synced >= SYNC_EVERY:
                pending.append(syncing.submit(os.fsync, file.fileno()))
                synced = written
        for each in pending:
            each.result()
        os.fsync(file.fileno())
    return FileEntry(bytes=written, sha256=sha256.hexdigest())


def _header(ordered: list[tuple[str, Tensor]], metadata: Mapping[str, str]) -> bytes:
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, tensor in ordered:
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _pieces(header: bytes, tensors: list[Tensor]) -> Iterator[memoryview]:
    yield memoryview(header)
    for tensor in tensors:
        assert tensor.device.type == "cpu"
        assert tensor.is_contiguous()
        data: Any = tensor.detach().reshape(-1).view(torch.uint8).numpy()
        whole = memoryview(data)
        for first in range(0, len(whole), AT_ONCE):
            yield whole[first : first + AT_ONCE]
