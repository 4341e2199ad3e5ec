"""The tokenizer of a dataset: given, read from a file, or made from the text that is not held out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from lm_tokenizer import PretokenCounts, Tokenizer
from lm_tokenizer import Progress as LearnProgress

from lm_train.errors import ConfigError
from lm_train.read_ahead import one_ahead
from lm_train.texts.blocks import Blocks
from lm_train.texts.text_files import groups
from lm_train.texts.text_scan import Progress, Scan
from lm_train.tokens.encode_documents import texts_of
from lm_train.tokens.held_out import HeldOut, SplitPiece, split_block
from lm_train.tokens.tasks import Engine, count_texts, counting_bytes, counts_of, summed

END_OF_TEXT = "<|endoftext|>"
CHARACTERS = "characters"
COUNTED_AT_ONCE = 1 << 22  # characters, by one worker
COUNTED_BYTES = 1 << 25  # by this process: sums of counts cost less, the fewer they are


def given_tokenizer(tokenizer: Tokenizer | Path | str | None) -> Tokenizer | None:
    """The tokenizer that the caller has; None when one is to be made from the text."""
    if tokenizer is None or tokenizer == CHARACTERS or isinstance(tokenizer, Tokenizer):
        return tokenizer if isinstance(tokenizer, Tokenizer) else None
    if not Path(tokenizer).exists():
        raise ConfigError(
            f'there is no tokenizer {tokenizer}; give a tokenizer.json, "{CHARACTERS}", or none to train one'
        )
    return Tokenizer.load(tokenizer)


def new_tokenizer(
    tokenizer: object,
    documents: Callable[[], Iterator[SplitPiece]],
    scan: Scan,
    valid_scan: Scan,
    vocab_size: int,
    pattern: str,
    end_of_text: str | None,
    progress: Progress | None,
    engine: Engine | None = None,
    blocks: tuple[Blocks, HeldOut] | None = None,
) -> Tokenizer:
    """One id a character of all the text with "characters", else byte-level BPE learnt from what is not held out: of `blocks`, if the
    documents can be read so, else of `documents`."""
    specials = (end_of_text,) if end_of_text else ()
    if tokenizer == CHARACTERS:
        return Tokenizer.characters(
            "".join(sorted(scan.characters | valid_scan.characters)), special_tokens=specials
        )
    if blocks is not None:
        counts = _counted_in_blocks(*blocks, scan.text_bytes, pattern, specials, progress)
    elif engine is None:
        counts = PretokenCounts(pattern, specials)
        counts.add_texts(_to_learn_from(documents(), scan.text_bytes, progress))
    else:
        counts = _counted_by(engine, documents(), scan.text_bytes, pattern, specials, progress)

    def learning(step: LearnProgress) -> None:
        if progress and step.done < vocab_size:
            progress("learn merges", step.done, vocab_size)

    learnt = Tokenizer.train(
        counts=counts, vocab_size=vocab_size, pattern=pattern, special_tokens=specials, progress=learning
    )
    if progress:
        progress("learn merges", vocab_size, vocab_size)
    return learnt


def _counted_in_blocks(
    blocks: Blocks,
    held_out: HeldOut,
    total: int,
    pattern: str,
    specials: tuple[str, ...],
    progress: Progress | None,
) -> PretokenCounts:
    counts = PretokenCounts(pattern, specials)
    with one_ahead(iter(blocks)) as ahead:
        for block in ahead:
            for split, documents in split_block(block, held_out):
                if split == "train":
                    counts.add_documents(documents)
            if progress:
                progress("count words", min(block.start + block.documents.text_bytes, total), total)
    return counts


def _counted_by(
    engine: Engine,
    documents: Iterator[SplitPiece],
    total: int,
    pattern: str,
    specials: tuple[str, ...],
    progress: Progress | None,
) -> PretokenCounts:
    """The sum of what the engine's workers count, a few megabytes each."""
    learnt_from = groups((piece for piece in documents if piece[0] == "train"), COUNTED_AT_ONCE)
    done = 0

    def counts() -> Iterator[PretokenCounts]:
        nonlocal done
        shared = counting_bytes(pattern, specials)
        for group, found in engine.map(count_texts, shared, learnt_from, texts_of):
            done = min(done + sum(len(text.encode()) for _, text, _ in group), total)
            if progress:
                progress("count words", done, total)
            yield counts_of(found)

    return summed(counts(), PretokenCounts(pattern, specials))


def _to_learn_from(documents: Iterator[SplitPiece], total: int, progress: Progress | None) -> Iterator[str]:
    done = 0
    for split, text, _ in documents:
        if split == "train":
            yield text
        done = min(done + len(text.encode()), total)  # a held-out text of its own is not in the total
        if progress:
            progress("count words", done, total)


def end_of_text_id(tokenizer: Tokenizer, end_of_text: str | None) -> int | None:
    """The id to put after each document; `ConfigError` when the tokenizer has no such special token."""
    if end_of_text is None:
        return None
    if end_of_text not in tokenizer.special_tokens:
        known = ", ".join(tokenizer.special_tokens) or "none"
        raise ConfigError(
            f"the tokenizer has no special token {end_of_text} to put after each document (it has: {known}); "
            "name one of its own as end_of_text, or None to put nothing there"
        )
    return tokenizer.special_tokens[end_of_text]
