"""When memory runs out: the flag and the value that fit by lm-core's count, held to a search over all values."""

from dataclasses import replace

import pytest
import torch
from lm_core import ModelConfig
from lm_core.counts import activation_bytes, parameter_count
from lm_train import cli
from lm_train.config import ModelOptions, TrainConfig
from lm_train.config_file import to_toml
from lm_train.device import Device
from lm_train.out_of_memory import advice, fitting_rows, ran_out
from tiny_runs import tiny_config, tiny_corpus

SHAPE = ModelConfig(vocab_size=300, context=64, d_model=32, n_layers=2, n_heads=2, d_ff=64)
CPU = Device("cpu", torch.float32, 1, "a test")
STATE = 8 * parameter_count(SHAPE)
CONFIG = TrainConfig(batch=32, model=ModelOptions(context=64))


def need(rows, *, recompute=False):
    return 8 * parameter_count(SHAPE) + STATE + activation_bytes(SHAPE, rows, 64, 4, recompute=recompute)


def test_the_most_windows_that_fit_are_named():
    for fits in (1, 7, 31):
        said = advice(CONFIG, SHAPE, STATE, CPU, int(need(fits) / 0.9) + 10)
        assert said.startswith(f"out of memory with 32 windows at once: --micro-batch {fits} needs about")
    assert fitting_rows(need, need(9) - 1, 32) == 8


def test_windows_that_should_have_fitted_are_halved():
    assert "--micro-batch 16 needs" in advice(CONFIG, SHAPE, STATE, CPU, 10 * need(32))
    assert "with 8 windows at once: --micro-batch 4 " in advice(
        replace(CONFIG, micro_batch=8), SHAPE, STATE, CPU, 10 * need(32)
    )


def test_where_no_window_fits_blocks_are_run_again_or_the_model_is_too_large():
    memory = int(need(1) / 0.9) - 10
    assert "--micro-batch 1 --recompute needs" in advice(CONFIG, SHAPE, STATE, CPU, memory)
    assert "weights, gradients and optimizer alone take" in advice(CONFIG, SHAPE, STATE, CPU, STATE)
    assert "--micro-batch" not in advice(replace(CONFIG, recompute=True), SHAPE, STATE, CPU, STATE)


def test_on_several_ranks_and_where_the_memory_is_not_known():
    assert "with 8 windows at once: try --micro-batch 4" in advice(CONFIG, SHAPE, STATE, CPU, None, world=4)
    assert "--recompute" in advice(replace(CONFIG, micro_batch=1), SHAPE, STATE, CPU, None)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes"),
        MemoryError(),
    ],
)
def test_what_says_that_memory_ran_out_is_known(error):
    assert ran_out(error)
    assert not ran_out(RuntimeError("something else"))


def test_a_run_ends_with_the_advice_in_one_line_and_as_failed(tmp_path, monkeypatch, capsys):
    tiny_corpus(tmp_path)
    config = tiny_config(tmp_path, batch=8)
    (tmp_path / "run.toml").write_text(to_toml(config))

    def too_much(*args, **kwargs):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("lm_train.step.train_step", too_much)
    assert cli.run(["--config", str(tmp_path / "run.toml"), "--name", "large"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("out of memory with 8 windows at once: --micro-batch 4 ")
    assert error.count("\n") == 1
    assert '"status": "failed"' in (tmp_path / "runs/large/run.json").read_text()
