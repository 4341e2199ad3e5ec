"""Byte-level BPE spelled out: slow, obvious, and the oracle that every fast path of this package is held to.

Read it from top to bottom to learn the whole algorithm; nothing here calls the Rust core.

    text --pretokenize--> pretokens --train--> merges          (once)
    text --pretokenize--> pretokens --merge--> ids --join--> bytes   (every day)

A *pretoken* is a piece of text that no token ever crosses, as bytes. A *merge* is a pair of byte strings that
are joined into one; its *rank* is its place in the list of merges, and an encoder always joins the pair of
lowest rank first. Sennrich, Haddow & Birch 2016, https://arxiv.org/abs/1508.07909, section 3.2; over bytes:
Radford et al. 2019 (GPT-2), section 2.2.

Needs the `regex` package (`pip install lm-tokenizer[reference]`), since `re` has no Unicode categories.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Literal

import regex  # type: ignore[import-untyped]

TieBreak = Literal["huggingface", "ids", "greatest"]
Pair = tuple[int, int]

PATTERNS: dict[str, str] = {
    # GPT-2, as published with the model; and after each digit is cut off alone (SmolLM).
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "gpt2-digits": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?=\p{N})|\s+(?!\S)|\s+",
    # cl100k (GPT-4) as tiktoken writes it today: trailing white space is one pretoken.
    "cl100k": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s+\Z|\s*[\r\n]+|\s+(?!\S)|\s+",
    # Llama 3 as in its tokenizer.json.
    "llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    # Qwen 2 and 3: Llama 3's, but one digit at a time.
    "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    # o200k (GPT-4o): a word is split where lower case turns into upper case.
    "o200k": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}


def pretokenize(text: str, pattern: str = "gpt2") -> list[bytes]:
    """The pretokens of a text, as bytes; joined they give the text back."""
    return [match.group().encode() for match in regex.finditer(PATTERNS.get(pattern, pattern), text)]


def split_special(text: str, special_tokens: Iterable[str]) -> list[str]:
    """The text cut at special tokens: ordinary text at even places, special tokens at odd ones.

    Where two special tokens begin at one place, the longer one is taken.
    """
    longest_first = sorted(special_tokens, key=len, reverse=True)
    if not longest_first:
        return [text]
    parts: list[str] = regex.split("(" + "|".join(map(regex.escape, longest_first)) + ")", text)
    return parts


def merge(ids: Sequence[int], pair: Pair, new_id: int) -> list[int]:
    """Every occurrence of `pair` replaced by `new_id`, left to right."""
    merged: list[int] = []
    i = 0
    while i < len(ids):
        if tuple(ids[i : i + 2]) == pair:
            merged.append(new_id)
            i += 2
        else:
            merged.append(ids[i])
            i += 1
    return merged


# --- training ---------------------------------------------------------------------------------------------------


def byte_order(byte: int) -> int:
    """The place of a byte in Hugging Face's alphabet: bytes that print as themselves come before all others."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    return printable.index(byte) if byte in printable else len(printable) + _unprintable.index(byte)


_unprintable = [*range(0x21), *range(0x7F, 0xA1), 0xAD]


def best_pair(counts: Mapping[Pair, int], vocab: Mapping[int, bytes], tie_break: TieBreak) -> Pair:
    """The pair with the highest count; among equals the one that the tie rule prefers.

    "ids": the smaller pair of ids. "greatest": the lexicographically greatest pair of byte strings.
    "huggingface": the smaller pair of ids, where the ids of single bytes are ordered as in `byte_order`.
    """

    def preference(pair: Pair) -> tuple[object, ...]:
        left, right = pair
        if tie_break == "greatest":
            return (counts[pair], vocab[left], vocab[right])
        if tie_break == "huggingface":
            left, right = (byte_order(i) if i < 256 else i for i in pair)
        return (counts[pair], -left, -right)

    return max(counts, key=preference)


def train(
    texts: Iterable[str],
    vocab_size: int,
    *,
    pattern: str = "gpt2",
    special_tokens: Sequence[str] = (),
    tie_break: TieBreak = "huggingface",
    min_frequency: int = 1,
) -> list[tuple[bytes, bytes]]:
    """The merges learnt from texts: at most `vocab_size - 256 - len(special_tokens)` of them.

    Ends early when no pair occurs `min_frequency` times. Special tokens are cut out of the texts first, so that
    they take no part in any merge.
    """
    words = Counter(
        pretoken
        for text in texts
        for ordinary in split_special(text, special_tokens)[::2]
        for pretoken in pretokenize(ordinary, pattern)
    )
    spelled = {word: list(word) for word in words}  # each pretoken as ids; at first its bytes
    vocab = {i: bytes([i]) for i in range(256)}
    merges: list[tuple[bytes, bytes]] = []

    while len(vocab) + len(special_tokens) < vocab_size:
        counts: Counter[Pair] = Counter()
        for word, ids in spelled.items():
            for pair in pairwise(ids):
                counts[pair] += words[word]
        if not counts:
            break
        pair = best_pair(counts, vocab, tie_break)
        if counts[pair] < min_frequency:
            break
        new_id = len(vocab)
        vocab[new_id] = vocab[pair[0]] + vocab[pair[1]]
        merges.append((vocab[pair[0]], vocab[pair[1]]))
        spelled = {word: merge(ids, pair, new_id) for word, ids in spelled.items()}
    return merges


# --- encoding and decoding --------------------------------------------------------------------------------------


class ReferenceTokenizer:
    """Ids as `lm_tokenizer.Tokenizer` gives them: 256 bytes, then the merges in order, then the special tokens."""

    def __init__(
        self, merges: Sequence[tuple[bytes, bytes]], special_tokens: Sequence[str] = (), pattern: str = "gpt2"
    ) -> None:
        self.pattern = pattern
        self.vocab = {i: bytes([i]) for i in range(256)}
        self.vocab |= {256 + rank: left + right for rank, (left, right) in enumerate(merges)}
        self.special_tokens = {token: len(self.vocab) + i for i, token in enumerate(special_tokens)}
        ids = {token: i for i, token in self.vocab.items()}
        self.ranks = {(ids[left], ids[right]): rank for rank, (left, right) in enumerate(merges)}

    def encode_pretoken(self, pretoken: bytes) -> list[int]:
        """Joins the pair of lowest rank, the leftmost of equals, until no pair is a merge."""
        ids = list(pretoken)
        while len(ids) > 1:
            place = min(range(len(ids) - 1), key=lambda i: self.rank(ids[i], ids[i + 1]))
            if self.rank(*ids[place : place + 2]) == len(self.ranks):
                break
            ids[place : place + 2] = [256 + self.rank(*ids[place : place + 2])]
        return ids

    def rank(self, left: int, right: int) -> int:
        """The rank of a pair of ids; a pair that is no merge ranks after all merges."""
        return self.ranks.get((left, right), len(self.ranks))

    def encode_ordinary(self, text: str) -> list[int]:
        """The ids of a text in which special tokens are ordinary text."""
        return [i for pretoken in pretokenize(text, self.pattern) for i in self.encode_pretoken(pretoken)]

    def encode(self, text: str) -> list[int]:
        """The ids of a text in which every special token stands for itself."""
        ids: list[int] = []
        for place, part in enumerate(split_special(text, self.special_tokens)):
            ids += [self.special_tokens[part]] if place % 2 else self.encode_ordinary(part)
        return ids

    def decode_bytes(self, ids: Iterable[int]) -> bytes:
        """The bytes of each id, joined."""
        names = {i: name.encode() for name, i in self.special_tokens.items()}
        return b"".join(self.vocab[i] if i in self.vocab else names[i] for i in ids)

    def decode(self, ids: Iterable[int]) -> str:
        """The text of ids; bytes that are no UTF-8 become U+FFFD."""
        return self.decode_bytes(ids).decode(errors="replace")
