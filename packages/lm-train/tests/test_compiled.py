"""Blocks through torch.compile: the same run, and one that resumes exactly."""

import shutil
from dataclasses import replace

import pytest
import torch
from lm_core import ModelConfig, Transformer
from lm_train.checkpoint import checkpoints
from lm_train.compiled import compile_blocks, uncompiled
from lm_train.config_file import read_config
from lm_train.errors import ConfigError
from lm_train.run import resume, train
from lm_train.signals import Stop
from lm_train.view.display import Silent
from tiny_runs import rows, tiny_config, tiny_corpus


def test_without_a_compiler_the_option_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    tiny_corpus(tmp_path)
    with pytest.raises(ConfigError, match="--compile: needs a C"):
        train(tiny_config(tmp_path, compile=True))


def test_a_model_that_is_not_compiled_needs_no_compiler():
    with uncompiled(Transformer(ModelConfig(vocab_size=8, d_model=16, n_heads=2, n_layers=1))) as nothing:
        assert nothing is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
def test_compiling_changes_neither_weights_nor_random_numbers():
    model = Transformer(
        ModelConfig(vocab_size=50, context=8, d_model=16, n_heads=2, n_layers=2, dropout=0.1)
    ).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    ids = torch.randint(50, (2, 9), generator=torch.Generator().manual_seed(0))
    state = torch.get_rng_state()
    compile_blocks(model, ids[:, :-1], ids[:, 1:])
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
def test_a_compiled_run_learns_the_same_and_resumes_exactly(tmp_path, monkeypatch):
    monkeypatch.setattr("lm_train.run.write_report", lambda run: run.report)
    tiny_corpus(tmp_path)
    plain = rows(train(tiny_config(tmp_path, name="plain")).folder / "metrics.jsonl")
    config = tiny_config(tmp_path, name="whole", compile=True)
    whole = train(config)
    compiled = rows(whole.folder / "metrics.jsonl")
    assert [row["loss"] for row in compiled if "loss" in row] == pytest.approx(
        [row["loss"] for row in plain if "loss" in row], rel=1e-4
    )
    stop = Stop()

    class StopAtFive(Silent):
        def training(self, status):
            stop.requested = "a test" if status.step == 5 else None

    parts = train(replace(config, name="parts"), display=StopAtFive(), stop=stop)
    assert (parts.status, parts.step) == ("stopped", 5)
    resume(parts.folder, read_config([str(parts.folder / "config.toml")]))
    first, second = (
        checkpoints(run / "checkpoints")[-1] / "model.safetensors" for run in (whole.folder, parts.folder)
    )
    assert first.read_bytes() == second.read_bytes()
