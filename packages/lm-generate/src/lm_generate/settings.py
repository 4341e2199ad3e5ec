"""The settings of one piece of writing, checked once, when it is asked for."""

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from lm_generate.errors import SettingError
from lm_generate.sampling import Sampling
from lm_generate.stop import check_stop_strings

PastContext = Literal["error", "roll"]
DEFAULT_MAX_TOKENS = 200


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What `Engine.generate` takes, apart from prompt and row. Raises `SettingError`."""

    sampling: Sampling
    seed: int
    max_tokens: int | None
    stop: tuple[str, ...]
    stop_ids: frozenset[int] | None
    heal: bool
    past_context: PastContext
    logprobs: int | None

    def __post_init__(self) -> None:
        check_whole("max_tokens", self.max_tokens, low=1)
        check_whole("seed", self.seed, low=0)
        check_whole("logprobs", self.logprobs, low=0)
        check_stop_strings(self.stop)
        if self.past_context not in ("error", "roll"):
            raise SettingError(f'past_context must be "error" or "roll", got {self.past_context!r}')


def check_whole(name: str, value: int | None, *, low: int) -> None:
    """Raises `SettingError` unless `value` is None or a whole number in low .. 2**64 - 1."""
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value < 2**64:
        raise SettingError(f"{name} must be a whole number from {low} to 2**64 - 1, got {value!r}")


def make_settings(
    max_tokens: int | None,
    temperature: float,
    top_k: int,
    top_p: float,
    seed: int | None,
    stop: str | Sequence[str],
    stop_ids: Collection[int] | None,
    heal: bool,
    past_context: PastContext,
    logprobs: int | None,
) -> Settings:
    """Settings from what a caller gave; a `seed` of None becomes a fresh one of 32 bits, short enough to type again."""
    return Settings(
        sampling=Sampling(temperature=temperature, top_k=top_k, top_p=top_p),
        seed=secrets.randbits(32) if seed is None else seed,
        max_tokens=max_tokens,
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        stop_ids=None if stop_ids is None else frozenset(stop_ids),
        heal=heal,
        past_context=past_context,
        logprobs=logprobs,
    )
