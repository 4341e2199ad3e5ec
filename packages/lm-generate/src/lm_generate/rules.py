"""What decides how one text is written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lm_generate.adjust import NO_IDS, Adjustment
from lm_generate.constrain import Follower
from lm_generate.explain import Seen
from lm_generate.sampling import IdArray, Sampling

Allowed = Callable[[Sequence[int]], Sequence[int] | None]
"""Given the tokens written so far, the ids that may come next; None: all, from here on."""


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Everything that decides which tokens are written, apart from the prompt."""

    sampling: Sampling
    adjustment: Adjustment = field(default_factory=Adjustment)
    seed: int
    row: int
    max_tokens: int
    stop_ids: frozenset[int]
    banned: IdArray = field(default_factory=NO_IDS.copy)
    """Ids that are never chosen: they stand for no bytes."""
    roll: bool = False
    logprobs: int | None = None
    allowed: Allowed | None = None
    follower: Follower | None = None
    """What a constrained text must match; this text's own, it changes as the text is written."""
    watch: Callable[[Seen], None] | None = None
    """Is shown every choice."""
