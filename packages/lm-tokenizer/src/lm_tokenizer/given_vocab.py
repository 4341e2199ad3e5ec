"""A vocabulary that a caller gives: which of its tokens are special, and the ids of those that it does not list."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from lm_tokenizer.counts import listed
from lm_tokenizer.errors import VocabularyError


def ordinary_and_special(
    vocab: Mapping[int, bytes],
    merges: Sequence[tuple[bytes, bytes]],
    special_tokens: Mapping[str, int] | Sequence[str],
) -> tuple[list[tuple[int, bytes]], list[tuple[str, int]]]:
    """The ordinary tokens by id, and the special tokens with their ids.

    A special token may stand in `vocab` too and then keeps its id there, unless it is a byte or some merge makes it;
    one that has no id gets the first after the largest. Raises VocabularyError for an id that is none.
    """
    made = {first + second for first, second in merges}
    may_be_special = {token: id for id, token in vocab.items() if len(token) > 1 and token not in made}
    if isinstance(special_tokens, Mapping):
        special = list(special_tokens.items())
    else:
        following = itertools.count(max(vocab, default=-1) + 1)
        special = []
        for token in listed(special_tokens):
            id = may_be_special.get(token.encode())
            special.append((token, next(following) if id is None else id))
    for id in (*vocab, *(id for _, id in special)):
        if not 0 <= id < 2**32:
            raise VocabularyError(f"an id is a number from 0 to 2**32 - 1, got {id}")
    taken = {id for token, id in special if may_be_special.get(token.encode()) == id}
    return [(id, token) for id, token in vocab.items() if id not in taken], special
