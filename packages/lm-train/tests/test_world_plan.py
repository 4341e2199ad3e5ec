"""The plan for many GPUs, against sums spelled out."""

import math

import pytest
import torch
from lm_core import Transformer
from lm_core.counts import parameter_count
from lm_train import cli
from lm_train.config import ModelOptions, ScaleConfig, TrainConfig
from lm_train.errors import ConfigError
from lm_train.opening import model_config
from lm_train.parallel.world_plan import GPUS, best_interval, largest_part, plan_world

SHAPE = model_config(ModelOptions(context=64, d_model=48, n_layers=3, n_heads=4, d_ff=100), 300)


def config_of(sharding="full", **settings):
    return TrainConfig(**{"batch": 64, "scale": ScaleConfig(sharding=sharding), **settings})


@pytest.mark.parametrize("world", [1, 2, 3, 7, 64, 8192])
def test_rank_0_holds_the_first_of_torchs_chunks_of_every_parameter(world):
    with torch.device("meta"):
        model = Transformer(SHAPE)
    assert largest_part(SHAPE, world) == sum(torch.chunk(p, world)[0].numel() for p in model.parameters())
    if world == 1:
        assert largest_part(SHAPE, world) == parameter_count(SHAPE)


def test_bytes_sent_are_those_of_rings():
    held = 4 * parameter_count(SHAPE)
    gpu = GPUS["h100"]
    assert plan_world(config_of("replicate"), SHAPE, 16, gpu).sent == pytest.approx(2 * 15 / 16 * held)
    four_micro_batches = plan_world(config_of("full", micro_batch=1), SHAPE, 16, gpu)
    assert four_micro_batches.sent == pytest.approx((4 * 2 + 1) * 15 / 16 * held)
    hybrid = plan_world(config_of("hybrid"), SHAPE, 16, gpu)
    assert hybrid.sent == pytest.approx(3 * 7 / 8 * held + 2 * 1 / 2 * held / 8)
    assert plan_world(config_of("replicate"), SHAPE, 1, gpu).sent == 0


def test_a_models_parts_take_less_memory_the_more_there_are_and_replicas_do_not():
    gpu = GPUS["h100"]
    spread = [plan_world(config_of("full"), SHAPE, world, gpu) for world in (8, 16, 64)]
    assert spread[0].weights > spread[1].weights > spread[2].weights
    assert plan_world(config_of("replicate"), SHAPE, 64, gpu).weights == 4 * parameter_count(SHAPE)
    assert plan_world(config_of("auto"), SHAPE, 64, gpu).sharding == "replicate"


def test_the_best_interval_has_the_least_cost_of_writing_and_losing():
    write, world = 30.0, 1024
    between_failures = 50_000 * 3600 / world

    def cost(interval):
        return write / interval + interval / 2 / between_failures

    best = best_interval(write, world)
    assert all(cost(best) <= cost(best * factor) for factor in (0.5, 0.9, 1.1, 2.0))
    assert best == pytest.approx(math.sqrt(2 * write * between_failures))


def test_gpus_that_cannot_share_the_batch_or_fill_no_machine_are_refused():
    with pytest.raises(
        ConfigError, match="cannot be shared equally by 3 processes; start 1, 2, 4, 8, 16, 32, 64 of them"
    ):
        plan_world(config_of(), SHAPE, 3, GPUS["h100"])
    with pytest.raises(ConfigError, match="no whole number of machines of 6 GPUs"):
        plan_world(config_of(), SHAPE, 64, GPUS["h100"], per_machine=6)


def test_the_command_says_what_a_large_run_takes_and_that_it_was_not_run(capsys):
    size = [
        "--model.d-model",
        "4096",
        "--model.n-layers",
        "32",
        "--model.n-heads",
        "32",
        "--model.d-ff",
        "11008",
        "--model.context",
        "4096",
    ]
    command = [
        "plan",
        "--world",
        "1024",
        "--batch",
        "1024",
        "--steps",
        "250000",
        "--vocab-size",
        "32000",
        "--price",
        "2.5",
        *size,
    ]
    assert cli.run(command) == 0
    out = capsys.readouterr().out
    assert "1,024 x h100, 1 of 1,024 windows each, full" in out
    assert "x the mean)" in out
    assert "at 2.5 a GPU and hour" in out
    assert out.endswith("nothing of this was run.\n")
    assert cli.run([*command, "--gpu", "abacus"]) == 2
    assert capsys.readouterr().err == "--gpu abacus: known are a100, h100, h200, b200\n"
