"""Reading texts once before any work is done with them: are they sound, how large are they, which are they."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lm_train.texts.sources import Source

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
    total = 0 if any(source.size == 0 for source in sources) else sum(source.size for source in sources)
    for source in sources:
        digest, found, size = hashlib.sha256(), 0, 0
        for text, last in source.pieces():
            encoded = text.encode()
            digest.update(encoded)
            if last:
                digest.update(b"\xff")  # no byte of UTF-8: where documents end is part of the hash
            found, size = found + last, size + len(encoded)
            if by_character:
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
