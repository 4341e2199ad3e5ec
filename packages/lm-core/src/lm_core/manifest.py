"""`manifest.json`: the last file of a folder to be written, which seals all the others.

It lists every other file with its bytes and SHA-256, and carries facts about the folder (step, fingerprints,
versions). Model folders, checkpoints and datasets use it alike:

    with new_folder("model") as folder:          # a temporary sibling
        ...write files...
        seal_folder(folder, kind="model", facts={"step": 1000})
    verify_folder("model")                       # names any file that changed since

The format is specified in docs/manifest-format.md.
"""

import hashlib
import importlib.metadata
import os
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lm_core.atomic_folder import (
    DiskFullError,
    FolderExistsError,
    fsync_file,
    fsync_folder,
    new_folder,
)
from lm_core.errors import DamagedFileError, ModelFolderError
from lm_core.folder_names import MANIFEST_NAME, MAY_BE_ADDED, file_names, name_complaint, path_inside
from lm_core.sealed_json import read_sealed_json, write_sealed_json

__all__ = [
    "FORMAT_VERSION",
    "MANIFEST_NAME",
    "DiskFullError",
    "FileEntry",
    "FolderExistsError",
    "Manifest",
    "check_file",
    "digest_file",
    "fsync_file",
    "fsync_folder",
    "new_folder",
    "read_manifest",
    "read_sealed_json",
    "seal_folder",
    "verify_folder",
    "write_sealed_json",
]

FORMAT = "lm-core manifest"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class FileEntry:
    """What a manifest knows of one file: its length in bytes and its SHA-256 in lower-case hex."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """The content of a `manifest.json`. `files` maps POSIX names relative to the folder to their entries."""

    kind: str
    format_version: int
    facts: dict[str, Any]
    files: dict[str, FileEntry]
    written_by: str = field(default="", compare=False)


def digest_file(path: Path | str) -> FileEntry:
    """Length and SHA-256 of a file, read once as a stream."""
    with open(path, "rb", buffering=0) as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return FileEntry(bytes=file.tell(), sha256=sha256)


def seal_folder(
    folder: Path | str, *, kind: str, facts: dict[str, Any], written: Mapping[str, FileEntry] | None = None
) -> Manifest:
    """fsyncs every file of the folder, then writes the `manifest.json` that lists them; replaces an old one.

    `kind` is a word for what the folder is ("model", "checkpoint", "dataset"); `facts` is anything that JSON
    holds. Nothing may be written into the folder afterwards. `written` are files, by their names in the folder, that their writer
    hashed and fsynced: they are not read again. A `ModelFolderError` names one that has another length by now.
    """
    folder, written = Path(folder), written or {}
    files = {}
    for name in file_names(folder):
        if complaint := name_complaint(name):
            raise ModelFolderError(
                f"{folder / name}: the name {complaint}, so it cannot be listed; rename it"
            )
        path = path_inside(folder, name)
        if not path.is_file():
            raise ModelFolderError(f"{path} is not a regular file, so it cannot be listed; remove it")
        if name in written:
            files[name] = _as_written(path, written[name])
            continue
        fsync_file(path)
        files[name] = digest_file(path)
    manifest = Manifest(kind, FORMAT_VERSION, facts, files, written_by=_this_version())
    write_sealed_json(
        folder / MANIFEST_NAME,
        {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "kind": kind,
            "facts": facts,
            "files": {name: {"bytes": entry.bytes, "sha256": entry.sha256} for name, entry in files.items()},
            "written_by": manifest.written_by,
        },
    )
    return manifest


def _as_written(path: Path, entry: FileEntry) -> FileEntry:
    if (size := path.stat().st_size) != entry.bytes:
        raise ModelFolderError(
            f"{path} has {size:,} bytes and {entry.bytes:,} were written; let nothing else write into the folder"
        )
    return entry


def read_manifest(folder: Path | str) -> Manifest | None:
    """The folder's manifest, itself verified but its files not looked at; None if there is none.

    A changed byte in it or a name that could leave the folder is a `DamagedFileError`; a format that is newer
    than this version reads is a `ModelFolderError` that says what to install.
    """
    path = Path(folder) / MANIFEST_NAME
    try:
        payload = read_sealed_json(path)
    except FileNotFoundError:
        return None
    return _parse(payload, path)


def check_file(folder: Path | str, name: str, entry: FileEntry, *, hashes: bool = True) -> Path:
    """Raises `DamagedFileError` unless the file `name` in `folder` is the one that `entry` describes.

    Gives the file's path. `hashes=False` checks that it exists and has the right length, in constant time.
    """
    if complaint := name_complaint(name):
        raise DamagedFileError(
            f"{folder}: the file name {name!r} {complaint}; no file outside the folder is read"
        )
    path = path_inside(Path(folder), name)
    if not path.is_file():
        raise DamagedFileError(f"{path} is missing; restore it from a good copy")
    size = path.stat().st_size
    if size != entry.bytes:
        raise DamagedFileError(
            f"{path} is damaged: it has {size:,} bytes and should have {entry.bytes:,}; restore it from a good copy"
        )
    if hashes and (actual := digest_file(path).sha256) != entry.sha256:
        raise DamagedFileError(
            f"{path} is damaged: its SHA-256 is {actual} and should be {entry.sha256}; restore it from a good copy"
        )
    return path


def verify_folder(folder: Path | str, *, hashes: bool = True) -> Manifest | None:
    """Checks every file of a folder against its manifest, and that no file was added; gives the manifest.

    One `DamagedFileError` names all files that are missing, changed, or not listed. Lengths are always
    checked; `hashes=False` leaves out the SHA-256s. None means: a foreign folder, with no manifest to check.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ModelFolderError(f"there is no folder {folder}; give one that is there")
    manifest = read_manifest(folder)
    if manifest is None:
        return None
    complaints = [
        f"{folder / name} was added after the folder was sealed; remove it, or seal the folder again if it belongs there"
        for name in file_names(folder)
        if name not in manifest.files and name not in MAY_BE_ADDED
    ]

    def complaint(name: str) -> str | None:
        try:
            check_file(folder, name, manifest.files[name], hashes=hashes)
        except DamagedFileError as error:
            return str(error)
        return None

    # Files side by side: hashing lets go of the interpreter, and one core hashes slower than a disk reads.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        complaints += [found for found in pool.map(complaint, manifest.files) if found]
    if complaints:
        raise DamagedFileError("\n".join(complaints))
    return manifest


def _parse(payload: dict[str, Any], path: Path) -> Manifest:
    if payload.get("format") != FORMAT:
        raise DamagedFileError(
            f'{path} is not a manifest of ours: its "format" is {payload.get("format")!r}, not {FORMAT!r}; remove it if another program wrote it'
        )
    version = payload.get("format_version")
    if type(version) is int and version > FORMAT_VERSION:
        writer = payload.get("written_by") or "a newer lm-core"
        raise ModelFolderError(
            f"{path} has format version {version} and this is {_this_version()}, which reads up to {FORMAT_VERSION}; "
            f"install {writer} or later"
        )
    try:
        if type(version) is not int or version < 1:
            raise ValueError(f'"format_version" is {version!r}')
        return Manifest(
            kind=_typed(payload, "kind", str),
            format_version=version,
            facts=_typed(payload, "facts", dict),
            files={name: _entry(name, item) for name, item in _typed(payload, "files", dict).items()},
            written_by=_typed(payload, "written_by", str),
        )
    except ValueError as error:
        raise DamagedFileError(
            f"{path} is not a valid manifest: {error}; restore it from a good copy"
        ) from error


def _entry(name: str, item: Any) -> FileEntry:
    if complaint := name_complaint(name):
        raise ValueError(f"the file name {name!r} {complaint}")
    if not isinstance(item, dict) or item.keys() != {"bytes", "sha256"}:
        raise ValueError(f'the entry of {name!r} must be {{"bytes", "sha256"}}, got {item!r}')
    length, sha256 = item["bytes"], item["sha256"]
    if type(length) is not int or length < 0:
        raise ValueError(f'"bytes" of {name!r} is {length!r}')
    if not isinstance(sha256, str) or not re.fullmatch("[0-9a-f]{64}", sha256):
        raise ValueError(f'"sha256" of {name!r} is {sha256!r}')
    return FileEntry(length, sha256)


def _typed(payload: dict[str, Any], key: str, wanted: type) -> Any:
    value = payload.get(key)
    if not isinstance(value, wanted):
        raise ValueError(f'"{key}" is {value!r}, not a {wanted.__name__}')
    return value


def _this_version() -> str:
    return f"lm-core {importlib.metadata.version('lm-core')}"
