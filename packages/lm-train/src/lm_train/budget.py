"""How long a run is, and the learning rate that ends with it.

A budget in steps or tokens is known at step 0. A budget in minutes is not: how many steps fit is only known once steps have been
timed. But as long as the learning rate does not depend on the length of the run (warm-up and the constant part of wsd), nothing has
to be known: so the plan, the total number of steps, is made at the last moment before the decay begins, from the time that steps
took. It is saved in every checkpoint from then on, which is what makes a resumed run exact. It is made again only where steps have
become so much slower or faster (a laptop that grows hot, a machine that others use) that the run would miss its time by a tenth.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from statistics import median

from lm_core.schedule import constant, cosine, linear, wsd

from lm_train.config import ScheduleConfig, TrainConfig

MEASURED_STEPS = 10  # steps that must have been timed before they are trusted
_MISSED_SHARE, _MISSED_SECONDS = 0.1, 10.0  # of the time budget: a plan that misses it by both is made again


class Pace:
    """What steps took lately: those of the last twentieth of a time budget, for a machine that others use too is now slower, now faster."""

    def __init__(self, budget_seconds: float | None) -> None:
        self._window = (budget_seconds or 0.0) / 20
        self.begin_again()

    def begin_again(self) -> None:
        """Forget what steps took so far."""
        self._times: deque[float] = deque()
        self._taken = 0.0
        self.known = False
        """Whether there were steps for all of that time."""

    def add(self, seconds: float) -> None:
        """One more step, in O(1) on average."""
        self._times.append(seconds)
        self._taken += seconds
        while len(self._times) > MEASURED_STEPS and self._taken - self._times[0] >= self._window:
            self._taken -= self._times.popleft()
            self.known = True

    @property
    def mean(self) -> float:
        """Seconds a step, 0 before the first."""
        return self._taken / len(self._times) if self._times else 0.0

    @property
    def median(self) -> float:
        return median(self._times)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """When a run ends: after `steps`, or after `seconds` of training (time in steps; evaluation and saving do not count)."""

    schedule: ScheduleConfig
    steps: int | None
    seconds: float | None

    @classmethod
    def of(cls, config: TrainConfig) -> Budget:
        minutes = config.budget_minutes
        return cls(
            schedule=config.schedule,
            steps=config.budget_steps,
            seconds=None if minutes is None else 60 * minutes,
        )

    def plan(self, step: int, seconds: float, step_seconds: float) -> int | None:
        """The total number of steps, once it must be known before `step` is computed; until then None.

        `seconds` is the training time so far and `step_seconds` what a step takes now.
        """
        if self.steps is not None:
            return self.steps
        assert self.seconds is not None, "a budget has steps or seconds"
        total = step + max(0, round((self.seconds - seconds) / step_seconds)) if step_seconds > 0 else None
        if total is None or step < MEASURED_STEPS:
            return None
        return total if step + 1 > self._free_steps(total) or seconds >= self.seconds else None

    def planned_again(self, step: int, seconds: float, pace: Pace, total: int) -> int | None:
        """Another total, where a run of `total` steps would miss its time by a tenth and 10 s; else None.

        The mean and the median of the `pace` since the last plan must both say so, and the one that changes less is taken: one slow step is no
        slow machine. The learning rate follows the new plan from where the run stands.
        """
        if self.seconds is None or not pace.known or step >= total:
            return None
        left = self.seconds - seconds
        fast, slow = sorted((pace.mean, pace.median))
        tolerated = max(_MISSED_SHARE * self.seconds, _MISSED_SECONDS)
        if (total - step) * fast - left > tolerated:
            return step + max(0, round(left / fast))
        if (total - step) * slow - left < -tolerated:
            return step + round(left / slow)
        return None

    def _free_steps(self, total: int) -> int:
        """Steps at the start of a run of `total` steps whose learning rate does not depend on `total`."""
        if self.schedule.name == "constant":
            return total
        if self.schedule.name == "wsd":
            return total - round(self.schedule.decay * total)
        return self.schedule.warmup

    def factor(self, step: int, total: int | None) -> float:
        """The learning rate of `step` as a share of its peak; `total` None: the plan is not made yet."""
        s = self.schedule
        if s.name == "constant" or total is None:
            return constant(step, peak=1.0, warmup=s.warmup)
        warmup = min(s.warmup, total)
        if s.name == "wsd":
            decay = min(round(s.decay * total), total - warmup)
            return wsd(step, peak=1.0, floor=s.floor, warmup=warmup, decay=decay, total=total)
        if s.name == "cosine":
            return cosine(step, peak=1.0, floor=s.floor, warmup=warmup, total=total)
        return linear(step, peak=1.0, floor=s.floor, warmup=warmup, total=total)

    def progress(self, step: int, seconds: float, total: int | None) -> float:
        """The share of the run that is done, 0 to 1."""
        if total:
            return min(1.0, step / total)
        return min(1.0, seconds / self.seconds) if self.seconds else 1.0
