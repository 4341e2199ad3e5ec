"""Text -> tokenizer -> token dataset folder: `prepare(["corpus.txt"], "datasets/corpus")`.

  1. every text is read once: checked, counted, hashed (a dataset of the same text and settings is there already: done)
  2. the documents to hold out are chosen (held_out.py)
  3. the tokenizer is loaded, or trained on the documents that are not held out
  4. the text is read again, encoded by all cores a few megabytes at a time, and written (dataset_writer.py)
  5. `dataset.json` seals the folder, which until then is a temporary one beside its place; then it is renamed

Memory does not grow with the text (a trained tokenizer's word counts apart). Stopped at any moment, nothing is there under the folder's name, and the next
call gives the same bytes as one that was never stopped. A lock keeps a second writer out.
"""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from lm_core.atomic_folder import TEMPORARY_PREFIX, new_folder, temporary_sibling
from lm_core.manifest import digest_file
from lm_tokenizer import PretokenCounts, Tokenizer
from lm_tokenizer import Progress as LearnProgress

from lm_train.dataset import TokenDataset
from lm_train.dataset_format import DATASET_NAME, DatasetInfo, dtype_for, read_info, write_info
from lm_train.dataset_writer import SplitWriter
from lm_train.errors import ConfigError, DatasetError, SourceError, TooFewTokensError
from lm_train.held_out import SplitPiece, choose_rule, split_pieces
from lm_train.lock import locked
from lm_train.sources import Source, open_sources
from lm_train.text_files import SEPARATOR

Progress = Callable[[str, int, int], None]
Places = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
END_OF_TEXT = "<|endoftext|>"
CHARACTERS = "characters"
SHARD_TOKENS = 1 << 28
_ENCODED_AT_ONCE = 1 << 22  # characters: some megabytes of text and ids at a time, whatever the corpus


@dataclass(frozen=True)
class _Scan:
    """What reading the texts once tells of them."""

    sources: list[dict[str, Any]]
    documents: int
    text_bytes: int
    characters: frozenset[str]


def prepare(
    sources: str | Path | Iterable[str | Path],
    folder: Path | str,
    *,
    tokenizer: Tokenizer | Path | str | None = None,
    vocab_size: int = 4096,
    pattern: str = "gpt2",
    end_of_text: str | None = END_OF_TEXT,
    valid: str | Path | Iterable[str | Path] | None = None,
    valid_share: float = 0.05,
    field: str = "text",
    separator: str | None = SEPARATOR,
    seed: int = 0,
    shard_tokens: int = SHARD_TOKENS,
    replace: bool = False,
    progress: Progress | None = None,
) -> TokenDataset:
    """Makes the token dataset `folder` from `sources` (sources.py says what they may be) and opens it.

    tokenizer     a Tokenizer, the path of a tokenizer.json, or "characters"; None trains a byte-level BPE of `vocab_size` and `pattern`
    end_of_text   the special token after each document, which the tokenizer must have; None puts nothing there
    valid         texts to hold out; without them `valid_share` of the text is (0: none)
    separator     what stands between documents in a text file;  field: where the text is in a .jsonl line
    progress      called as progress(phase, done, total): bytes of text (ids while merges are learnt); total is 0 where it is not known

    A `folder` that holds a dataset of the same text and settings is used as it is. One that holds anything else is refused, naming what
    differs, unless `replace` and it is a dataset. Errors: `SourceError`, `DatasetError`, `ConfigError`, `TooFewTokensError`, `BusyFolderError`.
    """
    if not 0 <= valid_share < 1:
        raise ConfigError(f"valid_share must be at least 0 and below 1, got {valid_share}")
    if shard_tokens < 1:
        raise ConfigError(f"shard_tokens must be at least 1, got {shard_tokens}")
    folder = Path(folder)
    given = _given_tokenizer(tokenizer)
    if given:
        _end_id(given, end_of_text)
    with locked(folder), ExitStack() as cleanup:
        _remove_leftovers(folder)
        spools = [temporary_sibling(folder.absolute()) for _ in range(2)]
        for spool in spools:
            cleanup.callback(spool.unlink, missing_ok=True)
        train_texts = open_sources(
            sources, spool=spools[0], field=field, separator=separator, seed=seed, progress=progress
        )
        valid_texts: list[Source] = []
        if valid is not None:
            valid_texts = open_sources(
                valid, spool=spools[1], field=field, separator=separator, seed=seed, progress=progress
            )
        by_character = tokenizer == CHARACTERS
        scan = _scan(train_texts, by_character, progress)
        valid_scan = _scan(valid_texts, by_character, progress)
        settings = {
            "tokenizer": given.fingerprint if given else tokenizer if tokenizer == CHARACTERS else "bpe",
            "vocab_size": None if given or tokenizer == CHARACTERS else vocab_size,
            "pattern": None if given or tokenizer == CHARACTERS else pattern,
            "end_of_text": end_of_text,
            "valid": [_without_name(source) for source in valid_scan.sources] if valid_texts else valid_share,
            "seed": seed,
            "shard_tokens": shard_tokens,
        }
        if done := _done_before(folder, scan.sources, settings, replace=replace):
            return done
        if scan.documents == 0 or (valid_texts and valid_scan.documents == 0):
            raise SourceError(
                f"{_names(train_texts if scan.documents == 0 else valid_texts)} holds no text, only white space"
            )

        rule = choose_rule(scan.documents, scan.text_bytes, 0 if valid_texts else valid_share, seed)

        def documents() -> Iterator[SplitPiece]:
            train = split_pieces(chain.from_iterable(source.pieces() for source in train_texts), rule)
            held_out = (piece for source in valid_texts for piece in source.pieces())
            return chain(train, (("valid", text, last) for text, last in held_out))

        total = scan.text_bytes + valid_scan.text_bytes
        with new_folder(folder, replace=replace, expected_bytes=total // 2) as temporary:
            tok = given or _new_tokenizer(
                tokenizer, documents, scan, valid_scan, vocab_size, pattern, end_of_text, progress
            )
            end_id = _end_id(tok, end_of_text)
            splits = _write(temporary, tok, end_id, documents(), total, shard_tokens, progress)
            _refuse_empty(splits, rule.rule != "none" or bool(valid_texts), total)
            tok.save(temporary)
            tokenizer_files = {
                path.name: digest_file(path) for path in sorted(temporary.glob("tokenizer*.json"))
            }
            info = DatasetInfo(
                dtype=dtype_for(tok.vocab_size),
                vocab_size=tok.vocab_size,
                end_of_text=end_id,
                tokenizer_fingerprint=tok.fingerprint,
                tokenizer_files=tokenizer_files,
                splits={split: writer.shards for split, writer in splits.items() if writer.shards},
                sources=scan.sources,
                settings=settings,
            )
            write_info(temporary, info)
        return TokenDataset(folder)


def _given_tokenizer(tokenizer: Tokenizer | Path | str | None) -> Tokenizer | None:
    if tokenizer is None or tokenizer == CHARACTERS or isinstance(tokenizer, Tokenizer):
        return tokenizer if isinstance(tokenizer, Tokenizer) else None
    if not Path(tokenizer).exists():
        raise ConfigError(
            f'there is no tokenizer {tokenizer}; give a tokenizer.json, "{CHARACTERS}", or none to train one'
        )
    return Tokenizer.load(tokenizer)


def _new_tokenizer(
    tokenizer: object,
    documents: Callable[[], Iterator[SplitPiece]],
    scan: _Scan,
    valid_scan: _Scan,
    vocab_size: int,
    pattern: str,
    end_of_text: str | None,
    progress: Progress | None,
) -> Tokenizer:
    specials = (end_of_text,) if end_of_text else ()
    if tokenizer == CHARACTERS:
        return Tokenizer.characters(
            "".join(sorted(scan.characters | valid_scan.characters)), special_tokens=specials
        )
    counts = PretokenCounts(pattern, specials)
    counts.add_texts(_to_learn_from(documents(), scan.text_bytes, progress))

    def learning(step: LearnProgress) -> None:
        if progress and step.done < vocab_size:
            progress("learn merges", step.done, vocab_size)

    learnt = Tokenizer.train(
        counts=counts, vocab_size=vocab_size, pattern=pattern, special_tokens=specials, progress=learning
    )
    if progress:
        progress("learn merges", vocab_size, vocab_size)
    return learnt


def _to_learn_from(documents: Iterator[SplitPiece], total: int, progress: Progress | None) -> Iterator[str]:
    done = 0
    for split, text, _ in documents:
        if split == "train":
            yield text
        done = min(done + len(text.encode()), total)  # a held-out text of its own is not in the total
        if progress:
            progress("count words", done, total)


def _scan(sources: list[Source], by_character: bool, progress: Progress | None) -> _Scan:
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
    return _Scan(rows, documents, text_bytes, frozenset(characters))


def _write(
    folder: Path,
    tokenizer: Tokenizer,
    end_id: int | None,
    documents: Iterator[SplitPiece],
    total: int,
    shard_tokens: int,
    progress: Progress | None,
) -> dict[str, SplitWriter]:
    writers = {
        split: SplitWriter(folder, split, tokenizer.vocab_size, shard_tokens=shard_tokens)
        for split in ("train", "valid")
    }
    done = 0
    try:
        for group in _groups(documents):
            texts = [text for _, text, _ in group]
            ids, offsets = tokenizer.encode_batch_array(texts, disallowed_special=())
            sizes = np.array([len(text.encode()) for text in texts], dtype=np.int64)
            in_split = np.array([split for split, _, _ in group])
            last = np.array([last for _, _, last in group])
            for split, writer in writers.items():
                chosen = in_split == split
                of_split, ends = _joined(ids, offsets, chosen, last, end_id)
                spelled = np.cumsum(sizes[chosen])
                writer.append(of_split, ends, spelled[last[chosen]], int(sizes[chosen].sum()))
            done += int(sizes.sum())
            if progress:
                progress("encode", done, total)
        for writer in writers.values():
            writer.close()
    finally:
        for writer in writers.values():
            writer.abandon()
    return writers


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


def _groups(documents: Iterator[SplitPiece]) -> Iterator[list[SplitPiece]]:
    group: list[SplitPiece] = []
    held = 0
    for piece in documents:
        group.append(piece)
        held += len(piece[1])
        if held >= _ENCODED_AT_ONCE:
            yield group
            group, held = [], 0
    if group:
        yield group


def _end_id(tokenizer: Tokenizer, end_of_text: str | None) -> int | None:
    if end_of_text is None:
        return None
    if end_of_text not in tokenizer.special_tokens:
        known = ", ".join(tokenizer.special_tokens) or "none"
        raise ConfigError(
            f"the tokenizer has no special token {end_of_text} to put after each document (it has: {known}); "
            "name one of its own as end_of_text, or None to put nothing there"
        )
    return tokenizer.special_tokens[end_of_text]


def _refuse_empty(splits: dict[str, SplitWriter], wants_valid: bool, total: int) -> None:
    if not splits["train"].shards or (wants_valid and not splits["valid"].shards):
        raise TooFewTokensError(
            f"{total:,} bytes of text are too few to train on one part and hold out another; give more text, or hold out none (valid_share=0)"
        )


def _remove_leftovers(folder: Path) -> None:
    """Deletes what killed runs of this folder left; nobody else is writing it, for the lock is held."""
    pattern = re.compile(re.escape(f"{TEMPORARY_PREFIX}{folder.name}-") + "[0-9a-f]{8}")
    for path in folder.absolute().parent.iterdir():
        if pattern.fullmatch(path.name):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _done_before(
    folder: Path, sources: list[dict[str, Any]], settings: dict[str, Any], *, replace: bool
) -> TokenDataset | None:
    """The dataset that is there already, if it is this one; None if the way is free."""
    if not folder.exists():
        return None
    try:
        info = read_info(folder)
    except FileNotFoundError:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()
            return None
        raise DatasetError(
            f"{folder} exists and is no token dataset (it has no {DATASET_NAME}); choose another folder"
        ) from None
    except NotADirectoryError:
        raise DatasetError(f"{folder} is a file; choose another name for the dataset's folder") from None
    except DatasetError:
        if replace:
            return None
        raise
    differences = [
        f"{name} was {info.settings.get(name)}, is {value}"
        for name, value in settings.items()
        if info.settings.get(name) != value
    ]
    if [_without_name(row) for row in info.sources] != [_without_name(row) for row in sources]:
        differences.append(f"the text was {_described(info.sources)}, is {_described(sources)}")
    if not differences:
        return TokenDataset(folder)
    if replace:
        return None
    raise DatasetError(
        f"{folder} was prepared otherwise: {'; '.join(differences)}. Choose another folder, or say that it may be replaced"
    )


def _without_name(source: dict[str, Any]) -> dict[str, Any]:
    return {key: source[key] for key in ("documents", "bytes", "sha256")}


def _described(sources: list[dict[str, Any]]) -> str:
    return " + ".join(
        f"{row['name']} ({row['bytes']:,} bytes, SHA-256 {row['sha256'][:12]})" for row in sources
    )


def _names(sources: list[Source]) -> str:
    return " and ".join(source.name for source in sources)
