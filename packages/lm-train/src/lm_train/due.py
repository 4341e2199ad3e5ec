"""When something that happens now and then is due: every so many steps, so many times in a run, or every so many minutes."""

from __future__ import annotations

import time
from collections.abc import Callable


class Due:
    """`due(step, progress)` after each step. With `every`: at its multiples. With `times`: at each n-th of the run's progress, 0 to 1.

    `minutes` adds: that long after the last time (told by `done()`). On a resumed run `progress` is where it stands.
    """

    def __init__(
        self,
        every: int | None,
        *,
        times: int = 0,
        minutes: float | None = None,
        progress: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._every, self._times, self._minutes, self._clock = every, times, minutes, clock
        self._reached = int(progress * times)
        self._last = clock()

    def __call__(self, step: int, progress: float) -> bool:
        if self._every is not None and step > 0 and step % self._every == 0:
            return True
        if self._every is None and int(progress * self._times + 1e-9) > self._reached:
            self._reached = int(progress * self._times + 1e-9)
            return True
        return self._minutes is not None and self._clock() - self._last >= 60 * self._minutes

    def done(self) -> None:
        """It has happened now."""
        self._last = self._clock()
