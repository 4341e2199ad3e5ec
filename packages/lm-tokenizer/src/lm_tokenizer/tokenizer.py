"""`Tokenizer`: text to ids and back.

The work is done by the Rust crate `lm-bpe`; `lm_tokenizer.reference` is the same algorithm in plain Python. A
`Tokenizer` never changes once made, so any number of threads may share one, also across `fork`.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from lm_tokenizer import _rust
from lm_tokenizer.counts import PretokenCounts, as_progress, check_numbers, check_texts, counted, listed
from lm_tokenizer.decode_stream import DecodeStream, decoded_with_offsets
from lm_tokenizer.encode_file import encode_file
from lm_tokenizer.encode_shards import encode_shards
from lm_tokenizer.given_vocab import ordinary_and_special
from lm_tokenizer.types import AllOrSome, FileEncoding, ProgressFunction, Special, StrPath, TieBreak

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike, NDArray

BATCH = 256  # texts that `encode_iterable` takes at a time: enough for all threads, few enough to hold


class Tokenizer:
    """A byte-level BPE tokenizer, or a character-level one.

    Made by `train`, `load`, `load_tiktoken`, `load_vocab_merges`, `from_vocab` or `characters`.

    Special tokens (`<|endoftext|>`) never come out of ordinary text unless the caller says so. Three keywords say
    it, in every encoding function: `allowed_special`, the special tokens that text may contain as themselves
    (`"all"` or a collection of them); `disallowed_special`, those whose appearance is an error (by default all that
    are not allowed). A special token that is neither is ordinary text. Where two begin at one place the longer one
    is meant.
    """

    __slots__ = ("_core",)

    def __init__(self, core: _rust.Core) -> None:
        """Not for callers: the class methods make tokenizers."""
        self._core = core

    def __repr__(self) -> str:
        pattern = f"pattern={self.pattern!r}" if self.pattern else "characters"
        return f"<Tokenizer {self.vocab_size} ids, {pattern}, {self.fingerprint[:12]}>"

    def __eq__(self, other: object) -> bool:
        return self.fingerprint == other.fingerprint if isinstance(other, Tokenizer) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.fingerprint)

    def __len__(self) -> int:
        return self.vocab_size

    def __reduce__(self) -> tuple[object, ...]:
        return (_from_json, (self._core.to_json(),))

    # --- making one -------------------------------------------------------------------------------------------

    @classmethod
    def train(
        cls,
        files: Iterable[StrPath] | StrPath | None = None,
        texts: Iterable[str] | None = None,
        counts: PretokenCounts | None = None,
        vocab_size: int = 32_000,
        *,
        field: str | None = None,
        pattern: str = "gpt2",
        special_tokens: Sequence[str] = ("<|endoftext|>",),
        tie_break: TieBreak = "huggingface",
        min_frequency: int = 1,
        progress: ProgressFunction | None = None,
    ) -> Tokenizer:
        """A tokenizer whose merges are learnt from files, from texts, or from counted pretokens (one of the three).

        The most frequent pair of neighbours becomes a token, again and again, until there are `vocab_size` ids or no
        pair occurs `min_frequency` times (then the tokenizer is smaller than asked for). Ids are the 256 bytes, then
        the merges in order, then the special tokens in the given order. Special tokens are cut out of the text and
        take no part in merges. Counts are 64-bit.

        field: files are JSON lines (`.jsonl`, `.ndjson`, also `.gz` or `.zst`), and the text is in this field of a line's object.
        tie_break: which of several most frequent pairs is first. "huggingface" gives the merges of the `tokenizers`
            trainer, "ids" the smaller pair of ids (rustbpe), "greatest" the lexicographically greatest pair of byte
            strings. The result depends on nothing else: not on threads, nor on how the text is cut into files.
        progress: is called with a `Progress` now and then.
        """
        check_numbers(vocab_size, min_frequency)
        source = counted(files, texts, counts, pattern, special_tokens, field, progress)
        keep, special, told = source is counts, listed(special_tokens), as_progress(progress)
        return cls(_rust.Core.train(source._core, keep, vocab_size, special, tie_break, min_frequency, told))

    def train_further(
        self,
        files: Iterable[StrPath] | StrPath | None = None,
        texts: Iterable[str] | None = None,
        counts: PretokenCounts | None = None,
        vocab_size: int = 32_000,
        *,
        field: str | None = None,
        special_tokens: Sequence[str] = (),
        tie_break: TieBreak = "huggingface",
        min_frequency: int = 1,
        progress: ProgressFunction | None = None,
    ) -> Tokenizer:
        """A new tokenizer of `vocab_size` ids that knows all of this one and, behind it, what more the text teaches.

        Every id keeps its meaning, so a model's embeddings stay of use: new tokens get the ids from this one's
        `vocab_size` on, new `special_tokens` the last ones. On the text that this one was trained on, the merges are
        those of training in one go. A tokenizer that is not made by merges alone, or that normalizes text, is refused.
        """
        check_numbers(vocab_size, min_frequency)
        new = [token for token in listed(special_tokens) if token not in self.special_tokens]
        cut = [*self.special_tokens, *new]
        counts = counted(files, texts, counts, self.pattern or "gpt2", cut, field, progress)
        core = self._core.train_further(
            counts._core, vocab_size, new, tie_break, min_frequency, as_progress(progress)
        )
        return Tokenizer(core)

    @classmethod
    def from_vocab(
        cls,
        vocab: Mapping[int, bytes],
        merges: Sequence[tuple[bytes, bytes]],
        special_tokens: Mapping[str, int] | Sequence[str] | None = (),
        pattern: str = "gpt2",
    ) -> Tokenizer:
        """A tokenizer from tokens by id, merges in order of rank, and special tokens.

        A special token that stands in the vocabulary, as it does in `tok.vocab`, keeps its id there; one that has none
        gets the first id after the vocabulary's largest.
        """
        ordinary, special = ordinary_and_special(vocab, merges, special_tokens or ())
        return cls(_rust.Core.from_vocab(ordinary, list(merges), special, pattern))

    @classmethod
    def characters(cls, text: str, special_tokens: Sequence[str] = ()) -> Tokenizer:
        """A character-level tokenizer: one id for each distinct character of `text`, by ascending code point."""
        return cls(_rust.Core.characters(text, listed(special_tokens)))

    @classmethod
    def load(cls, path: StrPath) -> Tokenizer:
        """Reads a `tokenizer.json`, or the one in a folder: ours, or any byte-level BPE one.

        A file with a part that would give other ids here than in Hugging Face's library is refused, and the part named.
        """
        return cls(
            _rust.Core.load(os.path.join(path, "tokenizer.json") if os.path.isdir(path) else os.fspath(path))
        )

    @classmethod
    def load_tiktoken(
        cls, path: StrPath, pattern: str = "gpt2", special_tokens: Mapping[str, int] | Sequence[str] = ()
    ) -> Tokenizer:
        """Reads a tiktoken rank file, which has neither pattern nor special tokens. Ids are tiktoken's.

        Special tokens without ids get the first ids after the file's largest.
        """
        named = list(special_tokens.items()) if isinstance(special_tokens, Mapping) else []
        following = [] if isinstance(special_tokens, Mapping) else listed(special_tokens)
        return cls(_rust.Core.load_tiktoken(os.fspath(path), pattern, named, following))

    @classmethod
    def load_vocab_merges(
        cls, vocab: StrPath, merges: StrPath, pattern: str = "gpt2", special_tokens: Sequence[str] = ()
    ) -> Tokenizer:
        """Reads GPT-2's pair of files, `vocab.json` and `merges.txt`, which name no pattern and no special tokens.

        A special token has the id that `vocab.json` gives its text, or the first one after the largest.
        """
        return cls(
            _rust.Core.load_vocab_merges(os.fspath(vocab), os.fspath(merges), pattern, listed(special_tokens))
        )

    def save(self, path: StrPath) -> None:
        """Writes `tokenizer.json`, whole or not at all; `tokenizers` and `transformers` load it with equal ids.

        Into an existing folder it also writes the `tokenizer_config.json` that `transformers.AutoTokenizer` wants.
        """
        if os.path.isdir(path):
            self._core.save(os.path.join(path, "tokenizer.json"))
            self._core.save_config(os.path.join(path, "tokenizer_config.json"))
        else:
            self._core.save(os.fspath(path))

    def save_tiktoken(self, path: StrPath) -> None:
        """Writes a tiktoken rank file: the ordinary tokens only. Refused if ranks cannot give the same ids."""
        self._core.save_tiktoken(os.fspath(path))

    def save_vocab_merges(self, folder: StrPath) -> None:
        """Writes `vocab.json` and `merges.txt` into a folder, special tokens among the vocabulary."""
        os.makedirs(folder, exist_ok=True)
        self._core.save_vocab_merges(os.path.join(folder, "vocab.json"), os.path.join(folder, "merges.txt"))

    # --- what it is -------------------------------------------------------------------------------------------

    @property
    def vocab(self) -> dict[int, bytes]:
        """The bytes of every id, special tokens included, by ascending id."""
        return self._core.vocab()

    @property
    def merges(self) -> list[tuple[bytes, bytes]]:
        """The merges in order of rank."""
        return self._core.merges()

    @property
    def special_tokens(self) -> dict[str, int]:
        """The special tokens and their ids, by ascending id."""
        return self._core.special_tokens()

    @property
    def pattern(self) -> str | None:
        """The name of the pretokenization pattern; None for a character-level tokenizer."""
        return self._core.pattern

    @property
    def vocab_size(self) -> int:
        """One more than the largest id, which is what an embedding table needs. Ids may have gaps below it."""
        return self._core.id_bound

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all that decides ids: equal for two tokenizers if and only if they encode alike."""
        return self._core.fingerprint

    # --- text to ids ------------------------------------------------------------------------------------------

    def encode(
        self, text: str, *, allowed_special: AllOrSome = (), disallowed_special: AllOrSome = "all"
    ) -> list[int]:
        """The ids of a text. A special token in it raises SpecialTokenError unless allowed (see the class)."""
        return self._core.encode(text, allowed_special, disallowed_special)

    def encode_ordinary(self, text: str) -> list[int]:
        """The ids of a text in which special tokens are ordinary text; never gives a special id."""
        return self._core.encode_ordinary(text)

    def encode_bytes(self, data: bytes | bytearray | memoryview) -> list[int]:
        """The ids of any bytes, as ordinary text; `decode_bytes` gives them back exactly.

        Bytes that are no UTF-8 are cut like symbols. A tokenizer that normalizes text does so with the UTF-8 in them.
        """
        return self._core.encode_bytes(data if isinstance(data, bytes) else bytes(memoryview(data)))

    def encode_parts(self, parts: Iterable[str | Special]) -> list[int]:
        """The ids of parts in a row: `Special(token)` is that token, a str is ordinary text whatever it holds.

        So a prompt of trusted marks and untrusted text is one call:
        `tok.encode_parts([Special("<|user|>"), text, Special("<|end|>")])`.
        """
        return self._core.encode_parts(
            [(part.text, True) if isinstance(part, Special) else (part, False) for part in parts]
        )

    def encode_iterable(
        self, texts: Iterable[str], *, allowed_special: AllOrSome = (), disallowed_special: AllOrSome = "all"
    ) -> Iterator[int]:
        """The ids of texts in a row, lazily: a few texts are held at a time. Each text is encoded by itself."""
        batch: list[str] = []
        held = 0
        for text in check_texts(texts):
            batch.append(text)
            held += len(text)
            if len(batch) == BATCH or held >= 1 << 20:
                for ids in self._core.encode_batch(batch, allowed_special, disallowed_special):
                    yield from ids
                batch, held = [], 0
        for ids in self._core.encode_batch(batch, allowed_special, disallowed_special):
            yield from ids

    def encode_batch(
        self, texts: Iterable[str], *, allowed_special: AllOrSome = (), disallowed_special: AllOrSome = "all"
    ) -> list[list[int]]:
        """The ids of each text, on all threads."""
        return self._core.encode_batch(list(check_texts(texts)), allowed_special, disallowed_special)

    def encode_array(
        self, text: str, *, allowed_special: AllOrSome = (), disallowed_special: AllOrSome = "all"
    ) -> NDArray[np.uint32]:
        """The ids of a text as an array of uint32, made without a list between."""
        import numpy as np

        return np.frombuffer(
            self._core.encode_array(text, allowed_special, disallowed_special), dtype=np.uint32
        )

    def encode_batch_array(
        self, texts: Iterable[str], *, allowed_special: AllOrSome = (), disallowed_special: AllOrSome = "all"
    ) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
        """All ids in one array, and offsets: text i has `ids[offsets[i]:offsets[i + 1]]`."""
        import numpy as np

        batch = list(check_texts(texts))
        ids, offsets = self._core.encode_batch_array(batch, allowed_special, disallowed_special)
        return np.frombuffer(ids, dtype=np.uint32), np.frombuffer(offsets, dtype=np.int64)

    def encode_file(
        self,
        source: StrPath | Sequence[StrPath],
        target: StrPath,
        *,
        dtype: DTypeLike | None = None,
        separator: str | None = None,
        field: str | None = None,
        append: str | int | None = None,
        ends: StrPath | None = None,
        progress: ProgressFunction | None = None,
    ) -> FileEncoding:
        """Encodes text files into one raw little-endian file of ids, in bounded memory.

        `numpy.memmap(target, dtype=result.dtype)` reads the target. It appears whole, at the end; after an error or
        Ctrl-C there is none, and an older one is untouched.

        source: a file or several; "-" is standard input; `.gz` and `.zst` are unpacked as they are read. The text is
            UTF-8; other bytes are kept, cut like symbols.
        dtype: uint16 or uint32; by default the smaller that holds the vocabulary.
        separator: text between documents, such as "<|endoftext|>"; it is cut out. Without one each file is a
            document. One without text is left out. Text is ordinary: no special id comes from it.
        field: sources are JSON lines, a document the string in this field of a line's object; blank lines are none. Any
            other line is a TokenizerFileError that names file and line. A line must fit into memory.
        append: a special token, by text or id, to add after every document.
        ends: a file for the place in the target where each document ends, in tokens, as little-endian u64.
        """
        return encode_file(
            self._core,
            source,
            target,
            dtype=dtype,
            separator=separator,
            field=field,
            append=append,
            ends=ends,
            progress=progress,
        )

    def encode_shards(
        self,
        sources: Sequence[StrPath],
        folder: StrPath,
        *,
        dtype: DTypeLike | None = None,
        separator: str | None = None,
        field: str | None = None,
        append: str | int | None = None,
        ends: bool = False,
        progress: ProgressFunction | None = None,
    ) -> list[FileEncoding]:
        """`encode_file` for each source by itself: `00000.bin`, `00001.bin` ... in a folder, made if there is none.

        Called again after an end of any kind, it keeps the shards that are whole, and makes the others and those whose
        source, settings or tokenizer have changed. ends: whether to write `00000.idx` ... too.
        """
        return encode_shards(self._core, sources, folder, dtype, separator, field, append, ends, progress)

    def count(
        self, text: str, *, allowed_special: AllOrSome = (), disallowed_special: AllOrSome = "all"
    ) -> int:
        """How many ids a text has, without making a list of them."""
        return self._core.count(text, allowed_special, disallowed_special)

    def count_batch(
        self, texts: Iterable[str], *, allowed_special: AllOrSome = (), disallowed_special: AllOrSome = "all"
    ) -> list[int]:
        """How many ids each text has, on all threads."""
        return self._core.count_batch(list(check_texts(texts)), allowed_special, disallowed_special)

    # --- ids to text ------------------------------------------------------------------------------------------

    def decode(self, ids: Iterable[int], errors: str = "replace") -> str:
        """The text of ids. Bytes that are no UTF-8 become U+FFFD, or a DecodeError with `errors="strict"`."""
        return self._core.decode(ids, errors)

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of ids, exactly; an id that is not in the vocabulary raises UnknownIdError with its position."""
        return self._core.decode_bytes(ids)

    def decode_batch(self, batch: Iterable[Iterable[int]], errors: str = "replace") -> list[str]:
        """The text of each sequence of ids."""
        return [self._core.decode(ids, errors) for ids in batch]

    def decode_with_offsets(
        self, ids: Iterable[int], unit: Literal["characters", "bytes"] = "characters"
    ) -> tuple[str, list[int]]:
        """The text of ids, and where in it each begins: the index of a character (that of the one it begins inside
        of), or of a byte of the text's UTF-8. Raises DecodeError where the bytes are not UTF-8."""
        return decoded_with_offsets(self._core, list(ids), unit)

    def stream(self) -> DecodeStream:
        """A decoder that takes one id at a time and gives out whole characters only."""
        return DecodeStream(self._core)


def _from_json(text: str) -> Tokenizer:
    return Tokenizer(_rust.Core.from_json(text))
