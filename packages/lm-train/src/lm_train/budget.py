"""How long a run is, and the learning rate that ends with it.

A budget in steps or tokens is known at step 0. A budget in minutes is not: how many steps fit is only known once steps have been
timed. But as long as the learning rate does not depend on the length of the run (warm-up and the constant part of wsd), nothing has
to be known: so the plan, the total number of steps, is made at the last moment before the decay begins, from the time that steps
took, and never changed afterwards. It is saved in every checkpoint from then on, which is what makes a resumed run exact.
"""

from __future__ import annotations

from dataclasses import dataclass

from lm_core.schedule import constant, cosine, linear, wsd

from lm_train.config import ScheduleConfig, TrainConfig

MEASURED_STEPS = 10  # steps that must have been timed before they are trusted


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
