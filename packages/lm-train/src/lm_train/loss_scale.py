"""Loss scaling for float16, whose smallest gradients would otherwise become zero.

    backward of  scale * loss,   then   gradient / scale      float16 holds 6e-8 to 65,504: the scale moves gradients into it

All gradients finite: after `GROWTH_STEPS` such steps in a row the scale doubles. One of them not finite: the step is skipped and the
scale halved. A scale is a power of two, so that scaling rounds nothing. Every rank decides by the same summed gradients, so that all
hold the same scale; it is kept with the optimizer's state.
Micikevicius et al. 2018, Mixed Precision Training, https://arxiv.org/abs/1710.03740, section 3.2.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch

FIRST, SMALLEST, LARGEST = 2.0**16, 1.0, 2.0**24
GROWTH_STEPS = 2000


@dataclass
class LossScale:
    """The scale, and the steps since it last changed."""

    value: float = FIRST
    good_steps: int = 0

    def unscale_(self, parameters: Iterable[torch.nn.Parameter]) -> None:
        """Divide the gradients by the scale, in place."""
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.mul_(1.0 / self.value)

    def finite(self) -> None:
        """All gradients of a step were finite."""
        self.good_steps += 1
        if self.good_steps >= GROWTH_STEPS:
            self.value, self.good_steps = min(LARGEST, 2.0 * self.value), 0

    def overflowed(self) -> bool:
        """One of them was not: halve the scale; False where it was at its smallest, so that the scale is not to blame."""
        to_blame = self.value > SMALLEST
        self.value, self.good_steps = max(SMALLEST, self.value / 2.0), 0
        return to_blame
