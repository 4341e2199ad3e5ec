"""What the ranks after the first do: begin as rank 0 says, carry out its orders, end when it ends.

They read no settings, no run folder and no checkpoint: rank 0 sends the settings and the model's shape as JSON, then the weights and the
optimizer's state, tensor by tensor. Only the dataset's folder, and a model folder to start from, must be readable everywhere.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any

import torch
from lm_core import Transformer
from lm_core.hf_config import config_from_json, config_to_json

from lm_train.batches import Batch, Batches, ValidationWindows
from lm_train.compiled import compile_blocks
from lm_train.config import TrainConfig
from lm_train.config_file import build, to_settings
from lm_train.corpus import MixedIn
from lm_train.dataset import TokenDataset
from lm_train.device import Device, choose_device
from lm_train.errors import DatasetError
from lm_train.evaluate import evaluate
from lm_train.mixture import Mixture, data_fingerprint, training_batches
from lm_train.optimizers import Optimizers
from lm_train.parallel.exchange import Exchange
from lm_train.parallel.ranks import Order, Ranks
from lm_train.parallel.sharding import REPLICATE, ShardedExchange, gather, shard
from lm_train.profiling import Ranges, no_ranges
from lm_train.read_ahead import ReadAhead
from lm_train.run_errors import LeaderError
from lm_train.session import Session
from lm_train.state import optimizer_state, restore_optimizers
from lm_train.step import run_step

FAILED = "failed: "  # how the text of an end begins that was none of training


@dataclass(frozen=True)
class Follower:
    """A rank's part of a run: what a step takes, and no files."""

    config: TrainConfig
    dataset: TokenDataset
    device: Device
    model: Transformer
    optimizers: Optimizers
    batches: Batches | Mixture
    ahead: ReadAhead[Batch]
    ranks: Ranks
    exchange: Exchange | None = None
    ranges: Ranges = no_ranges


def lead(s: Session) -> None:
    """Rank 0: let the others begin where the session stands."""
    if s.ranks.alone:
        return
    start = {
        "settings": to_settings(s.config),
        "shape": config_to_json(s.model.config, "float32", None, None),
        "dataset": str(s.dataset.folder.resolve()),
        "mix": [[m.name, str(m.dataset.folder.resolve()), m.share] for m in s.mixed],
        "sharding": s.sharding,
        "fingerprint": data_fingerprint(s.dataset, s.mixed),
    }
    if s.ranks.heart is not None:
        s.ranks.heart.seconds, s.ranks.heart.note = 60 * s.config.scale.stall_minutes, s.run.stalled
    with s.ranks.order(Order.BEGIN):
        s.ranks.text(json.dumps(start))
        _everyone_is_ready(s.ranks)
        share_state(s.model, s.optimizers, s.ranks)
        if s.sharding != REPLICATE:
            s.optimizers = shard(s.model, s.optimizers, s.config, s.device, s.sharding)
            s.exchange, s.ranks.lockstep = ShardedExchange(s.model, s.ranks), True


def follow(ranks: Ranks) -> str:
    """The other ranks: obey until the end; gives what rank 0 says of it. Raises LeaderError where rank 0 ended with an error."""
    follower: Follower | None = None
    while True:
        order, numbers = ranks.hear()
        if order is Order.END:
            if follower is not None:
                follower.ahead.close()
            word = ranks.text()
            if word.startswith(FAILED):
                raise LeaderError(f"rank 0 ended the run: {word.removeprefix(FAILED)}")
            return word
        if order is Order.BEGIN:
            start = json.loads(ranks.text())
            follower = _begin(ranks, start)
            _everyone_is_ready(ranks)
            share_state(follower.model, follower.optimizers, ranks)
            follower = _split(follower, start["sharding"])
            continue
        assert follower is not None, "a run begins before its first step"
        _obey(follower, order, numbers)


def share_state(model: Transformer, optimizers: Optimizers, ranks: Ranks) -> None:
    """Give every rank the weights and the optimizer's state of rank 0."""
    for parameter in model.parameters():
        ranks.copy_from_0_(parameter.data)
    tensors, numbers = optimizer_state(optimizers)
    kinds = {name: [list(t.shape), str(t.dtype).removeprefix("torch.")] for name, t in tensors.items()}
    sent: dict[str, Any] = json.loads(ranks.text(json.dumps({"tensors": kinds, "numbers": numbers})))
    for name, (shape, dtype) in sent["tensors"].items():
        if ranks.rank:
            tensors[name] = torch.empty(shape, dtype=_dtype(dtype))
        ranks.copy_from_0_(tensors[name])
    if ranks.rank:
        restore_optimizers(optimizers, tensors, sent["numbers"], "rank 0")


def _begin(ranks: Ranks, start: dict[str, Any]) -> Follower:
    config = build(start["settings"])
    if ranks.heart is not None:
        ranks.heart.seconds = 60 * config.scale.stall_minutes
    device = choose_device(config.device, config.dtype, config.threads)
    dataset = TokenDataset(start["dataset"])
    mixed = tuple(MixedIn(name, TokenDataset(folder), share) for name, folder, share in start["mix"])
    fingerprint = data_fingerprint(dataset, mixed)
    if fingerprint != start["fingerprint"]:
        raise DatasetError(
            f"rank {ranks.rank}: {dataset.folder} is not rank 0's dataset: fingerprint {fingerprint}, rank 0's is "
            f"{start['fingerprint']}; give all machines the same files"
        )
    home = device.kind if start["sharding"] == REPLICATE else "cpu"
    model = Transformer(config_from_json(start["shape"]), seed=config.seed).to(home).train()
    model.recompute = config.recompute
    optimizers = Optimizers(model, config.optim, scaled=device.scaled, ranks=ranks.group)
    batches, share = training_batches(config, dataset, mixed), ranks.rows(config.batch)
    ahead = ReadAhead(lambda step: batches.rows(step, *share))
    if config.compile:
        rows = config.micro_batch or config.batch // ranks.world
        batch = [ids.to(device.kind) for ids in batches.rows(0, 0, rows)]
        with device.autocast():
            compile_blocks(model, *batch)
    return Follower(config, dataset, device, model, optimizers, batches, ahead, ranks)


def _split(f: Follower, sharding: str) -> Follower:
    if sharding == REPLICATE:
        return replace(f, exchange=Exchange(f.model, f.ranks))
    optimizers = shard(f.model, f.optimizers, f.config, f.device, sharding)
    f.ranks.lockstep = True
    return replace(f, optimizers=optimizers, exchange=ShardedExchange(f.model, f.ranks))


def _obey(f: Follower, order: Order, numbers: list[float]) -> None:
    if order is Order.STEP:
        run_step(f, int(numbers[0]), numbers[1])
    elif order is Order.EVALUATE:
        windows = ValidationWindows(
            f.dataset,
            context=f.config.model.context,
            batch=max(1, f.config.batch // f.ranks.world),
            windows=int(numbers[0]),
            apart=f.config.keeps_apart,
        )
        with f.optimizers.resting():
            evaluate(f.model, windows, f.device, stopped=f.ranks.stop_asked, ranks=f.ranks)
    elif order is Order.FORWARD:
        f.model.eval()
        with torch.no_grad():  # whatever it computes: what counts is that its weights are collected
            f.model(torch.zeros(1, 1, dtype=torch.int64, device=f.device.kind))
        f.model.train()
    else:
        assert order is Order.SAVE, order
        gather(f.model, f.optimizers, f.ranks)


def _everyone_is_ready(ranks: Ranks) -> None:
    """Wait for the slowest to have opened its data and built its model."""
    ranks.any(False)


def _dtype(name: str) -> torch.dtype:
    found = {
        "float32": torch.float32,
        "float64": torch.float64,
        "int64": torch.int64,
        "bfloat16": torch.bfloat16,
    }
    return found[name]
