"""Documents -> ids in shards: a few megabytes of text at a time through the tokenizer's threads, whatever the corpus holds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from lm_tokenizer import Tokenizer

from lm_train.read_ahead import one_ahead
from lm_train.texts.text_files import groups
from lm_train.texts.text_scan import Progress
from lm_train.tokens.dataset_writer import SplitWriter
from lm_train.tokens.held_out import SplitPiece
from lm_train.tokens.partial import Partial
from lm_train.tokens.tasks import Encoded, Engine, encode_texts, tokenizer_bytes

Places = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
ENCODED_AT_ONCE = 1 << 22  # characters


def encode_documents(
    partial: Partial,
    tokenizer: Tokenizer,
    end_id: int | None,
    documents: Iterator[SplitPiece],
    total: int,
    shard_tokens: int,
    progress: Progress | None,
    engine: Engine | None = None,
) -> dict[str, SplitWriter]:
    """Writes both splits into `partial`, from its last mark on; `.shards` of what comes back are their files.

    `progress("encode", done, total)` in bytes of text.
    """
    writers = {
        split: partial.writer(split, tokenizer.vocab_size, shard_tokens) for split in ("train", "valid")
    }
    done, skipped = partial.text_bytes, partial.groups
    try:
        with one_ahead(groups(documents, ENCODED_AT_ONCE)) as ahead:
            left = itertools.islice(ahead, skipped, None)
            for number, (group, (ids, offsets)) in enumerate(_encoded(left, tokenizer, engine), skipped + 1):
                in_split, texts, ends_here = zip(*group, strict=True)
                sizes = np.array(
                    [len(text) if text.isascii() else len(text.encode()) for text in texts], dtype=np.int64
                )
                last = np.array(ends_here)
                for split, writer in writers.items():
                    chosen = np.array([each == split for each in in_split])
                    of_split, ends = _joined(ids, offsets, chosen, last, end_id)
                    spelled = np.cumsum(sizes[chosen])
                    writer.append(of_split, ends, spelled[last[chosen]], int(sizes[chosen].sum()))
                done += int(sizes.sum())
                partial.mark_if_due(number, done, writers)
                if progress:
                    progress("encode", done, total)
        for writer in writers.values():
            writer.close()
    finally:
        for writer in writers.values():
            writer.abandon()
    return writers


def _encoded(
    pieces: Iterator[list[SplitPiece]], tokenizer: Tokenizer, engine: Engine | None
) -> Iterator[tuple[list[SplitPiece], Encoded]]:
    """Each group with its texts' ids: by this process's threads, or by the engine's workers."""
    if engine is not None:
        shared = tokenizer_bytes(tokenizer)
        yield from engine.map(encode_texts, shared, pieces, texts_of)
        return
    for group in pieces:
        yield group, tokenizer.encode_batch_array(texts_of(group), disallowed_special=())


def texts_of(group: list[SplitPiece]) -> list[str]:
    return [text for _, text, _ in group]


def _joined(
    ids: npt.NDArray[np.uint32], offsets: Places, chosen: Flags, last: Flags, end_id: int | None
) -> tuple[npt.NDArray[np.uint32], Places]:
    """The chosen pieces' ids one after another, `end_id` after each document, and where documents end in the result."""
    lengths: Places = offsets[1:] - offsets[:-1]
    kept = ids[np.repeat(chosen, lengths)]
    ends: Places = np.cumsum(lengths[chosen])[last[chosen]]
    if end_id is None:
        return kept, ends
    return np.insert(kept, ends, end_id), ends + np.arange(1, len(ends) + 1)
