"""The learning-rate range test: training in which the rate rises by the same factor every step, and what its losses say.

    rate of step i of n:   peak * low * (high / low) ** (i / (n - 1)),   for every optimizer of the run alike

The loss falls while the rate is too low to matter or good, and climbs where it is too high. The suggestion is half the rate at
which the smoothed loss was lowest: by then the steps were already too long to keep for a whole run. docs/learning-rate.md has
what the rule gave where the best rate was known.
Smith 2017, Cyclical Learning Rates for Training Neural Networks, https://arxiv.org/abs/1506.01186, section 3.3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lm_train.config import TrainConfig
from lm_train.corpus import open_corpus, open_mixture
from lm_train.device import choose_device
from lm_train.errors import ConfigError
from lm_train.fine_tune import check_vocabulary, start_model, with_shape_of_start
from lm_train.mixture import training_batches
from lm_train.opening import check, model_config
from lm_train.optimizers import Optimizers
from lm_train.step import train_step
from lm_train.view.display import Display

DEFAULT_STEPS = 100
_FEWEST_STEPS = 20
_SAFETY = 2.0  # the suggestion is the rate of the lowest loss, divided by this
_WIDTH = 3.0  # steps: standard deviation of the bell that smooths the losses
_DIVERGED = 5  # steps whose mean loss is above the first loss: it will not come back


@dataclass(frozen=True)
class LrTest:
    """What a range test saw: a rate and a loss (nats per token) of each step; `factors` are the rates over the configured ones.

    `peaks` are the configured peak rates by optimizer, the first the one that `rates` are of.
    """

    peaks: dict[str, float]
    factors: list[float]
    losses: list[float]
    diverged: bool

    @property
    def smoothed(self) -> list[float]:
        """The losses, each a mean of its neighbours weighted by a bell; not behind, as a running mean would be."""
        return [bell_mean(self.losses, place, _WIDTH) for place in range(len(self.losses))]

    @property
    def lowest(self) -> int:
        """The step of the lowest smoothed loss."""
        smooth = self.smoothed
        return smooth.index(min(smooth))

    @property
    def suggestion(self) -> float | None:
        """The suggested rates, over the configured ones; None where the loss fell to the very end: the test stopped too early."""
        if not self.diverged and self.lowest >= len(self.losses) - 2 * _WIDTH:
            return None
        return self.factors[self.lowest] / _SAFETY

    @property
    def flags(self) -> str | None:
        """The suggestion as flags of `train`."""
        if self.suggestion is None:
            return None
        names = {"muon": "--optim.muon-lr"}
        return " ".join(
            f"{names.get(part, '--optim.lr')} {rounded(peak * self.suggestion)}"
            for part, peak in self.peaks.items()
        )


def lr_test(config: TrainConfig, *, low: float, high: float, display: Display) -> LrTest:
    """Run the test; nothing is kept of the model. Raises ConfigError and what `train` raises."""
    steps = config.steps if config.steps is not None else DEFAULT_STEPS
    if config.minutes or config.tokens or config.epochs:
        raise ConfigError("lr counts in steps: give --steps (100 unless given), and no other budget")
    if steps < _FEWEST_STEPS:
        raise ConfigError(f"--steps must be at least {_FEWEST_STEPS} for a curve to read, got {steps}")
    if not (math.isfinite(high) and 0 < low < high):
        raise ConfigError(f"--low must be above 0 and below --high, got {low:g} and {high:g}")
    config = with_shape_of_start(config)
    check(config)
    dataset, tokenizer = open_corpus(config, display)
    check_vocabulary(config, dataset.vocab_size)
    device = choose_device(config.device, config.dtype, config.threads)
    batches = training_batches(config, dataset, open_mixture(config, tokenizer, display))
    model = start_model(config, model_config(config.model, dataset.vocab_size)).to(device.kind).train()
    model.recompute = config.recompute
    optimizers = Optimizers(model, config.optim, scaled=device.scaled)
    factors: list[float] = []
    losses: list[float] = []
    for step in range(steps):
        display.preparing("testing learning rates", step, steps)
        factor = low * (high / low) ** (step / (steps - 1))
        optimizers.set_step(step, factor)
        batch = [ids.to(device.kind) for ids in batches.batch(step)]
        result = train_step(
            model,
            optimizers,
            *batch,
            clip=config.optim.clip,
            micro_batch=config.micro_batch,
            autocast=device.autocast,
        )
        if result.overflowed:
            continue
        if not result.updated:
            break
        factors.append(factor)
        losses.append(result.loss)
        if diverged(losses):
            break
    if len(losses) < 2:
        raise ConfigError(f"the loss is not finite at {low:g} times the learning rate; give a smaller --low")
    peaks = {part.name: part.peak for part in reversed(optimizers.parts)}
    return LrTest(peaks, factors, losses, diverged=len(losses) < steps)


def diverged(losses: list[float]) -> bool:
    """Whether the mean of the last losses is above the first."""
    last = losses[-_DIVERGED:]
    return len(losses) > _DIVERGED and sum(last) / len(last) > losses[0]


def bell_mean(values: list[float], place: int, width: float) -> float:
    """The mean of `values` weighted by exp(-(distance from `place`)^2 / (2 width^2))."""
    weights = [math.exp(-((i - place) ** 2) / (2 * width**2)) for i in range(len(values))]
    return sum(w * v for w, v in zip(weights, values, strict=True)) / sum(weights)


def rounded(value: float) -> str:
    """Two digits: 0.0041."""
    return f"{float(f'{value:.1e}'):g}"
