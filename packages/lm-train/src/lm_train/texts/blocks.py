"""Text files as blocks of bytes: the fast way to what `text_files.py` defines, for all but .parquet.

lm-tokenizer's `DocumentReader` unpacks, reads, checks, cuts and hashes them without making Python strings; tests hold the two equal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard

from lm_tokenizer import DocumentReader, Documents, TokenizerError

from lm_train.errors import SourceError
from lm_train.texts.compressed import zstandard_window
from lm_train.texts.sources import Files, Source
from lm_train.texts.text_files import check_file

_LOOK_BYTES = 1 << 20
_LARGEST_WINDOW = 1 << 27  # of .zst, that lm-tokenizer reads


@dataclass(frozen=True)
class Block:
    """Some documents in a row out of several sources.

    `first`: the place of its first document among all; `start`: bytes of text before it; `goes_on`: its first document began in the block
    before. `read`: for each source so far, what dataset.json says of it, up to the end of this block. `file_bytes`: what was read of the
    sources' files by then, as they lie on the disk.
    """

    documents: Documents
    first: int
    start: int
    goes_on: bool
    read: list[dict[str, Any]]
    file_bytes: int


def comes_in_blocks(source: Source) -> TypeGuard[Files]:
    """Whether it is nothing but files that `Blocks` reads."""
    return isinstance(source, Files) and not any(
        path.name.lower().endswith(".parquet") or zstandard_window(path) > _LARGEST_WINDOW
        for path in source.paths
    )


def files_in_blocks(
    train: Sequence[Source], valid: Sequence[Source]
) -> tuple[list[Files], list[Files]] | None:
    """The sources, if all of them come in blocks."""
    files = (
        [each for each in train if comes_in_blocks(each)],
        [each for each in valid if comes_in_blocks(each)],
    )
    return files if (len(files[0]), len(files[1])) == (len(train), len(valid)) else None


class Blocks:
    """The blocks of some sources, in order; once they are read, `read` has a row for each source, and `file_bytes` their files' bytes."""

    def __init__(self, sources: Sequence[Files], block_bytes: int, *, hashed: bool = True) -> None:
        self.sources, self.block_bytes, self.hashed = sources, block_bytes, hashed
        self.read: list[dict[str, Any]] = []
        self.file_bytes = 0

    def __iter__(self) -> Iterator[Block]:
        """Raises the `SourceError` of the first fault."""
        first, start, goes_on = 0, 0, False
        self.read, self.file_bytes = [], 0
        for source in self.sources:
            before = self.read
            reader = DocumentReader(
                source.paths,
                separator=source.separator,
                field=source.field,
                block_bytes=self.block_bytes,
                hashed=self.hashed,
            )
            documents = iter(reader)
            while (found := _next(documents, reader, source)) is not None:
                read = [*before, _row(source, reader)]
                yield Block(found, first, start, goes_on, read, self.file_bytes + reader.file_bytes)
                ended = found.ended
                first, start, goes_on = first + ended, start + found.text_bytes, ended < len(found)
            self.read = [*before, _row(source, reader)]
            self.file_bytes += reader.file_bytes


def size_of_all(size: int, read: int, file_bytes: int) -> int:
    """About how much text the files hold, of whose `file_bytes` those that are read hold `size` bytes."""
    return max(size, round(size * file_bytes / read)) if read else size


def holds_documents(sources: Sequence[Files], count: int) -> bool:
    """Whether there are so many documents; no more is read than that takes."""
    blocks = Blocks(sources, _LOOK_BYTES, hashed=False)
    return any(block.first + block.documents.ended >= count for block in blocks)


def _next(documents: Iterator[Documents], reader: DocumentReader, source: Files) -> Documents | None:
    try:
        return next(documents, None)
    except TokenizerError as error:
        name = "standard input" if source.name == "-" else reader.path
        check_file(reader.path, name, field=source.field, from_line=reader.line)
        raise SourceError(f"{error}; was it changed while it was read?") from error


def _row(source: Files, reader: DocumentReader) -> dict[str, Any]:
    return {
        "name": source.name,
        "files": source.files,
        "documents": reader.documents,
        "bytes": reader.text_bytes,
        "sha256": reader.sha256,
    }
