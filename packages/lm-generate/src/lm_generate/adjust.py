"""What is done to the logits before they are a distribution: bias, penalties, bans, in this order.

1. bias:         l_i += b_i                                                  for the ids that are given one
2. penalties, each for ids among the last `penalty_window` tokens (0: all of them):
   repetition r: l_i = l_i / r where l_i > 0, else l_i * r                   ids of the prompt and of what is written
   presence a:   l_i -= a                                                    ids of what is written
   frequency f:  l_i -= f * (times written)                                  ids of what is written
3. bans:         l_i = -inf                 for banned ids, for all but the allowed ones, for ids that end the text
                                            before `min_tokens` are written, for ids that stand for no bytes,
                                            and for all that token healing or a constraint rules out

Greedy choice sees the adjusted logits too; reported log-probabilities are those before. Repetition: Keskar et al. 2019,
https://arxiv.org/abs/1909.05858, section 4.1. Presence and frequency: as the OpenAI API defines them.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lm_generate.errors import ConstraintError, SettingError
from lm_generate.sampling import FloatArray, IdArray

NO_IDS: IdArray = np.empty(0, dtype=np.int64)


@dataclass(frozen=True, kw_only=True)
class Adjustment:
    """The settings of these steps. Raises `SettingError` when a value is out of range."""

    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """Added to the logits of these ids; -inf bans."""
    repetition_penalty: float = 1.0
    """Above 0; 1 turns it off; above 1 makes what has been there less likely."""
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    """Finite; 0 turns it off; above 0 makes what was written less likely."""
    penalty_window: int = 0
    """The penalties look at so many newest tokens; 0: at all."""
    allowed_ids: frozenset[int] | None = None
    """Nothing else is ever written; None: anything."""
    banned_ids: frozenset[int] = frozenset()
    min_tokens: int = 0
    """No id ends the text before so many tokens are written."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.repetition_penalty) and self.repetition_penalty > 0):
            raise SettingError(
                f"repetition_penalty must be a finite number above 0 (1 turns it off), got {self.repetition_penalty}"
            )
        for name, penalty in (
            ("presence_penalty", self.presence_penalty),
            ("frequency_penalty", self.frequency_penalty),
        ):
            if not math.isfinite(penalty):
                raise SettingError(f"{name} must be a finite number (0 turns it off), got {penalty}")
        for id, bias in self.logit_bias.items():
            if math.isnan(bias) or bias == math.inf:
                raise SettingError(f"logit_bias of id {id} must be a number or -inf, got {bias}")
        if self.allowed_ids is not None and not self.allowed_ids - self.banned_ids:
            raise SettingError(
                "allowed_ids leaves no id to choose from: name at least one that is not banned"
            )

    @property
    def penalizes(self) -> bool:
        return (self.repetition_penalty, self.presence_penalty, self.frequency_penalty) != (1.0, 0.0, 0.0)

    def check_ids(self, vocab_size: int) -> None:
        """Raises `SettingError` for an id that the model does not have."""
        for name, ids in (
            ("logit_bias", self.logit_bias),
            ("allowed_ids", self.allowed_ids or ()),
            ("banned_ids", self.banned_ids),
        ):
            for id in ids:
                if isinstance(id, bool) or not isinstance(id, int) or not 0 <= id < vocab_size:
                    raise SettingError(
                        f"{name}: id {id!r} is outside the model's vocabulary (0..{vocab_size - 1})"
                    )


def adjust(
    logits: FloatArray,
    adjustment: Adjustment,
    prompt: Sequence[int],
    written: Sequence[int],
    *,
    banned: IdArray = NO_IDS,
    ends: Collection[int] = (),
    may_come: Sequence[int] | IdArray | None = None,
) -> FloatArray:
    """The logits after the three steps; the same array where nothing applies, otherwise a new float64 one.

    `banned` are ids that are never chosen, `ends` those that end the text; `may_come`, where given, is all that token
    healing or a constraint leaves to choose from.
    """
    too_short = len(written) < adjustment.min_tokens and len(ends) > 0
    if not (
        adjustment.logit_bias
        or adjustment.penalizes
        or adjustment.allowed_ids is not None
        or adjustment.banned_ids
        or banned.size
        or too_short
        or may_come is not None
    ):
        return logits
    adjusted = logits.astype(np.float64)
    for id, bias in adjustment.logit_bias.items():
        adjusted[id] += bias
    if adjustment.penalizes:
        penalize(adjusted, adjustment, prompt, written)
    only = adjustment.allowed_ids
    keeps = [
        None if only is None else np.array(sorted(only)),
        None if may_come is None else np.asarray(may_come),
    ]
    for ids in [ids for ids in keeps if ids is not None]:
        kept = adjusted[ids]
        adjusted[:] = -np.inf
        adjusted[ids] = kept
    adjusted[banned] = -np.inf
    adjusted[sorted(adjustment.banned_ids)] = -np.inf
    if too_short:
        adjusted[sorted(ends)] = -np.inf
    return adjusted


def check_left(adjusted: FloatArray, may_come: Sequence[int] | IdArray) -> None:
    """Raises `ConstraintError` where bans leave nothing of what healing or a constraint would let come."""
    if adjusted.max() == -np.inf:
        raise ConstraintError(
            f"other settings ban each of the {len(may_come)} tokens that may come here "
            "(logit_bias, allowed_ids, banned_ids, min_tokens); leave one of them out"
        )


def penalize(
    logits: FloatArray, adjustment: Adjustment, prompt: Sequence[int], written: Sequence[int]
) -> None:
    """Step 2, in place."""
    window = adjustment.penalty_window or len(prompt) + len(written)
    recent = list(written[-window:])
    seen = np.unique(np.array([*prompt, *written], dtype=np.int64)[-window:])
    if adjustment.repetition_penalty != 1:
        r = adjustment.repetition_penalty
        logits[seen] = np.where(logits[seen] > 0, logits[seen] / r, logits[seen] * r)
    if recent and (adjustment.presence_penalty or adjustment.frequency_penalty):
        ids, counts = np.unique(np.array(recent, dtype=np.int64), return_counts=True)
        logits[ids] -= adjustment.presence_penalty + adjustment.frequency_penalty * counts
