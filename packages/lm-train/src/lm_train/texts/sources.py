"""Where text comes from: what a user names -> sources that can be read any number of times.

  stdlib                 Python's own standard library (stdlib_text.py)
  stories, stories:20MB  a small grammar of known entropy (stories.py), 10 MB unless a size is given
  shakespeare            1.1 MB of plays, downloaded once (download.py)
  tinystories            22 MB of short stories, downloaded once
  hub:owner/name         a data set of the Hugging Face Hub (hub.py), downloaded once
  -                      standard input
  *.jsonl, *.gz, *.parquet     a file (text_files.py); a folder: every text file in it; a glob: every file it matches

A file or folder called like a named text is reached as ./stories.
"""

from __future__ import annotations

import glob
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lm_core.atomic_folder import naming_a_full_disk

from lm_train.errors import SourceError
from lm_train.texts.compressed import is_compressed, without_compression
from lm_train.texts.download import SHAKESPEARE, TINYSTORIES, Download, fetch
from lm_train.texts.hub import hub_files
from lm_train.texts.stdlib_text import stdlib_files, stdlib_name
from lm_train.texts.stories import stories
from lm_train.texts.text_files import SEPARATOR, Piece, read_pieces

Progress = Callable[[str, int, int], None]
NAMED = ("stdlib", "stories", "shakespeare", "tinystories")
STORIES_BYTES = 10_000_000
_UNITS = {"": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9}

# What people keep text in. In a folder only these are read, because a folder of text also holds pictures, archives and caches;
# a file that is named itself is read whatever it is called.
TEXT_EXTENSIONS = frozenset(
    [
        ".txt",
        ".text",
        ".md",
        ".markdown",
        ".rst",
        ".tex",
        ".org",
        ".adoc",
        ".html",
        ".htm",
        ".xml",
        ".csv",
        ".tsv",
        ".parquet",
        ".srt",
        ".jsonl",
        ".ndjson",
        ".py",
        ".pyi",
        ".c",
        ".h",
        ".cc",
        ".cpp",
        ".hpp",
        ".cs",
        ".java",
        ".kt",
        ".scala",
        ".js",
        ".jsx",
        ".ts",
        ".tsx",
        ".go",
        ".rs",
        ".rb",
        ".php",
        ".pl",
        ".lua",
        ".r",
        ".jl",
        ".hs",
        ".ml",
        ".ex",
        ".erl",
        ".swift",
        ".m",
        ".sh",
        ".bash",
        ".sql",
        ".toml",
        ".yaml",
        ".yml",
        ".ini",
        ".cfg",
    ]
)


class Source(Protocol):
    """A text: its name for people, its size where that is known beforehand, its documents."""

    @property
    def name(self) -> str: ...
    @property
    def files(self) -> int:
        """Files it lies in; 0 for text that is made up."""

    @property
    def size(self) -> int:
        """Bytes of its text, roughly, for progress; 0 where that is not known."""

    def pieces(self) -> Iterator[Piece]:
        """Its documents from the start, the same each time (`text_files.py` says what a piece is)."""


@dataclass(frozen=True)
class Files:
    """Documents out of files, in the order given. Empty files are no documents."""

    name: str
    paths: tuple[Path, ...]
    field: str = "text"
    separator: str | None = SEPARATOR

    @property
    def files(self) -> int:
        return len(self.paths)

    @property
    def file_bytes(self) -> int:
        """Bytes of the files as they lie on the disk, packed or not."""
        return sum(path.stat().st_size for path in self.paths)

    @property
    def size(self) -> int:
        return 0 if any(is_compressed(path.name) for path in self.paths) else self.file_bytes

    def pieces(self) -> Iterator[Piece]:
        for path in self.paths:
            name = "standard input" if self.name == "-" else None
            yield from read_pieces(path, field=self.field, separator=self.separator, name=name)


@dataclass(frozen=True)
class Stories:
    """Stories of the grammar until they are `size` bytes or more. The same seed tells the same stories."""

    name: str
    size: int = STORIES_BYTES
    seed: int = 0
    files: int = 0

    def pieces(self) -> Iterator[Piece]:
        told = 0
        for story in stories(self.seed):
            yield story, True
            told += len(story.encode())
            if told >= self.size:
                return


def open_sources(
    names: Iterable[str | Path] | str | Path,
    *,
    spool: Path,
    field: str = "text",
    separator: str | None = SEPARATOR,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[Source]:
    """The sources that `names` name, in order. Standard input is copied to `spool`, downloads go to the user's cache.

    `SourceError` for what is not there, is empty, or has no text in it.
    """
    listed = [names] if isinstance(names, str | Path) else list(names)
    if not listed:
        raise SourceError(f"no text was named; give files, folders, or one of {', '.join(NAMED)}")
    return [_open(name, spool, field, separator, seed, progress) for name in listed]


def _open(
    given: str | Path, spool: Path, field: str, separator: str | None, seed: int, progress: Progress | None
) -> Source:
    name = str(given)
    kind, _, size = name.partition(":") if isinstance(given, str) else ("", "", "")
    if kind == "stories":
        return Stories(name, _bytes_of(size) if size else STORIES_BYTES, seed)
    if given == "stdlib":
        return Files(stdlib_name(), tuple(stdlib_files()), separator=None)
    if given in ("shakespeare", "tinystories"):
        return _downloaded(SHAKESPEARE if given == "shakespeare" else TINYSTORIES, progress)
    if kind == "hub":
        return Files(name, tuple(hub_files(name, progress)), field, separator)
    if given == "-":
        return _standard_input(spool, field, separator)
    return Files(name, tuple(_paths(name)), field, separator)


def _downloaded(download: Download, progress: Progress | None) -> Source:
    return Files(download.name, (fetch(download, progress=progress),), separator=download.separator)


def _standard_input(spool: Path, field: str, separator: str | None) -> Source:
    with naming_a_full_disk(spool), open(spool, "wb") as file:
        shutil.copyfileobj(sys.stdin.buffer, file)
    if spool.stat().st_size == 0:
        raise SourceError("standard input is empty; pipe text into it")
    return Files("-", (spool,), field, separator)


def _paths(name: str) -> list[Path]:
    path = Path(name)
    if path.is_dir():
        return _files_below(path)
    if path.is_file():
        if path.stat().st_size == 0:
            raise SourceError(f"{name} is empty; give a file with text in it")
        return [path]
    if glob.has_magic(name):
        found = sorted(match for match in glob.glob(name, recursive=True) if os.path.isfile(match))
        if not found:
            raise SourceError(
                f"no file matches {name} in {Path.cwd()}; give another pattern, or go where the files are"
            )
        return [Path(match) for match in found]
    if path.exists():
        raise SourceError(
            f"{name} is neither a file nor a folder; give one of these, or - to read from a pipe"
        )
    raise SourceError(
        f"there is no file or folder {name}; give a path, - for standard input, or one of {', '.join(NAMED)}"
    )


def _files_below(folder: Path) -> list[Path]:
    found: list[tuple[str, Path]] = []
    others: set[str] = set()
    for parent, folders, names in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and name not in ("__pycache__", "node_modules")
        ]
        for name in names:
            path = Path(parent, name)
            extension = Path(without_compression(name.lower())).suffix
            if name.startswith(".") or not path.is_file():
                continue
            if extension in TEXT_EXTENSIONS:
                found.append((path.relative_to(folder).as_posix(), path))
            else:
                others.add(extension or "(no extension)")
    if not found:
        seen = f"only {', '.join(sorted(others)[:8])}" if others else "no files at all"
        raise SourceError(
            f"{folder} holds no text file (.txt, .md, .jsonl, source code ...), {seen}; name the files themselves, for example '{folder}/*'"
        )
    return [path for _, path in sorted(found)]


def _bytes_of(size: str) -> int:
    match = re.fullmatch(r"(\d+(?:\.\d+)?) ?([kmg]?b?)", size.lower())
    unit = match and _UNITS.get(match[2] if match[2].endswith("b") or not match[2] else match[2] + "b")
    if not match or not unit or not (number := int(float(match[1]) * unit)):
        raise SourceError(f"stories:{size}: wanted a size such as stories:20MB, got {size!r}")
    return number
