"""Overfitting: the held-out loss rises while the model learns its training text by heart."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # both import torch, and the closing lines and the report take their words from here
    from lm_train.evaluate import Evaluation
    from lm_train.state import RunState

OVERFIT_RISE = 1.01  # times the lowest held-out loss: what lies below may be chance
OVERFIT_ADVICE = "more text, fewer steps, or --model.dropout 0.1; --checkpoint.best keeps the lowest"


def overfits(state: RunState, last: Evaluation | None) -> bool:
    """Whether the last held-out loss on the way is above the lowest one by more than chance."""
    return last is not None and state.lowest_loss is not None and last.loss > OVERFIT_RISE * state.lowest_loss


class OverfitWarning:
    """Says so once in a process, as soon as it is seen."""

    def __init__(self) -> None:
        self._said = False

    def line(self, state: RunState, last: Evaluation) -> str | None:
        if self._said or not overfits(state, last):
            return None
        self._said = True
        return (
            f"step {state.step}: held-out loss {last.loss:.3f} has risen from {state.lowest_loss:.3f} at step {state.lowest_step}: "
            f"the model begins to learn its text by heart; {OVERFIT_ADVICE}"
        )
