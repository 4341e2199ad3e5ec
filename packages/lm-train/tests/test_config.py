"""Settings are checked when they are made, and every range is named."""

from dataclasses import fields

import pytest
from lm_core import ModelConfig
from lm_train.config import (
    CheckpointConfig,
    EvaluateConfig,
    ModelOptions,
    OptimConfig,
    SampleConfig,
    ScheduleConfig,
    TrainConfig,
)
from lm_train.errors import ConfigError


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TrainConfig(minutes=-1), "minutes must be above 0, got -1"),
        (lambda: TrainConfig(minutes=0), "minutes must be above 0, got 0"),
        (lambda: TrainConfig(minutes=float("nan")), "minutes must be above 0, got nan"),
        (lambda: TrainConfig(steps=0), "steps must be above 0, got 0"),
        (
            lambda: TrainConfig(steps=5, minutes=1.0),
            "give one budget, got minutes and steps; leave out all but one",
        ),
        (lambda: TrainConfig(batch=0), "batch must be above 0, got 0"),
        (lambda: TrainConfig(threads=1025), "threads must be at most 1024, got 1025"),
        (lambda: TrainConfig(vocab_size=1), "vocab_size must be at least 2, got 1"),
        (lambda: TrainConfig(seed=-1), r"seed must be between 0 and 2\*\*63 - 1, got -1"),
        (lambda: TrainConfig(name="a/b"), "name must be a folder name without slashes, got 'a/b'"),
        (lambda: TrainConfig(name=".."), "name must be a folder name without slashes"),
        (lambda: TrainConfig(data=""), "data must be a source's name or a path"),
        (lambda: OptimConfig(lr=0.0), r"optim\.lr must be above 0"),
        (lambda: OptimConfig(beta2=1.0), r"optim\.beta2 must be at least 0 and below 1, got 1\.0"),
        (lambda: OptimConfig(momentum_start=-0.1), r"optim\.momentum_start must be at least 0 and below 1"),
        (lambda: OptimConfig(clip=-1.0), r"optim\.clip must be 0 or more"),
        (lambda: OptimConfig(max_bad_steps=0), r"optim\.max_bad_steps must be above 0"),
        (lambda: ScheduleConfig(decay=1.5), r"schedule\.decay must be between 0 and 1, got 1\.5"),
        (lambda: ScheduleConfig(warmup=-1), r"schedule\.warmup must be 0 or more"),
        (lambda: EvaluateConfig(every=0), r"evaluate\.every must be above 0"),
        (lambda: SampleConfig(temperature=-1.0), r"samples\.temperature must be 0 or more"),
        (lambda: CheckpointConfig(keep=0), r"checkpoint\.keep must be above 0"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_the_default_budget_is_one_minute():
    assert TrainConfig().budget_minutes == 1.0
    assert TrainConfig(steps=7).budget_minutes is None


def test_a_budget_in_tokens_is_rounded_up_to_whole_steps():
    config = TrainConfig(tokens=1025, batch=8, model=ModelOptions(context=128))
    assert config.tokens_per_step == 1024
    assert config.budget_steps == 2


def test_every_choice_of_the_model_is_a_setting_here():
    ours = {field.name for field in fields(ModelOptions)}
    cores = {field.name for field in fields(ModelConfig)}
    assert ours == cores - {"vocab_size", "rope_scaling"}
