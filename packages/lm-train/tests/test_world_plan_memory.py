"""The plan's memory, kind by kind, against what torch's own memory trackers count on a small model, whole and in parts."""

import multiprocessing
import os
import warnings

import pytest
import torch
import torch.distributed as dist
from lm_core import Transformer
from lm_train.batches import Batch
from lm_train.config import ModelOptions, OptimConfig, ScaleConfig, TrainConfig
from lm_train.device import choose_device
from lm_train.opening import model_config
from lm_train.optimizers import Optimizers
from lm_train.parallel.sharding import shard
from lm_train.parallel.world_plan import GPUS, plan_world
from torch.distributed._tools.fsdp2_mem_tracker import FSDPMemTracker
from torch.distributed._tools.mem_tracker import MemTracker
from torch.testing._internal.distributed.fake_pg import FakeStore

OPTIONS = ModelOptions(context=64, d_model=64, n_layers=3, n_heads=4)
SHAPE = model_config(OPTIONS, 500)
ROWS, RANKS = 8, 4


def config_of(dtype, recompute, sharding="replicate", optimizer="muon", world=1):
    return TrainConfig(
        batch=ROWS * world,
        dtype=dtype,
        recompute=recompute,
        model=OPTIONS,
        optim=OptimConfig(name=optimizer),
        scale=ScaleConfig(sharding=sharding),
    )


def some_batch() -> Batch:
    return torch.randint(0, 500, (2, ROWS, 64), generator=torch.Generator().manual_seed(0)).unbind()


def tracked(tracker, config, model, optimizers, loss):
    """Bytes by the tracker's kinds: at the height of a second step, and between its gradients and its update."""
    device = choose_device("cpu", config.dtype, 1)
    with tracker:
        for _ in range(2):
            tracker.reset_mod_stats()
            optimizers.zero_grad()
            with device.autocast():
                found = loss(*some_batch())
            found.backward()
            found = None
            between = tracker.get_tracker_snapshot("current")[torch.device("cpu")]
            optimizers.step()
    height = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]
    return tuple(
        {getattr(kind, "name", kind): size for kind, size in each.items()} for each in (height, between)
    )


def near(ours, theirs):
    return ours == pytest.approx(theirs, rel=0.1)


@pytest.mark.parametrize(
    ("dtype", "recompute", "optimizer"),
    [("float32", False, "muon"), ("bfloat16", False, "adamw"), ("bfloat16", True, "lion")],
)
def test_the_plan_of_a_whole_model_is_what_torch_counts(dtype, recompute, optimizer):
    config = config_of(dtype, recompute, optimizer=optimizer)
    model = Transformer(SHAPE)
    model.recompute = recompute
    optimizers = Optimizers(model, config.optim)
    optimizers.set_step(1, 0.1)
    tracker = MemTracker()
    tracker.track_external(model, *[part.optimizer for part in optimizers.parts])
    height, between = tracked(tracker, config, model, optimizers, model.loss)
    plan = plan_world(config, SHAPE, 1, GPUS["h100"])
    assert near(plan.weights, height["PARAM"])
    assert near(plan.gradients, between["GRAD"] + between["ACT"])  # the head's is made in the forward pass
    assert near(plan.optimizer, height["OPT"])
    assert near(plan.activations, height["ACT"] + height["TEMP"])


def tracked_in_parts(config, recompute):
    """What rank 0 of ranks that are not there holds, by the kinds of torch's tracker."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=RANKS)
    Transformer.forward = Transformer.loss  # the tracker knows of no other method
    device = choose_device("cpu", config.dtype, 1)
    model = Transformer(SHAPE)
    model.recompute = recompute
    optimizers = shard(model, Optimizers(model, config.optim), config, device, "full")
    optimizers.set_step(1, 0.1)
    tracker = FSDPMemTracker(model, *[part.optimizer for part in optimizers.parts])
    return tracked(tracker, config, model, optimizers, model)


def in_a_child(action, *arguments):
    """What the action gives, in a process of its own. torch remembers how a mesh of so many ranks is cut, as its rank 0 sees it:
    ranks that are forked from this process later, four as well, would all believe to be rank 0."""
    fork = multiprocessing.get_context("fork")
    answers = fork.SimpleQueue()
    child = fork.Process(target=lambda: answers.put(action(*arguments)))
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", DeprecationWarning
        )  # a fork of a process with threads; the child uses none of them
        child.start()
    child.join()
    assert child.exitcode == 0, "its traceback is in what this test printed"
    return answers.get()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks a rank")
@pytest.mark.parametrize(("dtype", "recompute"), [("bfloat16", False), ("float32", True)])
def test_the_plan_of_a_model_in_parts_is_what_torch_counts(dtype, recompute):
    config = config_of(dtype, recompute, "full", "adamw", RANKS)
    height, between = in_a_child(tracked_in_parts, config, recompute)
    plan = plan_world(config, SHAPE, RANKS, GPUS["h100"])
    assert near(plan.weights, height["SHARDED_PARAM"])
    assert near(plan.gradients, between["SHARDED_GRAD"])
    assert near(plan.optimizer, height["OPT"])
    assert near(plan.activations, height["ACT"] + height["TEMP"])
    collected = sum(height[kind] for kind in ("UNSHARDED_PARAM", "ALL_GATHER", "REDUCE_SCATTER"))
    assert near(plan.collected, collected) if recompute else collected <= plan.collected
