"""The settings of one piece of writing, checked once, when it is asked for."""

import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypedDict

from lm_generate.adjust import Adjustment
from lm_generate.constrain import Constraint, JsonSchema, read_constraint
from lm_generate.errors import SettingError
from lm_generate.sampling import Sampling
from lm_generate.stop import check_stop_strings

PastContext = Literal["error", "roll"]
DEFAULT_MAX_TOKENS = 200


class Options(TypedDict, total=False):
    """What `Engine.generate`, `.stream` and `.batch` take by keyword; defaults in `make_settings`."""

    max_tokens: int | None
    min_tokens: int
    temperature: float
    top_k: int
    top_p: float
    min_p: float
    typical_p: float
    repetition_penalty: float
    presence_penalty: float
    frequency_penalty: float
    penalty_window: int
    logit_bias: Mapping[int, float]
    allowed_ids: Collection[int] | None
    banned_ids: Collection[int]
    seed: int | None
    stop: str | Sequence[str]
    stop_ids: Collection[int] | None
    heal: bool
    past_context: PastContext
    logprobs: int | None
    regex: str | None
    json_schema: JsonSchema | None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What `Engine.generate` takes, apart from prompt and row. Raises `SettingError`."""

    sampling: Sampling
    adjustment: Adjustment
    seed: int
    max_tokens: int | None
    stop: tuple[str, ...]
    stop_ids: frozenset[int] | None
    heal: bool
    past_context: PastContext
    logprobs: int | None
    constraint: Constraint | None

    def __post_init__(self) -> None:
        check_whole("max_tokens", self.max_tokens, low=1)
        check_whole("min_tokens", self.adjustment.min_tokens, low=0)
        check_whole("penalty_window", self.adjustment.penalty_window, low=0)
        check_whole("seed", self.seed, low=0)
        check_whole("logprobs", self.logprobs, low=0)
        check_stop_strings(self.stop)
        if self.max_tokens is not None and self.adjustment.min_tokens > self.max_tokens:
            raise SettingError(
                f"min_tokens ({self.adjustment.min_tokens}) must not be above max_tokens ({self.max_tokens})"
            )
        if self.heal and self.constraint is not None:
            raise SettingError(
                f"heal writes the end of the prompt anew and {self.constraint.kind} begins behind it: leave heal out"
            )
        if self.past_context not in ("error", "roll"):
            raise SettingError(f'past_context must be "error" or "roll", got {self.past_context!r}')


def check_whole(name: str, value: int | None, *, low: int) -> None:
    """Raises `SettingError` unless `value` is None or a whole number in low .. 2**64 - 1."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value < 2**64:
        raise SettingError(f"{name} must be a whole number from {low} to 2**64 - 1, got {value!r}")


def make_settings(
    *,
    max_tokens: int | None = None,
    min_tokens: int = 0,
    temperature: float = 0.8,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    typical_p: float = 1.0,
    repetition_penalty: float = 1.0,
    presence_penalty: float = 0.0,
    frequency_penalty: float = 0.0,
    penalty_window: int = 0,
    logit_bias: Mapping[int, float] | None = None,
    allowed_ids: Collection[int] | None = None,
    banned_ids: Collection[int] = (),
    seed: int | None = None,
    stop: str | Sequence[str] = (),
    stop_ids: Collection[int] | None = None,
    heal: bool = False,
    past_context: PastContext = "error",
    logprobs: int | None = None,
    regex: str | None = None,
    json_schema: JsonSchema | None = None,
) -> Settings:
    """Settings from what a caller gave; a `seed` of None becomes a fresh one of 32 bits, short enough to type again."""
    return Settings(
        sampling=Sampling(
            temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, typical_p=typical_p
        ),
        adjustment=Adjustment(
            logit_bias=dict(logit_bias or {}),
            repetition_penalty=repetition_penalty,
            presence_penalty=presence_penalty,
            frequency_penalty=frequency_penalty,
            penalty_window=penalty_window,
            allowed_ids=None if allowed_ids is None else frozenset(allowed_ids),
            banned_ids=frozenset(banned_ids),
            min_tokens=min_tokens,
        ),
        seed=secrets.randbits(32) if seed is None else seed,
        max_tokens=max_tokens,
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        stop_ids=None if stop_ids is None else frozenset(stop_ids),
        heal=heal,
        past_context=past_context,
        logprobs=logprobs,
        constraint=read_constraint(regex=regex, json_schema=json_schema),
    )
