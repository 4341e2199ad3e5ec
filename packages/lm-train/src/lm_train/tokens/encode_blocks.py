"""Blocks of documents -> ids in shards: what `encode_documents.py` does, for plain text files, without a Python string between.

Three steps at once, each in a thread and a block ahead of the next: read (and hash), encode (with all cores), write (and hash). All of them run
without the GIL.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lm_tokenizer import EncodedDocuments, Tokenizer

from lm_train.read_ahead import one_ahead
from lm_train.texts.blocks import Block, Blocks
from lm_train.texts.sources import Files
from lm_train.texts.text_scan import Progress
from lm_train.tokens.dataset_writer import SplitWriter
from lm_train.tokens.held_out import HeldOut, split_block
from lm_train.tokens.partial import Partial

BLOCK_BYTES = 1 << 24  # larger ones leave a core idle less often, at a block's end
Encoded = list[tuple[str, EncodedDocuments]]


class _OtherTextError(Exception):
    """The text up to the mark is not the one whose ids are there."""


def encode_blocks(
    partial: Partial,
    tokenizer: Tokenizer,
    end_id: int | None,
    files: tuple[list[Files], list[Files]],
    rule: HeldOut,
    total: int,
    shard_tokens: int,
    progress: Progress | None,
) -> tuple[dict[str, SplitWriter], list[dict[str, Any]]]:
    """Writes both splits into `partial`, from its last mark on; `.shards` of what comes back are their files. `files`: the texts
    that `rule` splits, and those that are held out whole; of the former what was read comes back, too.

    The text up to the mark is read and compared, but not encoded; where it is another one, the work begins anew.
    `progress("encode", done, total)` in bytes of text, of which `total` need not be exact.
    """
    try:
        return _encoded(partial, tokenizer, end_id, files, rule, total, shard_tokens, progress)
    except _OtherTextError:
        partial.begin_again()
        tokenizer.save(partial.path)
        return _encoded(partial, tokenizer, end_id, files, rule, total, shard_tokens, progress)


def _encoded(
    partial: Partial,
    tokenizer: Tokenizer,
    end_id: int | None,
    files: tuple[list[Files], list[Files]],
    rule: HeldOut,
    total: int,
    shard_tokens: int,
    progress: Progress | None,
) -> tuple[dict[str, SplitWriter], list[dict[str, Any]]]:
    writers = {
        split: partial.writer(split, tokenizer.vocab_size, shard_tokens) for split in ("train", "valid")
    }
    train, valid = (Blocks(texts, BLOCK_BYTES) for texts in files)
    done, skipped = 0, partial.groups

    def all_blocks() -> Iterator[tuple[Block, HeldOut | None, list[dict[str, Any]]]]:
        for block in train:
            yield block, rule, block.read
        for block in valid:
            yield block, None, train.read + block.read

    def encoded() -> Iterator[tuple[Encoded, list[dict[str, Any]]]]:
        for block, held_out, read in one_ahead(blocks):
            parts = split_block(block, held_out) if held_out else [("valid", block.documents)]
            yield [(split, part.encode(tokenizer, append=end_id)) for split, part in parts], read

    blocks = all_blocks()
    try:
        for number in range(1, skipped + 1):
            block, _, read = next(blocks, (None, None, []))
            if block is None or (number == skipped and not partial.was_read(read)):
                raise _OtherTextError
            done += block.documents.text_bytes
            if progress:
                progress("read", done, max(done, partial.text_bytes))
        for number, (parts, read) in enumerate(one_ahead(encoded()), skipped + 1):
            for split, part in parts:
                writers[split].append(part.ids, part.ends, part.text_ends, part.text_bytes, part.largest_id)
                done += part.text_bytes
            partial.mark_if_due(number, done, writers, read)
            if progress:
                progress("encode", done, max(done, total))
        if progress:
            progress("encode", done, done)
        for writer in writers.values():
            writer.close()
    finally:
        for writer in writers.values():
            writer.abandon()
    return writers, train.read
