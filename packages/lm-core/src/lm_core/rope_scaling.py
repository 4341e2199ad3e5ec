"""The rotation speeds of RoPE, and the three published ways of slowing them for longer contexts."""

import math
from dataclasses import dataclass
from typing import Literal, no_type_check

import torch
from jaxtyping import Float
from torch import Tensor

from lm_core.errors import ConfigError


@no_type_check  # for the tests' type checker: a wrong type is __post_init__'s to name, as a ConfigError
@dataclass(frozen=True, kw_only=True)
class RopeScaling:
    """How the rotation speeds of a model trained at `original_context` are changed for a longer one.

    - `linear`: every speed is divided by `factor` (Chen et al. 2023, https://arxiv.org/abs/2306.15595).
    - `llama3`: slow pairs (wavelength over original_context / low_freq_factor) are divided by `factor`,
      fast ones (under original_context / high_freq_factor) are kept, a smooth mix between
      (Llama 3.1, https://arxiv.org/abs/2407.21783).
    - `yarn`: the mix runs over pair indices, from `beta_fast` to `beta_slow` full turns in the original context,
      and cos and sin are multiplied by `attention_factor` (None: 0.1 ln(factor) + 1)
      (Peng et al. 2023, https://arxiv.org/abs/2309.00071, eq. 17-22).

    `original_context` may be left out for `linear` only, which does not use it.
    """

    kind: Literal["linear", "llama3", "yarn"]
    factor: float
    original_context: int | None = None
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    attention_factor: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("linear", "llama3", "yarn"):
            raise ConfigError(f"rope_scaling kind must be linear, llama3 or yarn, got {self.kind!r}")
        numbers = {
            "factor": self.factor,
            "low_freq_factor": self.low_freq_factor,
            "high_freq_factor": self.high_freq_factor,
            "beta_fast": self.beta_fast,
            "beta_slow": self.beta_slow,
            "attention_factor": 1.0 if self.attention_factor is None else self.attention_factor,
        }
        for name, value in numbers.items():
            if not is_finite_number(value) or value <= 0:
                raise ConfigError(f"rope_scaling {name} must be a finite number above 0, got {value!r}")
        if self.factor < 1:
            raise ConfigError(f"rope_scaling factor must be at least 1, got {self.factor}")
        if self.low_freq_factor >= self.high_freq_factor:
            raise ConfigError(
                f"rope_scaling low_freq_factor ({self.low_freq_factor}) must be below "
                f"high_freq_factor ({self.high_freq_factor})"
            )
        if self.beta_slow >= self.beta_fast:
            raise ConfigError(
                f"rope_scaling beta_slow ({self.beta_slow}) must be below beta_fast ({self.beta_fast})"
            )
        original = self.original_context
        if original is None:
            if self.kind != "linear":
                raise ConfigError(f"rope_scaling {self.kind} needs original_context, the length trained at")
        elif isinstance(original, bool) or not isinstance(original, int) or original < 1:
            raise ConfigError(
                f"rope_scaling original_context must be a whole number above 0, got {original!r}"
            )


def is_finite_number(value: object) -> bool:
    """An int or float, not a bool, that a float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # a whole number beyond 10^308
        return False


def rope_frequencies(
    d_head: int, theta: float, scaling: RopeScaling | None, device: torch.device | None = None
) -> tuple[Float[Tensor, " half"], float]:
    """Radians that pair i turns by each position, theta^(-2i / d_head) before scaling, and the factor on cos and sin."""
    exponents = torch.arange(0, d_head, 2, dtype=torch.float32, device=device) / d_head
    plain = 1.0 / theta**exponents
    if scaling is None:
        return plain, 1.0
    if scaling.kind == "linear":
        return plain / scaling.factor, 1.0
    original = scaling.original_context
    assert original is not None, "RopeScaling checks that llama3 and yarn come with original_context"
    if scaling.kind == "llama3":
        return _llama3(plain, scaling, original), 1.0
    keep = 1.0 - _yarn_ramp(d_head, theta, scaling, original, device)
    factor = scaling.attention_factor
    if factor is None:
        factor = 0.1 * math.log(scaling.factor) + 1.0
    return plain / scaling.factor * (1.0 - keep) + plain * keep, factor


def _llama3(plain: Float[Tensor, " half"], scaling: RopeScaling, original: int) -> Float[Tensor, " half"]:
    turns = original * plain / (2 * math.pi)  # full turns of each pair over the original context
    smooth = (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)
    keep = smooth.clamp(0.0, 1.0)
    return plain * keep + plain / scaling.factor * (1.0 - keep)


def _yarn_ramp(
    d_head: int, theta: float, scaling: RopeScaling, original: int, device: torch.device | None
) -> Float[Tensor, " half"]:
    """0 for pairs that turn at least beta_fast times in the original context, 1 for at most beta_slow, a line between."""

    def pair_that_turns(turns: float) -> float:
        return d_head * math.log(original / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low = max(math.floor(pair_that_turns(scaling.beta_fast)), 0)
    high = min(math.ceil(pair_that_turns(scaling.beta_slow)), d_head - 1)
    width = (high - low) or 0.001
    pairs = torch.arange(d_head // 2, dtype=torch.float32, device=device)
    return ((pairs - low) / width).clamp(0.0, 1.0)
