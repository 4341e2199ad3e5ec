"""A model spread over the ranks trains as a whole one does, and its checkpoints are the same files."""

import os
import shutil
import signal
from dataclasses import replace

import lm_train.parallel.follow
import pytest
import torch
from lm_core import read_config
from lm_core.counts import parameter_count
from lm_train.checkpoint import checkpoints
from lm_train.config import OptimConfig, ScaleConfig, TrainConfig
from lm_train.config_file import to_toml
from lm_train.device import choose_device
from lm_train.opening import model_config
from lm_train.parallel.ranks import Ranks
from lm_train.parallel.sharding import choose_sharding
from lm_train.parallel.world_plan import largest_part
from lm_train.run import train
from many_ranks import at_step, run_ranks
from run_comparison import assert_close, same_bits, state, weights
from tiny_runs import tiny_config, tiny_corpus

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks its ranks")
STEPS = 20


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A corpus, settings, and the run `one` of a single process."""
    folder = tmp_path_factory.mktemp("sharding")
    tiny_corpus(folder)
    # Rates at which a rounding error stays one: Adam's divisor makes much of a gradient that is nearly zero.
    rates = OptimConfig(momentum_warmup=6, lr=0.004, muon_lr=0.012)
    config = replace(tiny_config(folder, batch=8, steps=STEPS, micro_batch=1, optim=rates), name=None)
    (folder / "run.toml").write_text(to_toml(config))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lm_train.run.write_report", lambda run: run.report)
        train(replace(config, name="one"))
    return folder


def arguments(home, name, sharding, *more):
    return ["--config", str(home / "run.toml"), "--name", name, "--scale.sharding", sharding, *more]


def test_a_model_spread_over_two_ranks_trains_as_a_whole_one_and_resumes_exactly_on_any(home, tmp_path):
    def count_my_part(rank: int) -> None:
        sound = lm_train.parallel.follow.shard

        def counted(model, *args):
            split = sound(model, *args)
            (tmp_path / f"part-{rank}").write_text(str(sum(p.to_local().numel() for p in model.parameters())))
            return split

        lm_train.parallel.follow.shard = counted

    whole = run_ranks(2, arguments(home, "full", "full"), tmp_path / "full", count_my_part)
    assert [rank.code for rank in whole] == [0, 0], whole
    assert "4 of 8 windows each, full" in whole[0].out
    assert_close(home / "runs/full", home / "runs/one")
    parts = [int((tmp_path / f"part-{rank}").read_text()) for rank in range(2)]
    shape = read_config(checkpoints(home / "runs/full/checkpoints")[-1])
    assert parts[0] == largest_part(shape, 2)
    assert sum(parts) == parameter_count(shape)

    def stop_both(rank: int) -> None:
        at_step(6, lambda: os.kill(os.getpid(), signal.SIGTERM))

    stopped = run_ranks(2, arguments(home, "stopped", "full"), tmp_path / "stopped", stop_both)
    assert [rank.code for rank in stopped] == [75, 0], stopped
    for world, sharding in ((2, "full"), (4, "full"), (2, "replicate")):
        run = home / f"runs/{sharding}-{world}"
        shutil.copytree(home / "runs/stopped", run)
        ended = run_ranks(
            world, ["--resume", str(run), "--scale.sharding", sharding], tmp_path / f"{sharding}-{world}"
        )
        assert [rank.code for rank in ended] == [0] * world, ended
        assert_close(run, home / "runs/one")
    same_bits(weights(home / "runs/full-2"), weights(home / "runs/full"))
    same_bits(state(home / "runs/full-2"), state(home / "runs/full"))


def test_parts_within_a_machine_and_replicas_between_machines_are_the_same_model(home, tmp_path):
    two_machines = {"LOCAL_WORLD_SIZE": "2"}
    ended = run_ranks(4, arguments(home, "hybrid", "hybrid"), tmp_path, environment=two_machines)
    assert [rank.code for rank in ended] == [0] * 4, ended
    assert_close(home / "runs/hybrid", home / "runs/one")
    (names,) = {
        tuple(sorted(path.name for path in checkpoints(home / f"runs/{run}/checkpoints")[-1].iterdir()))
        for run in ("hybrid", "one")
    }
    assert "model.safetensors" in names


def test_what_needs_whole_weights_is_refused_with_parts_and_kept_whole_when_nothing_is_said(
    home, tmp_path, monkeypatch
):
    ended = run_ranks(2, arguments(home, "average", "full", "--optim.ema", "0.9"), tmp_path)
    assert [rank.code for rank in ended] == [2, 0], ended
    assert ended[0].err == "--optim.ema and --scale.sharding full do not go together; leave one of them out\n"
    monkeypatch.setattr("lm_train.parallel.sharding._memory", lambda device: 1e6)
    config = TrainConfig(optim=OptimConfig(ema=0.9))
    device = choose_device("cpu", "float32", 1)
    assert choose_sharding(config, model_config(config.model, 1024), device, Ranks(0, 2)) == "replicate"


@pytest.mark.slow
def test_recomputed_blocks_spread_over_ranks_are_the_same_model(home, tmp_path):
    ended = run_ranks(2, arguments(home, "recomputed", "full", "--recompute"), tmp_path)
    assert [rank.code for rank in ended] == [0, 0], ended
    assert_close(home / "runs/recomputed", home / "runs/one")


@pytest.mark.parametrize("optimizer", ["adamw", "lion", "adafactor"])
def test_every_optimizer_trains_spread_as_it_does_whole(home, tmp_path, monkeypatch, optimizer):
    monkeypatch.setattr("lm_train.run.write_report", lambda run: run.report)
    config = replace(
        tiny_config(home, batch=8, steps=STEPS, optim=OptimConfig(name=optimizer, lr=1e-3)), name=None
    )
    (home / "other.toml").write_text(to_toml(config))
    train(replace(config, name=f"{optimizer}-one"))
    ended = run_ranks(
        2, ["--config", str(home / "other.toml"), "--name", optimizer, "--scale.sharding", "full"], tmp_path
    )
    assert [rank.code for rank in ended] == [0, 0], ended
    assert_close(home / f"runs/{optimizer}", home / f"runs/{optimizer}-one")


@pytest.mark.slow
def test_a_loss_that_is_not_finite_on_one_part_skips_the_step_on_all(home, tmp_path):
    from lm_core import Transformer

    def poison_rank_1(rank: int) -> None:
        sound, calls = Transformer.loss, []

        def poisoned(self, inputs, targets):
            calls.append(1)
            return sound(self, inputs, targets) * (float("nan") if len(calls) == 9 else 1)  # in step 3

        if rank == 1:
            Transformer.loss = poisoned

    ended = run_ranks(2, arguments(home, "poisoned", "full"), tmp_path, poison_rank_1)
    assert [rank.code for rank in ended] == [0, 0], ended
    assert "step 3: loss nan, gradient norm nan: update skipped" in ended[0].out
    assert all(torch.isfinite(value).all() for value in weights(home / "runs/poisoned").values())


def test_weights_are_spread_where_four_numbers_a_weight_would_not_fit(monkeypatch):
    device, ranks = choose_device("cpu", "float32", 1), Ranks(0, 2)
    shape = model_config(TrainConfig().model, 1024)
    for memory, wanted in ((1e12, "replicate"), (1e6, "full")):
        monkeypatch.setattr("lm_train.parallel.sharding._memory", lambda device, memory=memory: memory)
        assert choose_sharding(TrainConfig(), shape, device, ranks) == wanted
        assert (
            choose_sharding(TrainConfig(scale=ScaleConfig(sharding="hybrid")), shape, device, ranks)
            == "hybrid"
        )
        assert choose_sharding(TrainConfig(), shape, device, Ranks()) == "replicate"
