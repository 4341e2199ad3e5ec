"""Reading texts once before any work is done with them: are they sound, how large are they, which are they."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lm_train.texts.blocks import Blocks, files_in_blocks, size_of_all
from lm_train.texts.sources import Files, Source
from lm_train.texts.text_files import groups

READ_AT_ONCE = 1 << 20  # characters
BLOCK_BYTES = 1 << 23
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Scan:
    """What reading the texts once tells of them."""

    sources: list[dict[str, Any]]
    documents: int
    text_bytes: int
    characters: frozenset[str]


def scan_texts(sources: list[Source], by_character: bool, progress: Progress | None) -> Scan:
    """Reads every text from its start to its end; raises the `SourceError` of the first fault."""
    rows, documents, text_bytes = [], 0, 0
    characters: set[str] = set()
    if (files := files_in_blocks(sources, [])) and not by_character:
        return _scan_blocks(files[0], progress)
    total = 0 if any(source.size == 0 for source in sources) else sum(source.size for source in sources)
    for source in sources:
        digest, found, size = hashlib.sha256(), 0, 0
        for pieces in groups(source.pieces(), READ_AT_ONCE):
            # no byte of UTF-8 is 0xFF: where documents end is part of the hash
            encoded = b"".join([text.encode() + b"\xff" if last else text.encode() for text, last in pieces])
            digest.update(encoded)
            ended = sum(last for _, last in pieces)
            found, size = found + ended, size + len(encoded) - ended
            if by_character:
                for text, _ in pieces:
                    characters.update(text)
            if progress:
                progress("read", text_bytes + size, max(total, text_bytes + size) if total else 0)
        rows.append(
            {
                "name": source.name,
                "files": source.files,
                "documents": found,
                "bytes": size,
                "sha256": digest.hexdigest(),
            }
        )
        documents, text_bytes = documents + found, text_bytes + size
    if progress and sources:
        progress("read", text_bytes, text_bytes)
    return Scan(rows, documents, text_bytes, frozenset(characters))


def _scan_blocks(sources: list[Files], progress: Progress | None) -> Scan:
    blocks, file_bytes, size = Blocks(sources, BLOCK_BYTES), sum(each.file_bytes for each in sources), 0
    for block in blocks:
        size = block.start + block.documents.text_bytes
        if progress:
            progress("read", size, size_of_all(size, block.file_bytes, file_bytes))
    if progress and sources:
        progress("read", size, size)
    return Scan(blocks.read, sum(row["documents"] for row in blocks.read), size, frozenset())
