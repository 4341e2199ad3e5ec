"""Text files -> documents, as a stream of pieces that fits in memory whatever the file's size.

A *piece* is a whole document, or part of a long one: (text, whether the document ends with it). Joined, the pieces of a
document are its exact text: nothing is normalized, line ends stay as they are (only a UTF-8 byte order mark at the
start of a file is left out). A document with no character but white space is not a document.

  .jsonl .ndjson    one document a line: the string in one field of a JSON object
  .parquet          one document a row: the text in one column (pyarrow, an extra)
  any other name    UTF-8 text; documents are separated by the literal text `<|endoftext|>` and one line end after it
  either + .gz, .zst      the same, compressed

Long documents are cut between a letter and a space before another letter, or after a line end: places where every
tokenizer pattern that lm-tokenizer knows by name also ends a pretoken, so that the ids are those of the uncut document.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

from lm_train.errors import SourceError
from lm_train.texts.compressed import PACKED, unpacked, without_compression
from lm_train.texts.parquet import parquet_documents

Piece = tuple[str, bool]
AnyPiece = TypeVar("AnyPiece", tuple[str, bool], tuple[str, str, bool])
SEPARATOR = "<|endoftext|>"
PIECE_CHARS = 1 << 18  # long documents are encoded by several threads at once, a piece each
_CUT = re.compile(r"(?<=[^\W\d_]) (?=[^\W\d_])|(?<=\S\n)(?=[^\W\d_])")
_CUT_WINDOW = 1 << 16


def read_pieces(
    path: Path | str, *, field: str = "text", separator: str | None = SEPARATOR, name: str | None = None
) -> Iterator[Piece]:
    """The documents of one file; `name` is what it is called in messages (and what its kind is read from).

    Raises `SourceError` naming the file and the byte offset (or the line of a .jsonl) of a NUL byte, of invalid UTF-8,
    of a line that is no JSON object with a string in `field`, and of damaged compressed data.
    """
    name = name or str(path)
    kind = without_compression(name.lower())
    if name.lower().endswith(".parquet"):
        for document in parquet_documents(path, name, field):
            yield from _cut(document, inside=False)
        return
    with _opened(path, name) as file:
        blocks = unpacked(file, name)
        if kind.endswith((".jsonl", ".ndjson")):
            for document in _json_documents(blocks, name, field):
                yield from _cut(document, inside=False)
        else:
            yield from split_documents(_decoded(blocks, name), separator)


def check_file(path: Path | str, name: str, *, field: str, from_line: int = 0) -> None:
    """Raises the `SourceError` of the first fault of a file; of JSON lines those before `from_line` are taken for sound."""
    with _opened(path, name) as file:
        blocks = unpacked(file, name)
        for _ in _json_documents(blocks, name, field, from_line) if from_line else _decoded(blocks, name):
            pass


def groups(pieces: Iterator[AnyPiece], characters: int) -> Iterator[list[AnyPiece]]:
    """The pieces in lists of about so many characters, the same each time; what stands second to last in a piece is its text."""
    group: list[AnyPiece] = []
    held = 0
    for piece in pieces:
        group.append(piece)
        held += len(piece[-2])
        if held >= characters:
            yield group
            group, held = [], 0
    if group:
        yield group


def _opened(path: Path | str, name: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise SourceError(f"{name} cannot be read: {error.strerror}") from error


def split_documents(texts: Iterator[str], separator: str | None) -> Iterator[Piece]:
    """The pieces of a text that comes in blocks, split at each `separator` and the one line end that may follow it."""
    held, inside, ended = "", False, False  # inside: part of the current document has gone out already
    reserve = len(separator or "") + 2  # a separator and its line end may be split between two blocks
    while not ended:
        block = next(texts, None)
        ended = block is None
        documents, held = _complete(held + (block or ""), separator, ended)
        for document in documents:
            if inside or len(document) > PIECE_CHARS:
                yield from _cut(document, inside=inside)
                inside = False
            elif document and not document.isspace():  # as _cut has it; most documents come here
                yield document, True
        while len(held) > PIECE_CHARS + reserve:
            at = _place_to_cut(held)
            yield held[:at], False
            held, inside = held[at:], True
    yield from _cut(held, inside=inside)


def _complete(text: str, separator: str | None, ended: bool) -> tuple[list[str], str]:
    """The documents that end within `text`, and what is left of it, which begins where a document does."""
    if not separator:
        return [], text
    first, *others = text.split(separator)
    documents = [first]
    documents += [
        other[1:] if other.startswith("\n") else other[2:] if other.startswith("\r\n") else other
        for other in others
    ]
    if others and len(others[-1]) < 2 and not ended:  # the separator's line end may be in the next block
        return documents[:-2], documents[-2] + separator + others[-1]
    return documents[:-1], documents[-1]


def _cut(rest: str, *, inside: bool) -> Iterator[Piece]:
    """The last part of a document, in pieces; `inside`: an earlier part has gone out."""
    if not inside and (not rest or rest.isspace()):
        return
    while len(rest) > PIECE_CHARS:
        at = _place_to_cut(rest)
        yield rest[:at], False
        rest = rest[at:]
    yield rest, True


def _place_to_cut(text: str) -> int:
    """The last good place up to PIECE_CHARS; with none in the 64 Ki characters before it, PIECE_CHARS itself."""
    for window in (_CUT_WINDOW >> 8, _CUT_WINDOW >> 4, _CUT_WINDOW):  # nearly always in the smallest
        places = [match.start() for match in _CUT.finditer(text, PIECE_CHARS - window, PIECE_CHARS)]
        if places:
            return places[-1]
    return PIECE_CHARS


def _decoded(blocks: Iterator[bytes], name: str) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset = 0
    for block in blocks:
        if offset == 0:
            if block.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise SourceError(
                    f"{name} is UTF-16 text; convert it to UTF-8 first (iconv -f UTF-16 -t UTF-8)"
                )
            if block.startswith(codecs.BOM_UTF8):
                block, offset = block[3:], 3
        yield _decode(decoder, block, offset, name)
        offset += len(block)
    _decode(decoder, b"", offset, name, final=True)


def _decode(
    decoder: codecs.IncrementalDecoder, block: bytes, offset: int, name: str, *, final: bool = False
) -> str:
    if (at := block.find(0)) >= 0:
        if name.lower().endswith(PACKED):
            kind = name[name.rindex(".") :]
            raise SourceError(
                f"{name} is packed in a way that is not read ({kind}); unpack it, or pack it as .gz or .zst"
            )
        raise SourceError(
            f"{name} is not text: it has a NUL byte at offset {offset + at:,}; give text in UTF-8, or a folder "
            "(whose files are chosen by their extension)"
        )
    kept = len(decoder.getstate()[0])  # bytes of a character that began in the block before
    try:
        return decoder.decode(block, final)
    except UnicodeDecodeError as error:
        raise SourceError(
            f"{name} is not UTF-8 text: byte 0x{error.object[error.start]:02x} at offset "
            f"{offset - kept + error.start:,} ({error.reason}); convert it to UTF-8 or leave it out"
        ) from error


def _json_documents(blocks: Iterator[bytes], name: str, field: str, from_line: int = 1) -> Iterator[str]:
    for number, line in enumerate(_lines(blocks), start=1):
        if number < from_line or not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise SourceError(
                f"{name}, line {number:,}: not valid JSON ({error}); mend that line, or name the file .txt if it is plain text"
            ) from error
        if not isinstance(row, dict) or not isinstance(row.get(field), str):
            fields = ", ".join(row) if isinstance(row, dict) else f"no object but {type(row).__name__}"
            raise SourceError(
                f'{name}, line {number:,}: wanted an object with a string in the field "{field}", got {fields}; '
                "name the field that holds the text (lm-train prepare --field)"
            )
        text: str = row[field]
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise SourceError(
                f'{name}, line {number:,}: "{field}" holds half a character (a lone surrogate) at character {error.start:,}; take it out'
            ) from error
        yield text


def _lines(blocks: Iterator[bytes]) -> Iterator[bytes]:
    parts: list[bytes] = []
    for block in blocks:
        first, *others = block.split(b"\n")
        parts.append(first)
        for line in others:
            yield b"".join(parts)
            parts = [line]
    yield b"".join(parts)
