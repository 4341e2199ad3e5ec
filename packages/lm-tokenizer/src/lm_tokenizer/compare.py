"""Two tokenizers on one text: how many ids each needs, and where they cut it differently."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from lm_tokenizer.errors import TokenizerError
from lm_tokenizer.show import token_text
from lm_tokenizer.tokenizer import Tokenizer

Tokens = tuple[bytes, ...]


class Comparison(NamedTuple):
    """What two tokenizers make of one text."""

    text_bytes: int
    ids: tuple[int, int]
    differing_bytes: int
    """Bytes of text in the spans below."""
    differences: Counter[tuple[Tokens, Tokens]]
    """The shortest spans that both begin and end alike and cut differently within: the tokens of each, how often."""


def compare(first: Tokenizer, second: Tokenizer, text: str) -> Comparison:
    """Encodes `text` as ordinary text by both. Raises TokenizerError where one of them changes the text (NFC)."""
    cuts = [tokens_of(tokenizer, text) for tokenizer in (first, second)]
    if b"".join(cuts[0]) != b"".join(cuts[1]):
        raise TokenizerError(
            "one of the tokenizers normalizes this text, so their tokens cannot be set side by side"
        )
    ends = [list(accumulate(map(len, tokens))) for tokens in cuts]
    common = sorted(set(ends[0]) & set(ends[1]))
    differences: Counter[tuple[Tokens, Tokens]] = Counter()
    differing_bytes = 0
    places = [0, 0]
    begin = 0
    for end in common:
        spans: list[Tokens] = []
        for side in (0, 1):
            after = places[side]
            while ends[side][after] != end:
                after += 1
            spans.append(tuple(cuts[side][places[side] : after + 1]))
            places[side] = after + 1
        if spans[0] != spans[1]:
            differences[spans[0], spans[1]] += 1
            differing_bytes += end - begin
        begin = end
    return Comparison(begin, (len(cuts[0]), len(cuts[1])), differing_bytes, differences)


def tokens_of(tokenizer: Tokenizer, text: str) -> list[bytes]:
    vocab = tokenizer.vocab
    return [vocab[id] for id in tokenizer.encode_ordinary(text)]


def as_report(names: Sequence[str], comparison: Comparison, most: int) -> str:
    """A few lines for a person; `most` of the differences, the most frequent first."""
    size, width = comparison.text_bytes, max(map(len, names))
    lines = [
        f"{name.ljust(width)}  {count:>10} ids  {size / max(count, 1):.3f} bytes an id"
        for name, count in zip(names, comparison.ids, strict=True)
    ]
    share = 100 * comparison.differing_bytes / max(size, 1)
    kinds = len(comparison.differences)
    lines.append(
        f"{share:.1f} % of {size} bytes are cut differently, in {sum(comparison.differences.values())} places of {kinds} kinds"
    )
    for (one, other), count in comparison.differences.most_common(most):
        lines.append(f"{count:>8}  {in_a_row(one)}   {in_a_row(other)}")
    return "\n".join(lines)


def in_a_row(tokens: Tokens) -> str:
    return "|".join(map(token_text, tokens))
