"""Blocks of documents -> ids in shards: what `encode_documents.py` does, for files that come in blocks, without a Python string between.

Three steps at once, each some blocks ahead of the next: one thread reads (and hashes), one a processor encodes a block (two threads for the same
block would have a cache of words each, for every block at work), one writes (and hashes). All of them run without the GIL.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

from lm_tokenizer import EncodedDocuments, Tokenizer

from lm_train.processors import usable_cpus
from lm_train.read_ahead import one_ahead, worked_ahead
from lm_train.texts.blocks import Block, Blocks, size_of_all
from lm_train.texts.sources import Files
from lm_train.texts.text_scan import Progress
from lm_train.tokens.dataset_writer import SplitWriter
from lm_train.tokens.held_out import HeldOut, split_block
from lm_train.tokens.partial import Partial

BLOCK_BYTES = 1 << 23  # two of them, their ids and what is read ahead lie in a processor's last cache
BLOCKS_AT_ONCE = 8  # at most: memory is a few blocks for each
Read = list[dict[str, Any]]
RuledBlock = tuple[Block, HeldOut | None, Read, int]
"""A block, the rule that splits it (None: it is held out whole), what was read of each source up to its end, and the bytes of their files."""


def encode_blocks(
    partial: Partial,
    tokenizer: Tokenizer,
    end_id: int | None,
    files: tuple[list[Files], list[Files]],
    rule: HeldOut,
    total: int | None,
    shard_tokens: int,
    progress: Progress | None,
) -> tuple[dict[str, SplitWriter], Read]:
    """Writes both splits into `partial`, from its last mark on; `.shards` of what comes back are their files. `files`: the texts
    that `rule` splits, and those that are held out whole; of the former what was read comes back, too.

    The text up to the mark is read and compared, but not encoded; where it is another one, the work begins anew.
    `progress("encode", done, total)` in bytes of text; a `total` that is None is estimated.
    """
    train, valid = (Blocks(texts, BLOCK_BYTES) for texts in files)
    blocks = _ruled(train, valid, rule)
    if not _is_as_marked(partial, blocks, progress):
        partial.begin_again()
        tokenizer.save(partial.path)
        blocks = _ruled(train, valid, rule)

    file_bytes = sum(source.file_bytes for source in chain(*files))
    cpus = usable_cpus()
    at_once = min(cpus, BLOCKS_AT_ONCE)

    def encoded(each: RuledBlock) -> tuple[list[tuple[str, EncodedDocuments]], Read, int]:
        block, held_out, read, bytes_read = each
        parts = split_block(block, held_out) if held_out else [("valid", block.documents)]
        threads = -(-cpus // at_once)
        return (
            [(split, part.encode(tokenizer, append=end_id, threads=threads)) for split, part in parts],
            read,
            bytes_read,
        )

    writers = {
        split: partial.writer(split, tokenizer.vocab_size, shard_tokens) for split in ("train", "valid")
    }
    done, marked = partial.text_bytes, partial.groups
    try:
        with one_ahead(blocks) as ahead, worked_ahead(encoded, ahead, at_once) as results:
            for number, (parts, read, bytes_read) in enumerate(results, marked + 1):
                for split, part in parts:
                    writers[split].append(
                        part.ids, part.ends, part.text_ends, part.text_bytes, part.largest_id
                    )
                    done += part.text_bytes
                partial.mark_if_due(number, done, writers, read)
                if progress:
                    estimate = size_of_all(done, bytes_read, file_bytes)
                    progress("encode", done, estimate if total is None else max(done, total))
        if progress:
            progress("encode", done, done)
        for writer in writers.values():
            writer.close()
    finally:
        for writer in writers.values():
            writer.abandon()
    return writers, train.read


def _ruled(train: Blocks, valid: Blocks, rule: HeldOut) -> Iterator[RuledBlock]:
    for block in train:
        yield block, rule, block.read, block.file_bytes
    for block in valid:
        yield block, None, train.read + block.read, train.file_bytes + block.file_bytes


def _is_as_marked(partial: Partial, blocks: Iterator[RuledBlock], progress: Progress | None) -> bool:
    """Takes the blocks up to the mark; whether they are the text whose ids are there."""
    done, read = 0, None
    for _ in range(partial.groups):
        block, _, read, _ = next(blocks, (None, None, None, 0))
        if block is None:
            return False
        done += block.documents.text_bytes
        if progress:
            progress("read", done, max(done, partial.text_bytes))
    return read is None or partial.was_read(read)
