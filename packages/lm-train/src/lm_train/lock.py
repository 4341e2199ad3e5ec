"""One writer a folder: a lock file beside it that names its holder and is let go by the system when the holder dies.

    with locked("datasets/books"):
        ...

The lock is the operating system's (flock; a locked byte on Windows), so `kill -9` leaves nothing to clean up and a
process id that was given out again fools nobody. The file's text (process id, host, start) only serves the message.
Processes on several hosts exclude each other where the shared file system carries flock between them (NFS since
Linux 2.6.12 does); one that refuses to lock at all is an error, not an unlocked folder.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from lm_train.errors import BusyFolderError, LmTrainError

_TEXT_BYTES = 4096
_POLL_SECONDS = 0.05
_LOCKED_BYTE = 1 << 30  # Windows locks bytes for readers too: one far behind the text


def lock_path(folder: Path | str) -> Path:
    """Where the lock of a folder lies: `.<name>.lock` beside it."""
    folder = Path(os.path.abspath(folder))
    return folder.with_name(f".{folder.name}.lock")


@contextlib.contextmanager
def locked(folder: Path | str, *, wait: bool = False) -> Iterator[None]:
    """Holds the folder's lock inside the block; the parent folder is made if need be.

    When another process (or another call in this one) holds it: raises `BusyFolderError`, naming the holder, at once;
    with `wait` goes on when it is free.
    """
    path = lock_path(folder)
    _make_parent(path.parent)
    while (descriptor := _take(path, folder, wait=wait)) is None:
        time.sleep(_POLL_SECONDS)
    try:
        with contextlib.suppress(OSError):  # a full disk takes no text; whoever writes more than that says so
            os.ftruncate(descriptor, 0)
            text = (
                f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}"
            )
            os.write(descriptor, text.encode())
        yield
    finally:
        _let_go(path, descriptor)


def _make_parent(parent: Path) -> None:
    try:
        parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _cannot_write(parent, error) from error


def _cannot_write(parent: Path, error: OSError) -> LmTrainError:
    return LmTrainError(f"cannot write into {parent}: {error.strerror}; choose another place")


def _take(path: Path, folder: Path | str, *, wait: bool) -> int | None:
    """The locked descriptor; None, or an error without `wait`, when somebody else holds it."""
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise _cannot_write(path.parent, error) from error
        try:
            _lock(descriptor)
            if _is_still(path, descriptor):
                return descriptor
        except BlockingIOError as error:
            holder = _holder(path, descriptor)
            os.close(descriptor)
            if wait:
                return None
            raise BusyFolderError(
                f"{folder} is being written by {holder.decode(errors='replace') or 'another process'}; "
                "wait for it to end, stop it, or choose another folder"
            ) from error
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its last holder removed this file after we opened it: try the new one


def _is_still(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        os.lseek(descriptor, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError(str(error)) from error
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)

    def _holder(path: Path, descriptor: int) -> bytes:
        return path.read_bytes()

    def _let_go(path: Path, descriptor: int) -> None:
        os.close(descriptor)  # Windows removes no open file; the next holder reuses it
        with contextlib.suppress(PermissionError, FileNotFoundError):
            path.unlink()

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _holder(path: Path, descriptor: int) -> bytes:
        return os.pread(descriptor, _TEXT_BYTES, 0)

    def _let_go(path: Path, descriptor: int) -> None:
        path.unlink(missing_ok=True)  # while it is still locked, so that nobody else's file is removed
        os.close(descriptor)
