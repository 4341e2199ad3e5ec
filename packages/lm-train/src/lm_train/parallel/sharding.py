"""A model that is spread over the ranks: torch's FSDP2, block by block, for models that do not fit on one device.

    replicate   every rank holds all weights, gradients and optimizer state (exchange.py)
    full        every rank holds a part of each; a block's weights are collected just before it computes, and given back after
    hybrid      full within a machine, replicated over the machines
    auto        replicate while it fits, else full

A run begins whole, on the CPU: rank 0 reads it, sends it, and then `shard` splits what each rank holds, in place. A checkpoint is the same
as of any other run, gathered on rank 0 tensor by tensor (`gather`), so that it can be continued with any sharding on any number of ranks.
Zhao et al. 2023, PyTorch FSDP, https://arxiv.org/abs/2304.11277; Rajbhandari et al. 2020, ZeRO, https://arxiv.org/abs/1910.02054.
"""

from __future__ import annotations

import math
import time

import torch
from lm_core import ModelConfig, Transformer
from lm_core.counts import parameter_count
from lm_core.init import allocate
from lm_core.memory import machine_memory
from lm_core.optim import clip_grad_norm

from lm_train.config import TrainConfig
from lm_train.device import Device
from lm_train.errors import ConfigError
from lm_train.optimizers import Optimizers
from lm_train.parallel.exchange import Exchange, Figures
from lm_train.parallel.launcher import processes_here
from lm_train.parallel.ranks import Ranks
from lm_train.parallel.replicas import check_replicas
from lm_train.state import OptimizerState, optimizer_state, restore_optimizers

REPLICATE, FULL, HYBRID = "replicate", "full", "hybrid"
_FITS = 0.6  # share of a device's memory for weights, gradients and state; the rest is for activations


def choose_sharding(config: TrainConfig, shape: ModelConfig, device: Device, ranks: Ranks) -> str:
    """REPLICATE, FULL or HYBRID, as set; with "auto" by whether four float32 numbers a weight fit on a rank's device."""
    if ranks.alone:
        return REPLICATE
    if config.scale.sharding != "auto":
        return config.scale.sharding
    whole = any(_whole_only(config).values())
    return REPLICATE if whole or 16 * parameter_count(shape) <= _FITS * _memory(device) else FULL


def check_sharding(config: TrainConfig) -> None:
    """Raises ConfigError for what a model that is spread over ranks cannot do."""
    for setting, chosen in _whole_only(config).items():
        if chosen and config.scale.sharding in (FULL, HYBRID):
            raise ConfigError(
                f"--{setting} and --scale.sharding {config.scale.sharding} do not go together; leave one of them out"
            )


def _whole_only(config: TrainConfig) -> dict[str, bool]:
    """Settings that need whole weights on every rank, and whether they are chosen."""
    o = config.optim
    return {
        "compile": config.compile,
        "optim.ema": bool(o.ema),
        "optim.name schedule-free": o.name == "schedule-free",
        "optim.compile": o.compile,
    }


def shard(
    model: Transformer, optimizers: Optimizers, config: TrainConfig, device: Device, how: str
) -> Optimizers:
    """Split a whole model, and its optimizer's state, in place over the ranks, on their devices; gives the new optimizers."""
    # Imported here: a run on one process does without them, and they take a second.
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard, register_fsdp_forward_method
    from torch.distributed.tensor import DTensor, distribute_tensor

    tensors, numbers = optimizer_state(optimizers)
    here, world = processes_here(), torch.distributed.get_world_size()
    if how == HYBRID:
        mesh = init_device_mesh(device.kind, (world // here, here), mesh_dim_names=("machines", "ranks"))
    else:
        mesh = init_device_mesh(device.kind, (world,))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    # The rest (embedding, last norm, head) too is given back after each forward pass: between steps every parameter is the rank's part,
    # whether the pass before was one of training, scoring or sampling.
    fully_shard(model, mesh=mesh, reshard_after_forward=True)
    register_fsdp_forward_method(model, "loss")
    model.to(device.kind)  # the rotary tables, which are no parameters
    parameters = dict(model.named_parameters())
    for name, value in tensors.items():
        parameter = parameters[name.split("/")[1]]
        if value.shape == parameter.shape and isinstance(parameter, DTensor):
            tensors[name] = distribute_tensor(
                value.to(device.kind), parameter.device_mesh, parameter.placements, src_data_rank=None
            )
    split = Optimizers(model, config.optim, scaled=device.scaled)
    restore_optimizers(split, tensors, numbers, "rank 0")
    return split


def gather(
    model: Transformer, optimizers: Optimizers, ranks: Ranks
) -> tuple[Transformer, OptimizerState] | None:
    """All ranks together: the whole of a sharded model and its optimizer's state, in the memory of rank 0's CPU.

    None for replicas, which are compared instead (raises ReplicaError). What other ranks get is of no use.
    """
    if not ranks.lockstep:
        check_replicas(model, ranks)
        return None
    with torch.device("meta"):
        gathered = Transformer(model.config)
    if ranks.rank == 0:
        allocate(gathered, torch.device("cpu"), torch.float32)
    targets = dict(gathered.named_parameters())
    for name, parameter in model.named_parameters():
        full = _full(parameter.detach())
        if ranks.rank == 0:
            with torch.no_grad():
                targets[name].copy_(full)
    return gathered, optimizer_state(optimizers, full=_full, keep=ranks.rank == 0)


class ShardedExchange(Exchange):
    """Of a sharded model FSDP adds the gradients up itself, after the last micro-batch; only the figures are left to exchange."""

    def __init__(self, model: Transformer, ranks: Ranks) -> None:
        self._model, self._ranks = model, ranks
        self.figures = Figures(ranks)
        self.scale, self.started = float(ranks.world), 0.0  # FSDP divides by the number of ranks

    def begin(self) -> None:
        """Nothing to prepare."""

    def before_backward(self, last: bool) -> None:
        self._model.set_requires_gradient_sync(last)  # type: ignore[operator]

    def finish(self, loss: float) -> float:
        device = next(self._model.parameters()).device
        tail = self.figures.mine(loss, time.perf_counter() - self.started, device)
        self._ranks.sum_(tail)
        return self.figures.heard(tail) / self._ranks.world

    def clip(self, max_norm: float) -> float:
        norm = clip_grad_norm(self._model.parameters(), max_norm)
        return float(_full(norm).item())


def _full(tensor: torch.Tensor) -> torch.Tensor:
    gather = getattr(tensor, "full_tensor", None)  # a DTensor's
    return tensor if gather is None else gather()


def _memory(device: Device) -> float:
    if device.kind == "cuda":
        return float(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)
    machine = machine_memory()
    return math.inf if machine is None else machine / processes_here()
