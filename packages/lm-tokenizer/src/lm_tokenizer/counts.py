"""`PretokenCounts`: how often each pretoken occurs, which is all that training needs to know of a corpus."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from lm_tokenizer import _rust
from lm_tokenizer.errors import TokenizerError
from lm_tokenizer.types import Progress, ProgressFunction, StrPath

if TYPE_CHECKING:
    from lm_tokenizer.documents import Documents


class PretokenCounts:
    """Distinct pretokens and their 64-bit counts. Counts of parts of a corpus add up (`+`) to those of the whole.

    So a corpus that is larger than one machine is counted in pieces, anywhere, and trained on once:

        total = PretokenCounts.load("a.counts") + PretokenCounts.load("b.counts")
        tok = Tokenizer.train(counts=total, vocab_size=32_000)

    Memory: the bytes of the distinct pretokens, and 24 to 40 bytes for each. Special tokens are cut out of the text.
    """

    def __init__(self, pattern: str = "gpt2", special_tokens: Sequence[str] = ("<|endoftext|>",)) -> None:
        self._core = _rust.Counts(pattern, listed(special_tokens))

    @property
    def pattern(self) -> str:
        """The pattern that the text was cut by."""
        return self._core.pattern

    @property
    def special_tokens(self) -> tuple[str, ...]:
        """The special tokens that were cut out of the text."""
        return tuple(self._core.special_tokens)

    @property
    def total(self) -> int:
        """The number of pretokens counted, repetitions included."""
        return self._core.total

    def __len__(self) -> int:
        """The number of distinct pretokens."""
        return len(self._core)

    def __eq__(self, other: object) -> bool:
        return self._core.equals(other._core) if isinstance(other, PretokenCounts) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<PretokenCounts {len(self)} distinct of {self.total}, pattern={self.pattern!r}>"

    def __add__(self, other: PretokenCounts) -> PretokenCounts:
        if not isinstance(other, PretokenCounts):
            return NotImplemented
        other.check_fits(self.pattern, self.special_tokens)
        self.check_fits(other.pattern, other.special_tokens)
        both = PretokenCounts(self.pattern, self.special_tokens)
        both._core.merge(self._core)
        both._core.merge(other._core)
        return both

    def items(self) -> list[tuple[bytes, int]]:
        """Pretokens and counts, ascending by bytes."""
        return self._core.items()

    def add_texts(self, texts: Iterable[str]) -> None:
        """Counts texts, each cut by itself; a few are held at a time."""
        batch: list[str] = []
        held = 0
        for text in check_texts(texts):
            batch.append(text)
            held += len(text)
            if held >= 1 << 22 or len(batch) == 1 << 14:
                self._core.add_texts(batch)
                batch, held = [], 0
        self._core.add_texts(batch)

    def add_files(
        self,
        files: Iterable[StrPath] | StrPath,
        *,
        field: str | None = None,
        progress: ProgressFunction | None = None,
    ) -> None:
        """Counts text files, each cut by itself, on all threads and a window at a time. Bytes that are no UTF-8 count too.

        Files whose names end in `.gz` or `.zst` are unpacked as they are read. With a `field`, files are JSON lines (`.jsonl`, `.ndjson`), of
        which only the text in that field of each line's object counts; a line without one is a TokenizerFileError, and nothing is counted.
        """
        if field is None:
            self._core.add_files(paths(files), as_progress(progress))
        else:
            counts = PretokenCounts(self.pattern, self.special_tokens)
            counts._add_lines(paths(files), field, progress)
            self._core.merge(counts._core)

    def _add_lines(self, files: list[str], field: str, progress: ProgressFunction | None) -> None:
        from lm_tokenizer.documents import DocumentReader  # which imports this module

        for file in files:
            if not file.lower().removesuffix(".gz").removesuffix(".zst").endswith((".jsonl", ".ndjson")):
                raise TokenizerError(
                    f"a field is looked for in JSON lines, in files called .jsonl or .ndjson; {file} is called otherwise: rename it, or leave the field out"
                )
        reader = DocumentReader(files, field=field, hashed=False)
        size = sum(os.stat(file).st_size for file in files if os.path.exists(file))
        for documents in reader:
            self.add_documents(documents)
            if progress:
                progress(Progress("counting", reader.file_bytes, size))

    def add_documents(self, documents: Documents) -> None:
        """Counts a block of documents that a `DocumentReader` read, each cut by itself, on all threads."""
        documents._core.count(self._core)

    def save(self, path: StrPath) -> None:
        """Writes the counts, whole or not at all; see docs/tokenizer-format.md."""
        self._core.save(os.fspath(path))

    @classmethod
    def load(cls, path: StrPath) -> PretokenCounts:
        """Reads what `save` wrote; a damaged file is refused."""
        counts = cls.__new__(cls)
        counts._core = _rust.Counts.load(os.fspath(path))
        return counts

    def check_fits(self, pattern: str, special_tokens: Sequence[str]) -> None:
        """Raises unless these counts were cut by `pattern` and without any of `special_tokens` in them."""
        if pattern != self.pattern:
            raise TokenizerError(
                f"these counts were cut by pattern {self.pattern!r}, not by {pattern!r}; name the same"
            )
        uncut = [token for token in special_tokens if token not in self.special_tokens]
        if uncut:
            raise TokenizerError(
                f"special token {uncut[0]!r} was not cut out of the text of these counts; "
                f"count anew with special_tokens that hold it"
            )


def check_numbers(vocab_size: int, min_frequency: int) -> None:
    """Both are numbers that the Rust core can take."""
    for name, number in (("vocab_size", vocab_size), ("min_frequency", min_frequency)):
        if not 0 <= number < 2**63:
            raise TokenizerError(f"{name} must be from 0 to 2**63 - 1, got {number}")


def counted(
    files: Iterable[StrPath] | StrPath | None,
    texts: Iterable[str] | None,
    counts: PretokenCounts | None,
    pattern: str,
    special_tokens: Sequence[str],
    field: str | None,
    progress: ProgressFunction | None,
) -> PretokenCounts:
    """The counts of the one source that is given, cut by a pattern and at special tokens."""
    sources = {"files": files, "texts": texts, "counts": counts}
    given = [name for name, source in sources.items() if source is not None]
    if len(given) != 1:
        raise TokenizerError(
            f"train from one of files, texts or counts; got {' and '.join(given) or 'none of them'}"
        )
    if field is not None and files is None:
        raise TokenizerError("a field is looked for in files of JSON lines; give files, or leave it out")
    if counts is None:
        counts = PretokenCounts(pattern=pattern, special_tokens=special_tokens)
        if files is not None:
            counts.add_files(files, field=field, progress=progress)
        else:
            counts.add_texts(texts or ())
    counts.check_fits(pattern, special_tokens)
    return counts


def paths(files: Iterable[StrPath] | StrPath) -> list[str]:
    """Files as a list of plain paths; one path is a list of one."""
    if isinstance(files, (str, os.PathLike)):
        return [os.fspath(files)]
    return [os.fspath(file) for file in files]


def check_texts(texts: Iterable[str]) -> Iterator[str]:
    """The texts; a single str is refused, since iterating it would give its characters."""
    if isinstance(texts, (str, bytes)):
        raise TokenizerError(f"wanted several texts, got one {type(texts).__name__}; put it into a list")
    return iter(texts)


def listed(special_tokens: Iterable[str]) -> list[str]:
    """Special tokens as a list; a single str is refused likewise."""
    if isinstance(special_tokens, str):
        raise TokenizerError(f"special_tokens is a list of tokens, not one str; write [{special_tokens!r}]")
    return list(special_tokens)


def total_bytes(files: Iterable[str]) -> int | None:
    """The size of the text of files; None if one of them, such as standard input, has none to be known."""
    files = list(files)
    if any(file.lower().endswith((".gz", ".zst")) for file in files):
        return None
    try:
        return sum(os.stat(file).st_size for file in files)
    except OSError:
        return None  # what cannot be opened is reported when it is


def as_progress(progress: ProgressFunction | None) -> Callable[[str, int, int | None], object] | None:
    """The function as the Rust core calls it."""
    return None if progress is None else lambda phase, done, total: progress(Progress(phase, done, total))
