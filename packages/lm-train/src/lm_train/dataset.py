"""A token dataset, opened to read: a folder that `prepare` made, or token files of another program.

    data = TokenDataset("datasets/books")
    data.tokens("train"), data.read("train", 1_000, 129)

Opening reads every byte against its SHA-256 and the ids against the vocabulary, so that damage is named before use. `verify=False`
checks `dataset.json`, that every file is there and has its length, and nothing else: O(files).
"""

from __future__ import annotations

import bisect
import functools
import hashlib
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from lm_core.atomic_folder import TEMPORARY_PREFIX
from lm_core.errors import DamagedFileError
from lm_core.manifest import check_file
from lm_tokenizer import Tokenizer

from lm_train.errors import DatasetError
from lm_train.tokens.dataset_format import DATASET_NAME, DatasetInfo, index_name, read_info
from lm_train.tokens.foreign_tokens import ForeignFile, foreign_splits
from lm_train.tokens.token_file import Ids, TokenFile

MAX_OPEN_FILES = 64
_CHECKED_AT_ONCE = 1 << 22
_INDEX_DTYPE = np.dtype("<u8")

VerifyProgress = Callable[[str, int, int], None]


class TokenDataset:
    """The tokens of each split as one sequence, whatever number of files they lie in.

    `path` is a folder with a `dataset.json`; or a folder with nanoGPT's train.bin / val.bin or llm.c's `*_train_*.bin` / `*_val_*.bin`; or one
    such file or `.npy`, which is then the train split. For these foreign ones `dtype` ("uint16", "uint32") and
    `vocab_size` say what the files do not (default: uint16, all its 65,536 ids); documents, text bytes, tokenizer and fingerprint
    of the tokenizer are unknown (None).

    Anything that is not as it should be is a `DatasetError` naming the file. Reading is safe from several threads
    and after a fork.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        verify: bool = True,
        dtype: str | None = None,
        vocab_size: int | None = None,
    ) -> None:
        self.folder = Path(folder)
        self._open: dict[Path, TokenFile] = {}
        self.info = _info_of(self.folder)
        self._files: dict[str, list[ForeignFile]]
        if self.info:
            _refuse_other(self.folder, self.info, dtype, vocab_size)
            self.dtype, self.vocab_size = self.info.dtype, self.info.vocab_size
            self._files = {
                split: [
                    ForeignFile(self.folder / name, self.dtype, shard.tokens, 0)
                    for name, shard in shards.items()
                ]
                for split, shards in self.info.splits.items()
            }
        else:
            self._files = foreign_splits(self.folder, np.dtype(dtype).newbyteorder("<") if dtype else None)
            if "train" not in self._files:
                raise DatasetError(_unfinished(self.folder))
            self.dtype = self._files["train"][0].dtype
            self.vocab_size = vocab_size or min(2 ** (8 * self.dtype.itemsize), 2**31)
        self._ends = {
            split: list(itertools.accumulate(file.tokens for file in files))
            for split, files in self._files.items()
        }
        for file in itertools.chain.from_iterable(self._files.values()):
            self._file(file)
        if verify:
            self.verify()

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that are there: "train", and "valid" where text was held out."""
        return tuple(self._files)

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 of what a model sees of the dataset; for a foreign one it reads the files, once."""
        return self.info.fingerprint if self.info else _foreign_fingerprint(self.vocab_size, self._files)

    @property
    def tokenizer_fingerprint(self) -> str | None:
        return self.info.tokenizer_fingerprint if self.info else None

    @property
    def end_of_text(self) -> int | None:
        """The id after each document; None when there is none, or it is unknown."""
        return self.info.end_of_text if self.info else None

    def tokens(self, split: str = "train") -> int:
        """How many ids a split has, end-of-text included."""
        return self._ends[self._known(split)][-1]

    def documents(self, split: str = "train") -> int | None:
        """How many documents; None for a foreign dataset."""
        shards = self.info and self.info.splits[self._known(split)].values()
        return sum(shard.documents for shard in shards) if shards else None

    def text_bytes(self, split: str = "train") -> int | None:
        """UTF-8 bytes of the text that the split's tokens spell; None for a foreign dataset."""
        shards = self.info and self.info.splits[self._known(split)].values()
        return sum(shard.text_bytes for shard in shards) if shards else None

    def read(self, split: str, start: int, length: int) -> Ids:
        """The ids at start .. start+length-1 of a split, in the files' own dtype; a fresh array, across files if need be."""
        if start < 0 or length < 0 or start + length > self.tokens(split):
            raise DatasetError(
                f"{self.folder}: the {split} split has {self.tokens(split):,} tokens, asked for {start:,}..{start + length - 1:,}"
            )
        ends, parts = self._ends[split], []
        number = bisect.bisect_right(ends, start)
        while length > 0:
            file, end = self._files[split][number], ends[number]
            count = min(length, end - start)
            parts.append(self._file(file).read(start - (end - file.tokens), count))
            start, length, number = start + count, length - count, number + 1
        return parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, self.dtype), *parts])

    def document_ends(self, split: str = "train") -> npt.NDArray[np.uint64]:
        """Where each document of a split ends, in tokens from the split's start (its end-of-text token included)."""
        return np.concatenate([np.empty(0, np.uint64), *self.document_ends_by_file(split)])

    def document_ends_by_file(self, split: str = "train") -> Iterator[npt.NDArray[np.uint64]]:
        """The same, one file's after the other: no more than one file's are in memory."""
        if not self.info:
            raise DatasetError(
                f"{self.folder} does not say where its documents end; prepare its text with `lm-train prepare` to have that"
            )
        start = 0
        for name, shard in self.info.splits[self._known(split)].items():
            ends = TokenFile(self.folder / index_name(name), _INDEX_DTYPE, shard.documents).read(
                0, shard.documents
            )
            if np.any(np.diff(ends.astype(np.int64), prepend=0) <= 0) or (
                len(ends) and int(ends[-1]) != shard.tokens
            ):
                raise DatasetError(
                    f"{self.folder / index_name(name)} is damaged: its document ends do not rise to {shard.tokens:,}"
                )
            yield ends.astype(np.uint64) + np.uint64(start)
            start += shard.tokens

    def load_tokenizer(self) -> Tokenizer:
        """The tokenizer that made the ids, its fingerprint checked. `DatasetError` for a foreign dataset."""
        if not self.info:
            raise DatasetError(
                f"{self.folder} does not say which tokenizer made its ids; give the tokenizer.json yourself"
            )
        tokenizer = Tokenizer.load(self.folder / "tokenizer.json")
        if tokenizer.fingerprint != self.info.tokenizer_fingerprint:
            raise DatasetError(
                f"{self.folder / 'tokenizer.json'} is not the tokenizer that made this dataset: its fingerprint is "
                f"{tokenizer.fingerprint}, the dataset's is {self.info.tokenizer_fingerprint}; restore it from a good copy"
            )
        return tokenizer

    def check_tokenizer(self, tokenizer: Tokenizer) -> None:
        """`DatasetError` unless `tokenizer` is the one that made the ids (for a foreign dataset: unless its ids fit)."""
        made_by = self.tokenizer_fingerprint
        if made_by is not None and tokenizer.fingerprint != made_by:
            raise DatasetError(
                f"{self.folder} was made with another tokenizer: its fingerprint is {made_by}, this one's is "
                f"{tokenizer.fingerprint}; use {self.folder / 'tokenizer.json'}, or prepare the text again with this one"
            )
        if made_by is None and tokenizer.vocab_size < self.vocab_size:
            raise DatasetError(
                f"{self.folder} may hold ids up to {self.vocab_size - 1:,} and this tokenizer knows {tokenizer.vocab_size:,}; "
                "say how many there are (vocab_size)"
            )

    def bytes_of_tokens(self) -> npt.NDArray[np.int64]:
        """(vocab_size,) UTF-8 bytes that each id stands for; special tokens stand for none (they are not text)."""
        return bytes_of_tokens(self.load_tokenizer(), self.vocab_size)

    def verify(self, progress: VerifyProgress | None = None) -> None:
        """Reads everything: every file's SHA-256, every id against the vocabulary, every document end. `progress(phase, done, total)`: bytes."""
        files = [file for files in self._files.values() for file in files]
        total, done = sum(file.tokens * file.dtype.itemsize for file in files), 0
        for split in self.splits:
            for file in self._files[split]:
                self._verify_file(split, file)
                done += file.tokens * file.dtype.itemsize
                if progress:
                    progress("verify", done, total)
        if self.info:
            for name, entry in self.info.tokenizer_files.items():
                _check(self.folder, name, entry)
            self.load_tokenizer()

    def _verify_file(self, split: str, file: ForeignFile) -> None:
        digest, largest = hashlib.sha256(), 0
        for start in range(0, file.tokens, _CHECKED_AT_ONCE):
            ids = self._file(file).read(start, min(_CHECKED_AT_ONCE, file.tokens - start))
            digest.update(ids.data)
            largest = max(largest, int(ids.max()))
            if largest >= self.vocab_size:
                at = start + int(np.argmax(ids >= self.vocab_size))
                raise DatasetError(
                    f"{file.path}: token {at:,} is the id {int(ids[at - start])}, outside the vocabulary of {self.vocab_size:,}"
                )
        if not self.info:
            return
        shard = self.info.splits[split][file.path.name]
        if digest.hexdigest() != shard.file.sha256:
            raise DatasetError(
                f"{file.path} is damaged: its SHA-256 is {digest.hexdigest()} and should be {shard.file.sha256}; "
                "restore it from a good copy or prepare the text again"
            )
        if largest != shard.largest_id:
            raise DatasetError(
                f"{file.path}: its largest id is {largest}, dataset.json says {shard.largest_id}; restore it from a good copy"
            )
        _check(self.folder, index_name(file.path.name), shard.index)
        self.document_ends(split)

    def _file(self, file: ForeignFile) -> TokenFile:
        found = self._open.get(file.path)
        if found is None:
            if len(self._open) >= MAX_OPEN_FILES:  # a file that another thread is reading stays open for it
                self._open.clear()
            found = self._open[file.path] = TokenFile(file.path, file.dtype, file.tokens, offset=file.offset)
        return found

    def _known(self, split: str) -> str:
        if split not in self._files:
            raise DatasetError(f"{self.folder} has no {split} split, only {' and '.join(self._files)}")
        return split


def bytes_of_tokens(tokenizer: Tokenizer, vocab_size: int) -> npt.NDArray[np.int64]:
    """(vocab_size,) UTF-8 bytes that each id stands for; special tokens and unused ids stand for none."""
    lengths = np.zeros(vocab_size, np.int64)
    special = set(tokenizer.special_tokens.values())
    for token_id, spelled in tokenizer.vocab.items():
        if token_id not in special and token_id < vocab_size:
            lengths[token_id] = len(spelled)
    return lengths


def _info_of(folder: Path) -> DatasetInfo | None:
    """The folder's `dataset.json`; None when it has none (a foreign dataset, or nothing yet)."""
    if not folder.exists():
        beside = (
            folder.parent.glob(f"{TEMPORARY_PREFIX}{folder.name}-*") if folder.parent.is_dir() else iter(())
        )
        unfinished = next(beside, None) is not None
        raise DatasetError(
            _unfinished(folder)
            if unfinished
            else f"there is no dataset {folder}; make one with `lm-train prepare`"
        )
    try:
        info = read_info(folder)
    except (FileNotFoundError, NotADirectoryError):
        return None
    for shards in info.splits.values():
        for name, shard in shards.items():
            _check(folder, index_name(name), shard.index, hashes=False)
    for name, entry in info.tokenizer_files.items():
        _check(folder, name, entry, hashes=False)
    return info


def _check(folder: Path, name: str, entry: object, *, hashes: bool = True) -> None:
    try:
        check_file(folder, name, entry, hashes=hashes)  # type: ignore[arg-type]
    except DamagedFileError as error:
        raise DatasetError(str(error)) from error


def _refuse_other(folder: Path, info: DatasetInfo, dtype: str | None, vocab_size: int | None) -> None:
    for name, given, actual in (
        ("dtype", dtype, info.dtype.name),
        ("vocab_size", vocab_size, info.vocab_size),
    ):
        if given is not None and given != actual:
            raise DatasetError(
                f"{folder} has {name} {actual}, not {given}; leave {name} out: {DATASET_NAME} says it"
            )


def _unfinished(folder: Path) -> str:
    return (
        f"{folder} has no {DATASET_NAME}: it is unfinished, or no token dataset. Run the same `lm-train prepare ... --out {folder}` "
        "again: it starts over and gives the same bytes"
    )


def _foreign_fingerprint(vocab_size: int, splits: dict[str, list[ForeignFile]]) -> str:
    """SHA-256 over vocabulary size, dtypes, lengths and contents: foreign files carry no hash of their own."""
    digest = hashlib.sha256(f"foreign tokens, vocabulary {vocab_size}".encode())
    for split, files in splits.items():
        for file in files:
            with open(file.path, "rb") as opened:
                content = hashlib.file_digest(opened, "sha256").hexdigest()
            digest.update(f"\n{split} {file.dtype.name} {file.tokens} {content}".encode())
    return digest.hexdigest()
