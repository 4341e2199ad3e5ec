"""Tokenizers that the tests share, and the same ones in other libraries."""

from functools import cache

import sample_texts
import tiktoken
from lm_tokenizer import Tokenizer
from lm_tokenizer.reference import PATTERNS

END = "<|endoftext|>"
TIKTOKEN_SPLITS = {
    "gpt2": r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s",
    "cl100k": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    "o200k": PATTERNS["o200k"],
    "llama3": PATTERNS["llama3"],
    "qwen2": PATTERNS["qwen2"],
}


@cache
def trained(pattern: str = "gpt2", vocab_size: int = 800) -> Tokenizer:
    """A tokenizer trained on texts of many scripts."""
    texts = [sample_texts.ALL_KINDS, *sample_texts.random_texts(5, seed=9)]
    return Tokenizer.train(
        texts=texts, vocab_size=vocab_size, pattern=pattern, special_tokens=(END, "<|pad|>")
    )


@cache
def in_tiktoken(tokenizer: Tokenizer) -> tiktoken.Encoding:
    """The same tokenizer in tiktoken."""
    special = tokenizer.special_tokens
    ranks = {token: id for id, token in tokenizer.vocab.items() if id not in special.values()}
    split = TIKTOKEN_SPLITS[tokenizer.pattern or ""]
    return tiktoken.Encoding("ours", pat_str=split, mergeable_ranks=ranks, special_tokens=special)
