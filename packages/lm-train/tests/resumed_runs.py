"""Stopping runs at a step, and comparing what two runs left, bit for bit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from lm_core import load_model
from lm_train.checkpoint import checkpoints
from lm_train.config import TrainConfig
from lm_train.config_file import read_config
from lm_train.run import resume, train
from lm_train.signals import Stop
from lm_train.state import read_record
from lm_train.view.display import Silent
from safetensors.torch import load_file
from tiny_runs import rows


class StopAt(Silent):
    """Asks for a stop when a step has been shown."""

    def __init__(self, step: int) -> None:
        self.step, self.stop = step, Stop()

    def training(self, status):
        if status.step == self.step:
            self.stop.requested = "a test"


def everything(run: Path):
    """What a run left that must not depend on how often it was stopped."""
    last = checkpoints(run / "checkpoints")[-1]
    record = {key: value for key, value in read_record(last).items() if key != "seconds"}
    state = load_file(next((last / "state").glob("*.safetensors")))
    weights = load_model(last).state_dict()
    return rows(run / "metrics.jsonl"), rows(run / "samples.jsonl"), record, {**state, **weights}


def assert_same(run: Path, other: Path):
    a, b = everything(run), everything(other)
    assert a[:3] == b[:3]
    assert a[3].keys() == b[3].keys()
    different = [name for name in a[3] if not torch.equal(a[3][name], b[3][name])]
    assert different == []


def stopped_after_every_step(config: TrainConfig, name: str, steps: int) -> Path:
    """A run of `config` that is stopped after each step and resumed; its folder."""
    watch = StopAt(1)
    result = train(replace(config, name=name), display=watch, stop=watch.stop)
    for step in range(2, steps + 1):
        watch = StopAt(step)
        settings = read_config([str(result.folder / "config.toml")])
        result = resume(result.folder, settings, display=watch, stop=watch.stop)
    assert resume(result.folder, read_config([str(result.folder / "config.toml")])).status == "done"
    return result.folder
