"""Plain text files as blocks of bytes: the fast way to what `text_files.py` defines, for files that need no unpacking and no parsing.

lm-tokenizer's `DocumentReader` reads, checks, cuts and hashes them without making Python strings; tests hold the two equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from lm_tokenizer import DocumentReader, Documents, TokenizerError

from lm_train.errors import SourceError
from lm_train.texts.compressed import is_compressed
from lm_train.texts.sources import Files, Source
from lm_train.texts.text_files import check_file

_LOOK_BYTES = 1 << 20
_PARSED = (".jsonl", ".ndjson", ".parquet")


@dataclass(frozen=True)
class Block:
    """Some documents in a row out of several sources.

    `first`: the place of its first document among all; `start`: bytes of text before it; `goes_on`: its first document began in the block
    before. `read`: for each source so far, what dataset.json says of it, up to the end of this block.
    """

    documents: Documents
    first: int
    start: int
    goes_on: bool
    read: list[dict[str, Any]]


def is_plain(source: Source) -> TypeGuard[Files]:
    """Whether it is nothing but plain text files."""
    return isinstance(source, Files) and not any(
        is_compressed(path.name) or path.name.lower().endswith(_PARSED) for path in source.paths
    )


def plain_files(train: Sequence[Source], valid: Sequence[Source]) -> tuple[list[Files], list[Files]] | None:
    """The sources, if all of them are plain text files."""
    files = ([each for each in train if is_plain(each)], [each for each in valid if is_plain(each)])
    return files if (len(files[0]), len(files[1])) == (len(train), len(valid)) else None


class Blocks:
    """The blocks of some plain sources, in order; once they are read, `read` has a row for each source."""

    def __init__(self, sources: Sequence[Files], block_bytes: int, *, hashed: bool = True) -> None:
        self.sources, self.block_bytes, self.hashed = sources, block_bytes, hashed
        self.read: list[dict[str, Any]] = []

    def __iter__(self) -> Iterator[Block]:
        """Raises the `SourceError` of the first fault."""
        first, start, goes_on = 0, 0, False
        self.read = []
        for source in self.sources:
            before = self.read
            reader = DocumentReader(
                source.paths, separator=source.separator, block_bytes=self.block_bytes, hashed=self.hashed
            )
            documents = iter(reader)
            while (found := _next(documents, reader, source)) is not None:
                read = [*before, _row(source, reader)]
                yield Block(found, first, start, goes_on, read)
                ended = found.ended
                first, start, goes_on = first + ended, start + found.text_bytes, ended < len(found)
            self.read = [*before, _row(source, reader)]


def holds_documents(sources: Sequence[Files], count: int) -> bool:
    """Whether there are so many documents; no more is read than that takes."""
    blocks = Blocks(sources, _LOOK_BYTES, hashed=False)
    return any(block.first + block.documents.ended >= count for block in blocks)


def _next(documents: Iterator[Documents], reader: DocumentReader, source: Files) -> Documents | None:
    try:
        return next(documents, None)
    except TokenizerError as error:
        check_file(reader.path, "standard input" if source.name == "-" else reader.path)
        raise SourceError(f"{error}; was it changed while it was read?") from error


def _row(source: Files, reader: DocumentReader) -> dict[str, Any]:
    return {
        "name": source.name,
        "files": source.files,
        "documents": reader.documents,
        "bytes": reader.text_bytes,
        "sha256": reader.sha256,
    }
