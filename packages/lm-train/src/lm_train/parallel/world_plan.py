"""What a run on many GPUs would take, before any is paid for: memory of the fullest rank, bytes sent, time, checkpoints, cost.

Arithmetic only: nothing is run, and what rests on an assumption is printed with it. Memory and bytes sent follow from how exchange.py and
sharding.py work; time rests on the share of a GPU's peak that is reached (`mfu`) and of a link's speed (LINK_SHARE).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from lm_core import ModelConfig
from lm_core.counts import (
    activation_bytes,
    autocast_bytes,
    flops_per_token,
    optimizer_bytes,
    parameter_count,
)
from lm_core.linear_loss import loss_bytes
from lm_core.parameter_shapes import parameter_shapes

from lm_train.config import TrainConfig
from lm_train.errors import ConfigError
from lm_train.parallel.ranks import Ranks
from lm_train.plan import model_lines
from lm_train.view.display import clock, count

LINK_SHARE = 0.7  # of a link's speed that collectives reach
WRITE_RATE = 2e9  # bytes a second of rank 0's disk
# One unexpected stop in 50,000 hours of a GPU: 419 in 54 days on 16,384, Llama team 2024, https://arxiv.org/abs/2407.21783, section 3.3.4.
HOURS_TO_FAILURE = 50_000.0


@dataclass(frozen=True)
class Gpu:
    """From the makers' data sheets: dense bfloat16 FLOP/s, bytes of memory, bytes/s to its machine and (a GPU's share) to others, one way."""

    flops: float
    memory: float
    link: float
    network: float


GPUS = {
    "a100": Gpu(312e12, 80e9, 300e9, 25e9),
    "h100": Gpu(989e12, 80e9, 450e9, 50e9),
    "h200": Gpu(989e12, 141e9, 450e9, 50e9),
    "b200": Gpu(2250e12, 180e9, 900e9, 50e9),
}


@dataclass(frozen=True, kw_only=True)
class WorldPlan:
    """Bytes of the fullest rank by kind, bytes it sends in a step, seconds, FLOPs. `step_seconds` is an estimate."""

    sharding: str
    weights: int
    gradients: int
    optimizer: int
    collected: int
    """Weights of other ranks that are there for a moment."""
    activations: int
    """At their height: what a forward pass keeps, with the loss or the gradients inside a block."""
    sent: float
    flops: float
    compute_seconds: float
    exchange_seconds: float
    step_seconds: float
    checkpoint_bytes: int

    @property
    def memory(self) -> int:
        return self.weights + self.gradients + self.optimizer + self.collected + self.activations


def largest_part(shape: ModelConfig, world: int) -> int:
    """Numbers that rank 0 holds of a model in `world` parts: of each parameter the first of as many equal groups of rows as there are.

    Rows do not divide evenly, so rank 0 holds more than the mean, and the last ranks may hold nothing of a small parameter.
    """
    return sum(-(-s[0] // world) * math.prod(s[1:]) for s in parameter_shapes(shape).values())


def activations(config: TrainConfig, shape: ModelConfig, windows: int) -> int:
    """Bytes that a micro-batch of so many windows takes at its height, beside weights, gradients and optimizer.

    That is either the moment of the loss, with what the forward pass has kept, or, with a small vocabulary or with `recompute`, the way
    back through the last block: of that it has the gradients of d_model and d_ff numbers a token more than it has given back already.
    """
    context, width = config.model.context, 4 if config.dtype == "float32" else 2
    tokens, rows, d_model = windows * context, shape.padded_vocab_size, shape.d_model

    def kept(layers: int, recompute: bool) -> int:
        part = replace(shape, n_layers=layers)
        more = 0 if width == 4 else autocast_bytes(part, windows, context, recompute=recompute)
        return activation_bytes(part, windows, context, width, recompute=recompute) + more

    whole, of_a_block = kept(shape.n_layers, config.recompute), kept(2, False) - kept(1, False)
    entering_it = kept(2, config.recompute) - kept(
        1, config.recompute
    )  # all that recomputing has kept of it at the loss
    loss = loss_bytes(tokens, rows, d_model, width, softcap=shape.logit_softcap is not None)
    way_back = tokens * (d_model + shape.d_ff) * width + 4 * rows * d_model
    return max(whole - of_a_block + entering_it + loss, whole + way_back)


def plan_world(
    config: TrainConfig, shape: ModelConfig, world: int, gpu: Gpu, *, per_machine: int = 8, mfu: float = 0.4
) -> WorldPlan:
    """The plan of `config` on `world` GPUs. Raises ConfigError where they cannot share the batch or fill no machine."""
    if world < 1 or per_machine < 1:
        raise ConfigError(f"--world and --per-machine must be at least 1, got {world} and {per_machine}")
    Ranks(0, world).check_divides(config.batch)
    machines = -(-world // per_machine)
    if world > per_machine and world % per_machine:
        raise ConfigError(
            f"--world {world} is no whole number of machines of {per_machine} GPUs; see --per-machine"
        )
    if not 0 < mfu <= 1:
        raise ConfigError(f"--mfu must be above 0 and at most 1, got {mfu}")
    parameters, held = parameter_count(shape), 4 * parameter_count(shape)
    state = optimizer_bytes(shape, config.optim.name.replace("-", "_"))
    sharding = config.scale.sharding
    if sharding == "auto":
        sharding = "replicate" if 16 * parameters <= 0.6 * gpu.memory else "full"
    parts = {"replicate": 1, "full": world, "hybrid": min(world, per_machine)}[sharding]
    part = largest_part(shape, parts)
    rows = config.batch // world
    micro = min(config.micro_batch or rows, rows)
    block = sum(math.prod(s) for name, s in parameter_shapes(shape).items() if name.startswith("blocks.0."))
    rest = parameters - shape.n_layers * block
    around = (parts - 1) / parts
    inside = (
        around * held * (2 * -(-rows // micro) + 1) if parts > 1 else 0.0
    )  # collected twice a micro-batch, reduced once
    replicas = world // parts
    across = 2 * (replicas - 1) / replicas * held / parts
    far = min(gpu.link, per_machine * gpu.network) if machines > 1 else gpu.link
    near = far if sharding == "full" else gpu.link
    exchange = (inside / near + across / far) / LINK_SHARE
    flops = flops_per_token(shape, config.model.context) * config.tokens_per_step
    compute = flops / world / (gpu.flops * mfu)
    return WorldPlan(
        sharding=sharding,
        weights=4 * part,
        gradients=4 * part,
        optimizer=math.ceil(state * part / parameters),
        collected=4 * (rest + 3 * block) if parts > 1 else 0,  # two blocks, and the gradient of one
        activations=activations(config, shape, micro),
        sent=inside + across,
        flops=flops,
        compute_seconds=compute,
        exchange_seconds=exchange,
        step_seconds=compute + exchange if parts == 1 else max(compute, exchange),
        checkpoint_bytes=held + state,
    )


def best_interval(write_seconds: float, world: int) -> float:
    """Seconds between checkpoints that cost the least: sqrt(2 C M), C to write one, M between failures of `world` GPUs.

    Young 1974, https://doi.org/10.1145/361147.361115.
    """
    return math.sqrt(2 * write_seconds * HOURS_TO_FAILURE * 3600 / world)


def world_lines(
    config: TrainConfig,
    shape: ModelConfig,
    world: int,
    name: str,
    *,
    per_machine: int,
    mfu: float,
    price: float | None,
) -> list[str]:
    """What `plan --world` prints. Raises ConfigError."""
    if name not in GPUS:
        raise ConfigError(f"--gpu {name}: known are {', '.join(GPUS)}")
    gpu = GPUS[name]
    p = plan_world(config, shape, world, gpu, per_machine=per_machine, mfu=mfu)
    mean = parameter_count(shape) / (p.weights / 4)
    uneven = f" (the parts of rank 0, {1 / mean * world:.2f} x the mean)" if p.sharding == "full" else ""
    over = (
        ""
        if p.memory <= gpu.memory
        else "; MORE THAN A GPU HAS: --scale.sharding full, --micro-batch 1, --recompute"
    )
    write = p.checkpoint_bytes / WRITE_RATE
    lines = [
        *model_lines(shape),
        f"ranks      {world:,} x {name}, {config.batch // world} of {config.batch:,} windows each, {p.sharding}",
        f"memory     {count(p.memory)} of {count(gpu.memory)} bytes a GPU{uneven}{over}",
        f"           weights {count(p.weights)}, gradients {count(p.gradients)}, optimizer {count(p.optimizer)}, "
        f"collected {count(p.collected)}, activations {count(p.activations)}",
        f"exchange   {count(p.sent)} bytes a GPU and step, {p.exchange_seconds:.3f} s at {LINK_SHARE:.0%} of the links' speed",
        f"step       {config.tokens_per_step:,} tokens, {count(p.flops)} FLOPs, {p.step_seconds:.3f} s: "
        f"{count(config.tokens_per_step / p.step_seconds)} tokens/s, if {mfu:.0%} of the peak is reached "
        f"({p.compute_seconds:.3f} s) and {'nothing overlaps' if p.sharding == 'replicate' else 'exchange and arithmetic overlap'}",
        f"checkpoint {count(p.checkpoint_bytes)} bytes, {write:.0f} s at {count(WRITE_RATE)} bytes/s; best every "
        f"{clock(best_interval(write, world))} if a GPU fails once in {HOURS_TO_FAILURE:,.0f} hours",
    ]
    steps = config.budget_steps
    if steps is not None:
        seconds = steps * p.step_seconds
        cost = (
            f", {seconds / 3600 * world * price:,.0f} at {price:g} a GPU and hour"
            if price is not None
            else ""
        )
        lines.append(
            f"run        {steps:,} steps, {count(steps * config.tokens_per_step)} tokens, {clock(seconds)}{cost}"
        )
    return [*lines, "An estimate from arithmetic: nothing of this was run."]
