"""float16: the scaled loss gives float32's gradient, an overflow costs one step and nothing else, and the scale survives a stop."""

import json
import os

import pytest
import torch
from lm_core import ModelConfig, Transformer
from lm_train import loss_scale
from lm_train.config import CheckpointConfig, EvaluateConfig, OptimConfig
from lm_train.config_file import to_toml
from lm_train.device import choose_device
from lm_train.loss_scale import FIRST, LARGEST, SMALLEST, LossScale
from lm_train.optimizers import Optimizers
from lm_train.run import train
from lm_train.state import optimizer_state, read_record, restore_optimizers
from lm_train.step import train_step
from many_ranks import run_ranks
from resumed_runs import assert_same, stopped_after_every_step
from run_comparison import figures, same_bits
from tiny_runs import rows, tiny_config, tiny_corpus

SHAPE = ModelConfig(vocab_size=300, context=16, d_model=16, n_layers=2, n_heads=2, d_ff=32, qk_norm=True)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    folder = tmp_path_factory.mktemp("float16")
    tiny_corpus(folder)
    return folder


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    monkeypatch.setattr("lm_train.run.write_report", lambda run: run.report)


def model_with_a_head():
    """The fresh head is zero, and so would most gradients be."""
    model = Transformer(SHAPE, seed=1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.normal_(generator=torch.Generator().manual_seed(parameter.numel()), std=0.2)
    return model


def batch(seed=0):
    ids = torch.randint(300, (4, 17), generator=torch.Generator().manual_seed(seed))
    return ids[:, :-1], ids[:, 1:]


def one_step(dtype, scale, tiny=1.0):
    """The gradient of a step and its result; `tiny` makes the loss, and so every gradient, that much smaller."""
    device = choose_device("cpu", dtype, 1)
    model = model_with_a_head()
    optimizers = Optimizers(model, OptimConfig(name="adamw"), scaled=device.scaled)
    optimizers.step = lambda: None  # keep the gradient as it is
    sound = model.loss
    model.loss = lambda inputs, targets: sound(inputs, targets) * tiny
    if optimizers.scale is not None:
        optimizers.scale.value = scale
    result = train_step(model, optimizers, *batch(), clip=0, micro_batch=3, autocast=device.autocast)
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}, result, optimizers


def test_a_scaled_float16_step_has_the_gradient_of_float32():
    wanted, exact, _ = one_step("float32", 1.0)
    found, result, _ = one_step("float16", 2.0**12)
    assert result.updated
    assert result.loss == pytest.approx(exact.loss, rel=2e-3)
    assert result.grad_norm == pytest.approx(exact.grad_norm, rel=1e-2)
    for name in wanted:
        error = (found[name] - wanted[name]).norm() / wanted[name].norm()
        assert error < 2e-2, name


def test_gradients_too_small_for_float16_are_lost_without_the_scale_and_kept_with_it():
    wanted, _, _ = one_step("float32", 1.0, tiny=1e-6)
    lost, _, _ = one_step("float16", 1.0, tiny=1e-6)
    kept, _, _ = one_step("float16", 2.0**20, tiny=1e-6)
    name = "blocks.0.attention.q.weight"
    assert (lost[name] == 0).float().mean() > 0.5
    assert (kept[name] - wanted[name]).norm() / wanted[name].norm() < 2e-2


def test_an_overflow_skips_the_step_halves_the_scale_and_touches_nothing_else():
    device = choose_device("cpu", "float16", 1)
    model = model_with_a_head()
    optimizers = Optimizers(model, OptimConfig(ema=0.9), scaled=True)
    train_step(model, optimizers, *batch(), clip=1.0, autocast=device.autocast)
    optimizers.scale.value = 2.0**40
    weights_before = {name: p.detach().clone() for name, p in model.named_parameters()}
    tensors, numbers = optimizer_state(optimizers)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    result = train_step(model, optimizers, *batch(1), clip=1.0, autocast=device.autocast)
    assert (result.updated, result.overflowed) == (False, True)
    assert optimizers.scale == LossScale(2.0**39, 0)
    same_bits(dict(model.named_parameters()), weights_before)
    after, numbers_after = optimizer_state(optimizers)
    same_bits(after, tensors)
    assert {k: v for k, v in numbers_after.items() if "loss-scale" not in k} == {
        k: v for k, v in numbers.items() if "loss-scale" not in k
    }
    assert all(p.grad is None for p in model.parameters())


def test_the_scale_is_not_blamed_for_a_loss_that_is_not_finite_nor_below_its_smallest():
    device = choose_device("cpu", "float16", 1)
    model = model_with_a_head()
    optimizers = Optimizers(model, OptimConfig(), scaled=True)
    sound = model.loss
    model.loss = lambda inputs, targets: sound(inputs, targets) * torch.nan
    result = train_step(model, optimizers, *batch(), clip=1.0, autocast=device.autocast)
    assert (result.updated, result.overflowed, optimizers.scale.value) == (False, False, FIRST)
    smallest = LossScale(SMALLEST, 7)
    assert not smallest.overflowed()
    assert smallest == LossScale(SMALLEST, 0)


def test_the_scale_doubles_after_so_many_good_steps_and_not_for_ever(monkeypatch):
    monkeypatch.setattr(loss_scale, "GROWTH_STEPS", 3)
    scale = LossScale(LARGEST / 2)
    seen = []
    for _ in range(7):
        scale.finite()
        seen.append((scale.value, scale.good_steps))
    assert seen[:3] == [(LARGEST / 2, 1), (LARGEST / 2, 2), (LARGEST, 0)]
    assert seen[-1] == (LARGEST, 1)


def test_the_scale_is_kept_with_the_optimizers_state():
    optimizers, other = (Optimizers(Transformer(SHAPE), OptimConfig(), scaled=True) for _ in range(2))
    optimizers.scale = LossScale(2.0**9, 41)
    tensors, numbers = optimizer_state(optimizers)
    restore_optimizers(other, tensors, json.loads(json.dumps(numbers)), "a test")
    assert other.scale == optimizers.scale
    assert "loss-scale/all/value" not in optimizer_state(Optimizers(Transformer(SHAPE), OptimConfig()))[1]


def float16_run(home, **changes):
    settings = {"dtype": "float16", "evaluate": EvaluateConfig(every=3, windows=2), "steps": 6}
    return tiny_config(home, **{**settings, **changes})


def test_a_run_in_float16_learns_as_in_float32(home):
    half, full = (train(float16_run(home, name=dtype, dtype=dtype)) for dtype in ("float16", "float32"))
    assert half.valid_loss == pytest.approx(full.valid_loss, rel=1e-3)
    assert {row["loss_scale"] for row in rows(half.folder / "metrics.jsonl") if "loss" in row} == {FIRST}
    assert not any("loss_scale" in row for row in rows(full.folder / "metrics.jsonl"))


def test_a_run_that_overflows_goes_on_and_resumes_exactly(home, monkeypatch):
    """The scale begins too large and is raised every other step; the run is stopped after each of its steps."""
    monkeypatch.setattr(LossScale.__init__, "__defaults__", (2.0**25, 0))
    monkeypatch.setattr(loss_scale, "GROWTH_STEPS", 2)
    config = float16_run(home, name="whole")
    whole = train(config)
    assert_same(whole.folder, stopped_after_every_step(config, "broken", 5))
    found = [row for row in rows(whole.folder / "metrics.jsonl") if "loss" in row]
    skipped = [row["step"] for row in found if row["loss"] is None]
    assert 0 < len(skipped) < 4
    log = (whole.folder / "log.txt").read_text()
    assert f"step {skipped[0]}: gradients overflowed float16: skipped, loss scale halved" in log
    record = read_record(whole.checkpoint)
    assert (record["skipped"], record["skipped_in_a_row"]) == (len(skipped), 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks its ranks")
def test_two_ranks_keep_one_scale_when_only_one_of_them_overflows(home, tmp_path):
    """Ranks with different scales would add up gradients of different scale; their weights would part, and no checkpoint be saved."""

    def overflow_on_rank_1(rank: int) -> None:
        calls, sound = [], Transformer.loss

        def overflowing(self, inputs, targets):
            calls.append(1)
            loss = sound(self, inputs, targets)
            if len(calls) == 2:
                loss.register_hook(lambda gradient: gradient * torch.inf)
            return loss

        if rank == 1:
            Transformer.loss = overflowing

    config = float16_run(home, batch=4, steps=4, name=None, checkpoint=CheckpointConfig(every=1))
    (tmp_path / "run.toml").write_text(to_toml(config))
    command = ["--config", str(tmp_path / "run.toml"), "--name", "pair"]
    ended = run_ranks(2, command, tmp_path / "logs", overflow_on_rank_1)
    assert [rank.code for rank in ended] == [0, 0], ended
    steps = figures(home / "runs/pair", "loss", "loss_scale")
    seen = [(row["loss"] is None, row["loss_scale"]) for row in steps if "loss" in row]
    assert seen == [(False, FIRST), (True, FIRST / 2), (False, FIRST / 2), (False, FIRST / 2)]
