"""When a run is scored on held-out text, and what it is asked to write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Group, Parameter

from lm_train.settings.checks import not_negative, positive


@Parameter(group=Group("Evaluation and samples", sort_key=6))
@dataclass(frozen=True, kw_only=True)
class EvaluateConfig:
    """How the held-out text is scored while training, and at the end."""

    every: int | None = None
    """Steps between evaluations; ten in a run unless given."""
    windows: int = 64
    """Windows of held-out text for an evaluation while training."""
    final_windows: int = 1024
    """Windows for the one at the end (all of them where the text has fewer)."""

    def __post_init__(self) -> None:
        positive(
            evaluate__every=self.every,
            evaluate__windows=self.windows,
            evaluate__final_windows=self.final_windows,
        )


@Parameter(group=Group("Evaluation and samples", sort_key=6))
@dataclass(frozen=True, kw_only=True)
class SampleConfig:
    """What the model is asked to write while it learns."""

    prompts: Annotated[tuple[str, ...], Parameter(negative=())] = ()
    """Prompts to continue, once each; one that suits the text unless given."""
    every: int | None = None
    """Steps between samples; twenty times in a run unless given."""
    tokens: int = 100
    """Tokens to write, at most what the context holds."""
    temperature: float = 0.8
    """0 always takes the likeliest token."""
    top_k: int = 50
    """Choose among the k likeliest tokens; 0: among all."""

    def __post_init__(self) -> None:
        positive(samples__every=self.every, samples__tokens=self.tokens)
        not_negative(samples__temperature=self.temperature, samples__top_k=self.top_k)
