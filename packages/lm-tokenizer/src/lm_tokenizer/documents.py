"""The documents of text files, a block at a time: for corpora that are split, counted and encoded on the way to other formats.

    for block in DocumentReader(["corpus.txt"], separator="<|endoftext|>"):
        encoded = block.encode(tok, append="<|endoftext|>")
        file.write(encoded.ids)

No text becomes a Python string: files are read, checked, cut into documents, hashed and encoded as bytes, without the GIL. A block holds some
megabytes, so memory does not grow with the corpus.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from lm_tokenizer import _rust
from lm_tokenizer.counts import paths
from lm_tokenizer.encode_file import append_id, chosen_dtype
from lm_tokenizer.errors import TokenizerError
from lm_tokenizer.types import StrPath

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike, NDArray

    from lm_tokenizer.tokenizer import Tokenizer

BLOCK_BYTES = 1 << 22


class DocumentReader:
    """Iterates over the documents of text files in order, in blocks (`Documents`). The same files give the same blocks.

    A document ends at each `separator` and at the end of its file; without a separator each file is one. Left out of the text: the one line
    end that may follow a separator, and a byte order mark at a file's start. What holds nothing but white space is no document.
    With a `field`, `.jsonl` and `.ndjson` files are JSON lines instead: in that field of each line's object is a document.
    `.gz` and `.zst` are unpacked as they are read. Text is UTF-8: any other byte, and NUL in what is no JSON, is a TokenizerFileError that
    names file and place, as is a line without the field.

    block_bytes: how much text a block holds, as a rule; memory is a few of them. A longer document goes on in the next block, cut where
        every pattern ends a pretoken, so that the ids are those of the whole. A document of JSON lines is always whole.
    hashed: whether `sha256` is wanted, which costs half a second a gigabyte.
    """

    def __init__(
        self,
        files: Iterable[StrPath] | StrPath,
        *,
        separator: str | None = None,
        field: str | None = None,
        block_bytes: int = BLOCK_BYTES,
        hashed: bool = True,
    ) -> None:
        if separator == "":
            raise TokenizerError("the separator is empty; leave it out to make each file one document")
        if block_bytes < 1:
            raise TokenizerError(f"block_bytes must be at least 1, got {block_bytes}")
        self._core = _rust.Reader(paths(files), separator, field, block_bytes, hashed)

    def __iter__(self) -> Iterator[Documents]:
        while (block := self._core.next()) is not None:
            yield Documents(block)

    @property
    def documents(self) -> int:
        """Documents that have ended in the blocks so far."""
        return self._core.documents

    @property
    def text_bytes(self) -> int:
        """Bytes of text in the blocks so far."""
        return self._core.text_bytes

    @property
    def sha256(self) -> str | None:
        """Of the text in the blocks so far, a byte FF (which is in no UTF-8) after each document that has ended."""
        return self._core.sha256

    @property
    def file_bytes(self) -> int:
        """Bytes of the files read so far, as they lie on the disk: beside the files' sizes, how far it is."""
        return self._core.file_bytes

    @property
    def line(self) -> int:
        """The line of `path`, from 1, that is at fault; 0 where it has no lines, or no fault."""
        return self._core.line

    @property
    def path(self) -> str:
        """The file that is, or was last, read: where an error is."""
        return str(self._core.path)


class Documents:
    """Documents in a row, as bytes: a block of a `DocumentReader`, or some of it. `len` is how many.

    Only the first one of a block may have begun in the block before, and only the last one may go on in the next.
    """

    def __init__(self, core: _rust.Documents) -> None:
        self._core = core

    def __len__(self) -> int:
        return len(self._core)

    def __getitem__(self, place: int) -> bytes:
        """The bytes of one of them, as far as they are here."""
        return self._core.bytes(place)

    @property
    def ended(self) -> int:
        """How many of them end here: all, or all but the last."""
        return self._core.ended

    @property
    def text_bytes(self) -> int:
        """Bytes of text."""
        return self._core.text_bytes

    def lengths(self) -> NDArray[np.int64]:
        """Bytes of each, as far as they are here."""
        import numpy as np

        return np.frombuffer(self._core.lengths(), dtype=np.int64)

    def split(self, chosen: Sequence[int]) -> tuple[Documents, Documents]:
        """Those at the places that are chosen, and all others, without copying their text."""
        first, rest = self._core.split(list(chosen))
        return Documents(first), Documents(rest)

    def split_at(self, text_bytes: int) -> tuple[Documents, Documents]:
        """The first bytes of text, and the rest. A document that is cut becomes two, the first of which ends there."""
        first, rest = self._core.split_at(text_bytes)
        return Documents(first), Documents(rest)

    def encode(
        self,
        tokenizer: Tokenizer,
        *,
        dtype: DTypeLike | None = None,
        append: str | int | None = None,
        threads: int = 0,
    ) -> EncodedDocuments:
        """The ids of the documents, each encoded by itself. Text is ordinary: no special id comes from it.

        dtype: uint16 or uint32; by default the smaller that holds the vocabulary.
        append: a special token, by text or id, to add after every document that ends.
        threads: 0 for one a processor. One is best where the caller encodes as many blocks at once as there are processors.
        """
        import numpy as np

        core = tokenizer._core
        name = chosen_dtype(core, dtype)
        ids, ends, largest_id = self._core.encode(
            core, None if append is None else append_id(core, append), name == "uint32", threads
        )
        return EncodedDocuments(
            ids=np.frombuffer(ids, dtype=np.dtype(name).newbyteorder("<")),
            ends=np.frombuffer(ends, dtype=np.int64),
            text_ends=np.frombuffer(self._core.text_ends(), dtype=np.int64),
            text_bytes=self.text_bytes,
            largest_id=largest_id,
        )


class EncodedDocuments(NamedTuple):
    """What `Documents.encode` made of some documents."""

    ids: NDArray[np.uint16] | NDArray[np.uint32]
    ends: NDArray[np.int64]
    """Where documents end, in ids, what is appended included."""
    text_ends: NDArray[np.int64]
    """Where they end in bytes of text."""
    text_bytes: int
    largest_id: int | None
    """None where there is no id."""
