"""Starts, positions and optimizers side by side on the same text, batches and number of steps.

    python examples/compare.py                       # about a minute on one CPU core
    python examples/compare.py --what positions --steps 500

A small model reads bytes of Python source; the figure is the loss on text that it has not seen, in nats per byte. Rates
are those that served each optimizer well here, not tuned to the end: read large differences, not small ones.
"""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from lm_core import ModelConfig, Transformer, clip_grad_norm
from lm_core.optim import Adafactor, AdamW, Lion, Muon, ScheduleFreeAdamW, mup_groups, split_parameters
from lm_core.schedule import wsd

BASE = ModelConfig(vocab_size=256, context=64, d_model=64, n_layers=3, n_heads=4, qk_norm=True)
Optimizers = list[torch.optim.Optimizer]


def adamw(model: Transformer) -> Optimizers:
    return [AdamW(model.parameters(), lr=4e-3, betas=(0.9, 0.95))]


def adamw_mup(model: Transformer) -> Optimizers:
    return [AdamW(mup_groups(model, lr=4e-3, base_width=64), betas=(0.9, 0.95))]


def muon(model: Transformer) -> Optimizers:
    matrices, rest = split_parameters(model)
    return [Muon(matrices, lr=0.012), AdamW(rest, lr=4e-3, betas=(0.9, 0.95))]


Row = tuple[ModelConfig, Callable[[Transformer], Optimizers]]
TABLES: dict[str, dict[str, Row]] = {
    "starts": {
        "fan_in": (BASE, adamw),
        "gpt2": (replace(BASE, init="gpt2"), adamw),
        "truncated": (replace(BASE, init="truncated"), adamw),
        "mup": (replace(BASE, init="mup"), adamw_mup),
    },
    "positions": {
        "rope": (BASE, adamw),
        "learned": (replace(BASE, position="learned"), adamw),
        "sinusoidal": (replace(BASE, position="sinusoidal"), adamw),
        "none": (replace(BASE, position="none"), adamw),
    },
    "optimizers": {
        "AdamW": (BASE, adamw),
        "Muon + AdamW": (BASE, muon),
        "Lion": (BASE, lambda model: [Lion(model.parameters(), lr=1e-3, betas=(0.9, 0.95))]),
        # its steps are relative to the weights, so it cannot leave a start at zero
        "Adafactor": (
            replace(BASE, init="truncated"),
            lambda model: [Adafactor(model.parameters(), lr=0.05)],
        ),
        "schedule-free AdamW": (
            BASE,
            lambda model: [
                ScheduleFreeAdamW(model.parameters(), lr=4e-3, betas=(0.95, 0.95), warmup_steps=10)
            ],
        ),
    },
}


def batch(text: torch.Tensor, generator: torch.Generator, size: int) -> tuple[torch.Tensor, torch.Tensor]:
    starts = torch.randint(0, len(text) - 65, (size,), generator=generator)
    windows = torch.stack([text[start : start + 65] for start in starts])
    return windows[:, :-1], windows[:, 1:]


def held_out_loss(row: Row, text: torch.Tensor, steps: int) -> float:
    config, make_optimizers = row
    model = Transformer(config, seed=0)
    optimizers = make_optimizers(model)
    peaks = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    generator, seen = torch.Generator().manual_seed(0), text[: len(text) * 9 // 10]
    for step in range(steps):
        model.loss(*batch(seen, generator, 8)).backward()
        clip_grad_norm(model.parameters(), 1.0)
        share = wsd(step, peak=1.0, floor=0.0, warmup=min(10, steps // 4), decay=steps // 2, total=steps)
        for optimizer, rates in zip(optimizers, peaks, strict=True):
            if not isinstance(optimizer, ScheduleFreeAdamW):
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["lr"] = rate * share
            optimizer.step()
            optimizer.zero_grad()
    for optimizer in optimizers:
        if isinstance(optimizer, ScheduleFreeAdamW):
            optimizer.eval()
    with torch.no_grad():
        return model.eval().loss(*batch(text[len(seen) :], generator, 64)).item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--what", choices=[*TABLES, "all"], default="all")
    parser.add_argument("--steps", type=int, default=150)
    options = parser.parse_args()
    text = torch.tensor(list(Path(argparse.__file__).read_bytes()))  # 100 kB of Python, on every machine
    for title, table in TABLES.items():
        if options.what in (title, "all"):
            print(f"{title}, {options.steps} steps of 8 x 64 bytes")
            for name, row in table.items():
                print(f"  {name:22} {held_out_loss(row, text, options.steps):.3f} nats per byte", flush=True)


if __name__ == "__main__":
    main()
