"""Text -> tokenizer -> token dataset folder: `prepare(["corpus.txt"], "datasets/corpus")`.

  1. every text is read once (text that a given tokenizer encodes is not, .parquet apart: steps 1 and 4 are one, texts/blocks.py): checked, counted, hashed (a dataset of the same text and settings is there already: done)
  2. the documents to hold out are chosen (held_out.py)
  3. the tokenizer is loaded, or trained on the documents that are not held out
  4. the text is read again, encoded by all cores a few megabytes at a time, and written (dataset_writer.py)
  5. `dataset.json` seals the folder, which until then is a temporary one beside its place; then it is renamed

Memory does not grow with the text (a trained tokenizer's word counts apart). Stopped, killed or out of disk at any moment, nothing is there under the
folder's name, and the next call goes on from the last half minute (partial.py), to the same bytes as one that was never stopped. A lock keeps a second
writer out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path

from lm_core.atomic_folder import (
    DiskFullError,
    fsync_tree,
    naming_a_full_disk,
    new_folder,
    require_space,
    temporary_sibling,
)
from lm_core.manifest import digest_file
from lm_tokenizer import Tokenizer

from lm_train.dataset import TokenDataset
from lm_train.disk_full import with_advice
from lm_train.errors import ConfigError, SourceError, TooFewTokensError
from lm_train.lock import locked
from lm_train.texts.blocks import Blocks, files_in_blocks, holds_documents
from lm_train.texts.sources import Source, open_sources
from lm_train.texts.text_files import SEPARATOR
from lm_train.texts.text_scan import Progress, Scan, scan_texts
from lm_train.tokens.dataset_format import DatasetInfo, dtype_for, write_info
from lm_train.tokens.dataset_writer import SplitWriter
from lm_train.tokens.encode_blocks import BLOCK_BYTES, encode_blocks
from lm_train.tokens.encode_documents import ENCODED_AT_ONCE, encode_documents
from lm_train.tokens.held_out import SplitPiece, choose_rule, documents_in_group, split_pieces
from lm_train.tokens.partial import Partial
from lm_train.tokens.prepared_before import prepared_before, remove_leftovers, without_name
from lm_train.tokens.tasks import Engine
from lm_train.tokens.text_tokenizer import (
    CHARACTERS,
    COUNTED_BYTES,
    END_OF_TEXT,
    end_of_text_id,
    given_tokenizer,
    new_tokenizer,
)

__all__ = ["CHARACTERS", "END_OF_TEXT", "SHARD_TOKENS", "Progress", "prepare"]

SHARD_TOKENS = 1 << 28


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
    engine: Engine | None = None,
) -> TokenDataset:
    """Makes the token dataset `folder` from `sources` (sources.py says what they may be) and opens it.

    tokenizer     a Tokenizer, the path of a tokenizer.json, or "characters"; None trains a byte-level BPE of `vocab_size` and `pattern`
    end_of_text   the special token after each document, which the tokenizer must have; None puts nothing there
    valid         texts to hold out; without them `valid_share` of the text is (0: none)
    separator     what stands between documents in a text file;  field: where the text is in a .jsonl line
    engine        who counts words and encodes: None, this process's threads; or the workers of a Ray cluster (tokens/on_ray.py), to the same bytes
    progress      called as progress(phase, done, total): bytes of text (ids while merges are learnt); total is 0 where it is not known

    A `folder` that holds a dataset of the same text and settings is used as it is. One that holds anything else is refused, naming what
    differs, unless `replace` and it is a dataset. Errors: `SourceError`, `DatasetError`, `ConfigError`, `TooFewTokensError`, `BusyFolderError`.
    """
    if not 0 <= valid_share < 1:
        raise ConfigError(f"valid_share must be at least 0 and below 1, got {valid_share}")
    if shard_tokens < 1:
        raise ConfigError(f"shard_tokens must be at least 1, got {shard_tokens}")
    folder = Path(folder)
    if folder.name in ("", ".."):
        raise ConfigError(
            f"the dataset needs a folder of its own, got {folder}; name one, for example datasets/{{name}}"
        )
    given = given_tokenizer(tokenizer)
    if given:
        end_of_text_id(given, end_of_text)
    with locked(folder), ExitStack() as cleanup:
        remove_leftovers(folder)
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
        files = None if engine or by_character else files_in_blocks(train_texts, valid_texts)
        share = 0 if valid_texts else valid_share
        # With a tokenizer at hand and nothing to compare with, all that must be known beforehand is whether there are many documents.
        in_one_go = (
            files is not None
            and given is not None
            and not folder.exists()
            and holds_documents(files[0], documents_in_group(share))
        )
        scan = (
            Scan([], documents_in_group(share), sum(source.size for source in train_texts), frozenset())
            if in_one_go
            else scan_texts(train_texts, by_character, progress)
        )
        valid_scan = scan_texts(valid_texts, by_character, progress)
        settings = {
            "tokenizer": given.fingerprint if given else tokenizer if tokenizer == CHARACTERS else "bpe",
            "vocab_size": None if given or tokenizer == CHARACTERS else vocab_size,
            "pattern": None if given or tokenizer == CHARACTERS else pattern,
            "end_of_text": end_of_text,
            "valid": [without_name(source) for source in valid_scan.sources] if valid_texts else valid_share,
            "seed": seed,
            "shard_tokens": shard_tokens,
        }
        if not in_one_go and (done := prepared_before(folder, scan.sources, settings, replace=replace)):
            return done
        if scan.documents == 0 or (valid_texts and valid_scan.documents == 0):
            raise SourceError(
                f"{_names(train_texts if scan.documents == 0 else valid_texts)} holds no text, only white space"
            )

        rule = choose_rule(scan.documents, scan.text_bytes, share, seed)

        def documents() -> Iterator[SplitPiece]:
            train = split_pieces(chain.from_iterable(source.pieces() for source in train_texts), rule)
            held_out = (piece for source in valid_texts for piece in source.pieces())
            return chain(train, (("valid", text, last) for text, last in held_out))

        total = scan.text_bytes + valid_scan.text_bytes
        job = {
            "sources": [without_name(source) for source in scan.sources],
            "settings": settings,
            "at_once": f"{BLOCK_BYTES} bytes" if files else f"{ENCODED_AT_ONCE} characters",
        }
        partial = Partial(folder, job)
        try:
            with naming_a_full_disk(folder.absolute(), total // 2):
                require_space(folder.absolute().parent, (total - partial.text_bytes) // 2)
                tok = partial.tokenizer() or given
                if tok is None:
                    tok = new_tokenizer(
                        tokenizer,
                        documents,
                        scan,
                        valid_scan,
                        vocab_size,
                        pattern,
                        end_of_text,
                        progress,
                        engine,
                        (Blocks(files[0], COUNTED_BYTES, hashed=False), rule) if files else None,
                    )
                tok.save(partial.path)
                end_id = end_of_text_id(tok, end_of_text)
                if files:
                    splits, read = encode_blocks(
                        partial,
                        tok,
                        end_id,
                        files,
                        rule,
                        None if in_one_go else total,
                        shard_tokens,
                        progress,
                    )
                else:
                    splits = encode_documents(
                        partial, tok, end_id, documents(), total, shard_tokens, progress, engine
                    )
                if in_one_go:  # now the text's length is known
                    total = valid_scan.text_bytes + sum(row["bytes"] for row in read)
                _refuse_changed(splits, total)
                _refuse_empty(splits, rule.rule != "none" or bool(valid_texts), total)
                info = DatasetInfo(
                    dtype=dtype_for(tok.vocab_size),
                    vocab_size=tok.vocab_size,
                    end_of_text=end_id,
                    tokenizer_fingerprint=tok.fingerprint,
                    tokenizer_files={
                        path.name: digest_file(path) for path in sorted(partial.path.glob("tokenizer*.json"))
                    },
                    splits={split: writer.shards for split, writer in splits.items() if writer.shards},
                    sources=read if files else scan.sources,
                    settings=settings,
                )
                write_info(partial.path, info)
                fsync_tree(partial.path)  # whatever the disk has no room for is told before anything is moved
        except DiskFullError as error:
            partial.leave()
            raise with_advice(error, *_how_to_go_on(partial, total)) from error
        except SourceError:
            if in_one_go:  # what is there is good as far as its mark: the next call compares, and goes on
                partial.leave()
            else:
                partial.remove()
            raise
        except Exception:
            partial.remove()
            raise
        except BaseException:  # Ctrl-C and its kind
            partial.leave()
            raise
        with new_folder(folder, replace=replace) as temporary:
            partial.move_into(temporary)
        return TokenDataset(folder, verify=False)  # its hashes were taken just now


def _how_to_go_on(partial: Partial, total: int) -> tuple[str, str]:
    if not partial.text_bytes:
        return "nothing was encoded yet", "run the same again, or choose another disk"
    kept = f"{partial.text_bytes:,} of {total:,} bytes of text are encoded and kept in {partial.path}"
    return kept, "run the same again: it goes on from there"


def _refuse_changed(splits: dict[str, SplitWriter], total: int) -> None:
    written = sum(shard.text_bytes for writer in splits.values() for shard in writer.shards.values())
    if written != total:
        raise SourceError(
            f"the text changed while it was read: {total:,} bytes at first, then {written:,}; run it again when it is complete"
        )


def _refuse_empty(splits: dict[str, SplitWriter], wants_valid: bool, total: int) -> None:
    if not splits["train"].shards or (wants_valid and not splits["valid"].shards):
        raise TooFewTokensError(
            f"{total:,} bytes of text are too few to train on one part and hold out another; give more text, or hold out none (lm-train prepare --valid-share 0)"
        )


def _names(sources: list[Source]) -> str:
    return " and ".join(source.name for source in sources)
