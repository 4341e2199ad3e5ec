"""The small types of the interface: named tuples, since importing `dataclasses` alone costs a third of our start."""

import os
from collections.abc import Callable, Collection
from typing import Literal, NamedTuple, TypeAlias

StrPath: TypeAlias = str | os.PathLike[str]
TieBreak: TypeAlias = Literal["huggingface", "ids", "greatest"]
AllOrSome: TypeAlias = Literal["all"] | Collection[str]

PATTERN_NAMES = ("gpt2", "gpt2-digits", "cl100k", "o200k", "llama3", "qwen2")


class Progress(NamedTuple):
    """How far a long piece of work is: `done` of `total` units of a phase; `total` is None while it is unknown."""

    phase: str
    done: int
    total: int | None


ProgressFunction: TypeAlias = Callable[[Progress], object]


class Special(NamedTuple):
    """A special token in `Tokenizer.encode_parts`: the one way in which text of the program's own names one."""

    text: str


class FileEncoding(NamedTuple):
    """What `Tokenizer.encode_file` wrote."""

    target: str
    dtype: str
    """`"uint16"` or `"uint32"`, little-endian, as `numpy.dtype` takes it."""
    tokens: int
    documents: int
    largest_id: int | None
    """The largest id in the file; None if it holds no token."""
    text_bytes: int
    """Bytes of text that became tokens; separators are not counted."""
    bytes: int
    """Size of the file: tokens times 2 or 4."""
    sha256: str
    """Of the file's content, in hexadecimal."""
