"""What a run will be, said before its first step: sizes, arithmetic, memory, time."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from lm_core import ModelConfig, Transformer
from lm_core.counts import flops_per_token, parameter_count

from lm_train.config import TrainConfig
from lm_train.device import Device, choose_device
from lm_train.mixture import Mixture
from lm_train.opening import model_config
from lm_train.optimizers import Optimizers
from lm_train.packed_batches import PackedBatches
from lm_train.session import Session
from lm_train.step import train_step
from lm_train.view.display import clock, count

_TIMED_STEPS = 3
_LONG = 30.0  # seconds: a step that takes longer is not taken as a whole to be timed


def describe(s: Session) -> list[str]:
    """The lines that a run begins with."""
    c, data = s.config, s.dataset
    train = data.tokens("train")
    held_out = f", {count(data.tokens('valid'))} held out" if "valid" in data.splits else ", none held out"
    text_bytes = data.text_bytes("train")
    size = f" from {count(text_bytes)} bytes" if text_bytes else ""
    parameters = parameter_count(s.model.config)
    lines = [
        f"data       {c.data}: {count(train)} tokens{size}{held_out} ({data.folder})",
        *mixture_lines(s),
        *packing_lines(s),
        f"tokenizer  {s.tokenizer.vocab_size:,} tokens, {s.bytes_per_token:.2f} bytes each",
        *model_lines(s.model.config),
        f"device     {s.device}",
        f"run        {_budget(c, parameters, s.batches.tokens_per_step)} ({s.run.path})",
    ]
    if not s.ranks.alone:
        lines.append(
            f"ranks      {s.ranks.world} processes, {c.batch // s.ranks.world} of {c.batch} windows each, {s.sharding}"
        )
    return [*s.notes, *lines]


def mixture_lines(s: Session) -> list[str]:
    """A line for each text that is mixed in."""
    return [
        f"+ {m.share:6.1%}   {m.name}: {count(m.dataset.tokens('train'))} tokens ({m.dataset.folder})"
        for m in s.mixed
    ]


def packing_lines(s: Session) -> list[str]:
    """With `--order packed`: how full the rows are."""
    batches = s.batches
    named = (
        zip(batches.names, batches.parts, strict=True)
        if isinstance(batches, Mixture)
        else [(s.config.data, batches)]
    )
    return [
        f"packed     {name}: {count(p.documents)} documents, {count(p.pieces - p.documents)} cuts, in {count(p.windows)} rows, "
        f"{p.efficiency:.1%} full{', each document apart' if p.apart else ''}"
        for name, p in named
        if isinstance(p, PackedBatches)
    ]


def model_lines(config: ModelConfig) -> list[str]:
    """Size and cost of a model."""
    flops = flops_per_token(config, config.context)
    export = "" if config.exportable else f"; not exportable: {config.why_not_exportable}"
    return [
        f"model      {count(parameter_count(config))} parameters, {config.n_layers} layers of {config.d_model}, "
        f"context {config.context}, {count(flops)} FLOPs a token ({config.family} block{export})"
    ]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A run's cost beforehand. Bytes are of weights, gradients and optimizer state; `step_seconds` was measured here."""

    parameters: int
    flops_per_token: int
    tokens_per_step: int
    state_bytes: int
    step_seconds: float
    whole: bool
    """Whether whole steps were timed, or one window that stands for all."""
    steps: int
    seconds: float


def measure(config: TrainConfig, vocab_size: int) -> tuple[Device, ModelConfig, Plan]:
    """Build the model of `config`, time a few steps on random ids, and work out what the whole run takes.

    Of a step that would take long, one window is timed: the plan of a model for GPUs takes a minute on a CPU, not hours.
    """
    device = choose_device(config.device, config.dtype, config.threads)
    shape = model_config(config.model, vocab_size)
    model = Transformer(shape, seed=config.seed).to(device.kind)
    model.recompute = config.recompute
    optimizers = Optimizers(model, config.optim, scaled=device.scaled)
    generator = torch.Generator().manual_seed(config.seed)
    ids = torch.randint(vocab_size, (config.batch, shape.context + 1), generator=generator).to(device.kind)

    def timed(rows: int) -> float:
        started = time.perf_counter()
        optimizers.set_step(0, 1.0)
        train_step(
            model,
            optimizers,
            ids[:rows, :-1],
            ids[:rows, 1:],
            clip=config.optim.clip,
            micro_batch=config.micro_batch,
            autocast=device.autocast,
        )
        return time.perf_counter() - started

    timed(1)  # the first step is slower
    step_seconds = config.batch * timed(1)
    whole = step_seconds <= _LONG
    if whole:
        step_seconds = min(timed(config.batch) for _ in range(_TIMED_STEPS))
    minutes = config.budget_minutes
    steps = config.budget_steps or max(1, round(60 * (minutes or 0) / step_seconds))
    weights = 4 * parameter_count(shape)
    plan = Plan(
        parameters=parameter_count(shape),
        flops_per_token=flops_per_token(shape, shape.context),
        tokens_per_step=config.tokens_per_step,
        state_bytes=2 * weights + optimizers.state_bytes,
        step_seconds=step_seconds,
        whole=whole,
        steps=steps,
        seconds=steps * step_seconds,
    )
    return device, shape, plan


def plan_lines(config: TrainConfig, vocab_size: int) -> list[str]:
    """What `lm-train plan` prints."""
    device, shape, plan = measure(config, vocab_size)
    tokens = plan.steps * plan.tokens_per_step
    rate = plan.tokens_per_step / plan.step_seconds
    return [
        *model_lines(shape),
        f"memory     {count(plan.state_bytes)} bytes for weights, gradients and optimizer; activations come on top",
        f"device     {device}",
        f"step       {plan.tokens_per_step:,} tokens in {plan.step_seconds:.3f} s: {rate:,.0f} tokens/s, "
        f"{count(rate * plan.flops_per_token)} FLOP/s ({'measured now' if plan.whole else 'from one window, measured now'})",
        f"run        {plan.steps:,} steps, {count(tokens)} tokens ({tokens / plan.parameters:.2g} a parameter), {clock(plan.seconds)}",
    ]


def _budget(config: TrainConfig, parameters: int, tokens_per_step: float) -> str:
    step = f"{tokens_per_step:,.0f} tokens a step, {config.optim.name}"
    if config.budget_steps is None:
        return f"{config.budget_minutes:g} min of training, {step}"
    tokens = config.budget_steps * tokens_per_step
    return f"{config.budget_steps:,} steps, {step}, {tokens / parameters:.2g} tokens a parameter"
