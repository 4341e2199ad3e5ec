"""One file of token ids, read by position: raw little-endian integers behind a header of `offset` bytes.

Reads are positioned reads (`pread`), not a memory map. A map of a file that somebody shortens kills the process with SIGBUS;
a positioned read comes back short, which is an error that names the file. Nothing is shared between calls, so a
`TokenFile` may be read from many threads, and from a process forked or spawned after it was opened.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt

from lm_train.errors import DatasetError

Ids = npt.NDArray[np.integer]


class TokenFile:
    """`tokens` ids of `dtype` in the file `path`, from byte `offset` on; the file's length is checked when it is opened."""

    def __init__(self, path: Path, dtype: np.dtype[np.integer], tokens: int, *, offset: int = 0) -> None:
        self.path, self.dtype, self.tokens, self.offset = path, dtype, tokens, offset
        self._descriptor = -1
        self._descriptor = open_to_read(path)
        size, wanted = os.fstat(self._descriptor).st_size, offset + tokens * dtype.itemsize
        if size != wanted:
            raise DatasetError(
                f"{path} is damaged: it has {size:,} bytes and should have {wanted:,} "
                f"({tokens:,} tokens of {dtype.itemsize} bytes); restore it from a good copy"
            )

    def read(self, start: int, length: int) -> Ids:
        """The ids at start .. start+length-1, which the caller knows to be there; a fresh writable array."""
        width = self.dtype.itemsize
        ids = np.empty(length, self.dtype)
        got = read_at(self._descriptor, ids.data.cast("B"), self.offset + start * width)
        if got != length * width:
            raise DatasetError(
                f"{self.path} was shortened while it was open: tokens {start:,}..{start + length - 1:,} are gone; "
                "restore it from a good copy"
            )
        return ids

    def __reduce__(self) -> str:
        raise TypeError(f"{type(self).__name__} is not sent between processes; open the dataset there")

    def __del__(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def open_to_read(path: Path) -> int:
    """A descriptor of a regular file; `DatasetError` when it is missing or may not be read."""
    try:
        return os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise DatasetError(f"{path} is missing; restore it from a good copy") from None
    except OSError as error:
        raise DatasetError(f"{path} cannot be opened: {error.strerror}") from error


if sys.platform == "win32":
    import threading

    _seek_lock = threading.Lock()

    def read_at(descriptor: int, target: memoryview, position: int) -> int:
        """Fills `target` from `position` on; gives the bytes read, fewer only at the end of the file."""
        with _seek_lock:
            os.lseek(descriptor, position, os.SEEK_SET)
            done = 0
            while done < len(target) and (part := os.read(descriptor, len(target) - done)):
                target[done : done + len(part)] = part
                done += len(part)
        return done

else:

    def read_at(descriptor: int, target: memoryview, position: int) -> int:
        """Fills `target` from `position` on; gives the bytes read, fewer only at the end of the file."""
        done = 0
        while done < len(target) and (count := os.preadv(descriptor, [target[done:]], position + done)):
            done += count
        return done
