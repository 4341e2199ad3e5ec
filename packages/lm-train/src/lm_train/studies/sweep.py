"""Which settings a sweep tries next: all of a grid, draws at random, or what a Bayesian search asks for (optuna, an extra).

Each choice depends only on the plan, the seed and the scores told so far; so a sweep that is started again makes the same ones.
"""

from __future__ import annotations

import importlib.util
import itertools
import math
import random
import warnings
from collections.abc import Iterator
from typing import Any

from lm_train.config import TrainConfig
from lm_train.config_file import with_settings
from lm_train.errors import ConfigError
from lm_train.studies.study import Trial
from lm_train.studies.sweep_file import Parameter, SweepPlan


class Search:
    """`next()` gives a trial, or None at the end; after it has been run, `tell` its score. Raises ConfigError for a setting that does not exist."""

    def __init__(self, plan: SweepPlan, config: TrainConfig) -> None:
        self.plan, self.config = plan, config
        size = (
            math.prod(len(p.values) for p in plan.parameters.values()) if plan.method == "grid" else math.inf
        )
        self.planned = int(min(size, plan.runs if plan.runs is not None else size))
        self._given = 0
        self._asked: Any = None
        self._study: Any = _optuna_study(plan, config.seed) if plan.method == "bayes" else None
        self._choices = self._draws()
        for name, parameter in plan.parameters.items():  # a wrong name or value is told before the first run
            for value in parameter.values or (
                _typed(parameter, parameter.low),
                _typed(parameter, parameter.high),
            ):
                with_settings(config, {name: value}, f"sweep {plan.name}")

    def next(self) -> Trial | None:
        """The next trial."""
        if self._given == self.planned:
            return None
        choice = next(self._choices)
        self._given += 1
        config = with_settings(self.config, choice, f"sweep {self.plan.name}")
        return Trial(f"run-{self._given:03}", choice, config)

    def tell(self, score: float | None) -> None:
        """The score of the last trial; None: it has none."""
        if self._study is not None:
            from optuna.trial import TrialState

            failed = score is None or not math.isfinite(score)
            self._study.tell(
                self._asked, None if failed else score, state=TrialState.FAIL if failed else None
            )

    def _draws(self) -> Iterator[dict[str, Any]]:
        parameters = self.plan.parameters
        if self.plan.method == "grid":
            for values in itertools.product(*(p.values for p in parameters.values())):
                yield dict(zip(parameters, values, strict=True))
        elif self.plan.method == "random":
            for number in itertools.count():
                rng = random.Random(f"lm-train sweep {self.config.seed} {number}")
                yield {name: drawn(parameter, rng) for name, parameter in parameters.items()}
        else:
            while True:
                self._asked = self._study.ask()
                yield {name: _suggested(self._asked, name, p) for name, p in parameters.items()}


def drawn(parameter: Parameter, rng: random.Random) -> Any:
    """A value by the parameter's distribution."""
    if parameter.values:
        return rng.choice(parameter.values)
    if parameter.kind == "int_uniform":
        return rng.randint(int(parameter.low), int(parameter.high))
    if parameter.kind == "uniform":
        return rng.uniform(parameter.low, parameter.high)
    return math.exp(rng.uniform(math.log(parameter.low), math.log(parameter.high)))


def _typed(parameter: Parameter, number: float) -> float | int:
    return int(number) if parameter.kind == "int_uniform" else number


def _suggested(trial: Any, name: str, parameter: Parameter) -> Any:
    if parameter.values:
        return parameter.values[trial.suggest_int(name, 0, len(parameter.values) - 1)]
    if parameter.kind == "int_uniform":
        return trial.suggest_int(name, int(parameter.low), int(parameter.high))
    return trial.suggest_float(
        name, parameter.low, parameter.high, log=parameter.kind == "log_uniform_values"
    )


def _optuna_study(plan: SweepPlan, seed: int) -> Any:
    if importlib.util.find_spec("optuna") is None:
        raise ConfigError(
            "method bayes: optuna is not installed; pip install 'lm-train[sweep]', or take method random"
        )
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=5, multivariate=True)
    return optuna.create_study(direction="maximize" if plan.maximize else "minimize", sampler=sampler)
