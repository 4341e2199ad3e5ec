"""Files and folders that appear whole or not at all, also after `kill -9` or a power cut.

The order is always the same: write under a `.tmp-...` name beside the target, fsync what was written,
rename, fsync the parent. Whoever lists the parent therefore sees either nothing or the finished thing;
what a killed writer left behind begins with `.tmp-` and can be deleted at any time.
"""

import contextlib
import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from lm_core.errors import LmCoreError

TEMPORARY_PREFIX = ".tmp-"


class FolderExistsError(LmCoreError, FileExistsError):
    """A folder was to be created where one is already."""


class DiskFullError(LmCoreError, OSError):
    """There is no room on the disk (or in the user's quota) for what was to be written."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.errno = errno.ENOSPC


def fsync_file(path: Path | str) -> None:
    """Waits until the bytes of a file are on the disk. An `OSError` here means that they may not be."""
    # Windows flushes only handles that may write; elsewhere read access is enough, also for read-only files.
    descriptor = os.open(path, os.O_RDWR if os.name == "nt" else os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_folder(path: Path | str) -> None:
    """Waits until the names in a folder are on the disk; does nothing where folders cannot be fsynced.

    That is Windows, and file systems that answer "no such operation" (EINVAL, ENOTSUP) for a folder.
    Any other failure is raised: it means that a rename may be lost.
    """
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def fsync_tree(folder: Path | str) -> None:
    """fsyncs every file below a folder, then every folder from the leaves up to `folder` itself."""
    for path, _, names in os.walk(folder, topdown=False):
        for name in names:
            fsync_file(os.path.join(path, name))
        fsync_folder(path)


def temporary_sibling(target: Path) -> Path:
    """A fresh name beside `target`: `.tmp-<name>-<random>`."""
    return target.with_name(f"{TEMPORARY_PREFIX}{target.name}-{secrets.token_hex(4)}")


def require_space(folder: Path | str, needed: int) -> None:
    """Raises `DiskFullError` unless the disk of an existing `folder` has `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise DiskFullError(
            f"not enough space on the disk of {folder}: {needed:,} bytes are needed, {free:,} are free; "
            "free some space or choose another disk"
        )


def write_file_atomically(path: Path | str, content: bytes) -> None:
    """Writes a small file aside, fsyncs it and renames it to `path`, replacing what was there."""
    path = Path(path)
    temporary = temporary_sibling(path)
    try:
        with naming_a_full_disk(path, len(content)):
            with open(temporary, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            fsync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def new_folder(target: Path | str, *, replace: bool = False, expected_bytes: int = 0) -> Iterator[Path]:
    """Yields an empty temporary folder; on a clean exit it becomes `target`, on an error it is removed.

    Missing parents of `target` are made. On a clean exit every file and folder is fsynced, the temporary
    folder is renamed to `target`, and the parent is fsynced. When the body raises, nothing is left.

    `replace=False`: an existing `target` is a `FolderExistsError`, before anything is written, unless it is an empty folder.
    `replace=True`: an existing `target` is first renamed to `.tmp-<name>-<random>` and deleted after the new
    one is in place; a crash between the two renames leaves the old folder, whole, under that name.
    `expected_bytes`: how much will be written, so that a disk with less room is refused at the start.
    A disk that fills up on the way is a `DiskFullError`, also when a library reports it as its own error.
    """
    target = Path(target)
    if not replace and _is_taken(target):
        raise _exists(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    require_space(target.parent, expected_bytes)
    temporary = temporary_sibling(target)
    temporary.mkdir()
    try:
        with naming_a_full_disk(target, expected_bytes):
            yield temporary
            fsync_tree(temporary)
            _rename_into_place(temporary, target, replace=replace)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    fsync_folder(target.parent)


def _rename_into_place(temporary: Path, target: Path, *, replace: bool) -> None:
    if not os.path.lexists(target):
        os.rename(temporary, target)
        return
    if not replace:
        if _is_taken(target):  # somebody else made it while we were writing
            raise _exists(target)
        os.rmdir(target)
        os.rename(temporary, target)
        return
    aside = temporary_sibling(target)
    os.rename(target, aside)
    try:
        os.rename(temporary, target)
    except BaseException:
        os.rename(aside, target)
        raise
    if aside.is_dir() and not aside.is_symlink():
        shutil.rmtree(aside, ignore_errors=True)
    else:
        aside.unlink()


def _is_taken(target: Path) -> bool:
    """Whether there is anything under this name but an empty folder."""
    if target.is_symlink() or not target.is_dir():
        return os.path.lexists(target)
    return any(target.iterdir())


def _exists(target: Path) -> FolderExistsError:
    return FolderExistsError(f"{target} exists already; choose another name or remove it first")


@contextlib.contextmanager
def naming_a_full_disk(target: Path, needed: int = 0) -> Iterator[None]:
    """Turns "no space left" inside the block, whoever raised it, into a `DiskFullError` about `target`."""
    try:
        yield
    except DiskFullError:
        raise
    except Exception as error:
        if not _says_disk_full(error):
            raise
        free = shutil.disk_usage(target.parent).free
        wanted = f"{needed:,} bytes are needed, " if needed else ""
        raise DiskFullError(
            f"the disk is full: could not write {target}; {wanted}{free:,} bytes are free. "
            "Free some space or choose another disk; nothing half-written was left behind"
        ) from error


def _says_disk_full(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return "No space left on device" in str(error)  # safetensors raises an error of its own with this text
