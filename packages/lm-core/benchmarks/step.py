"""Time of one training step (forward, loss, backward; no optimizer), beside other libraries' models of the same shape (peers.py).

    python benchmarks/step.py                            # the default model of the first run, 2 threads
    python benchmarks/step.py --preset issue --json      # vocabulary 10,000, context 256, d 512
    python benchmarks/step.py --preset issue --compile   # also both models through torch.compile: a minute at first
    python benchmarks/step.py --preset issue --forward   # only the forward pass, of one sequence of 512 tokens

All contenders take turns, round by round, in one process, and the median of the rounds is reported: a ratio between
columns of one run means something, a time from another day does not.
"""

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Callable

import torch
from lm_core import ModelConfig, Transformer, cross_entropy
from lm_core.counts import flops_per_token, parameter_count
from peers import installed_peers, peer_step
from torch import Tensor

PRESETS = {
    "first-run": (
        ModelConfig(vocab_size=4096, context=128, d_model=128, n_layers=4, n_heads=4, d_ff=352, qk_norm=True),
        8,
    ),
    "issue": (
        ModelConfig(vocab_size=10_000, context=256, d_model=512, n_layers=4, n_heads=16, d_ff=1344),
        8,
    ),
}


def our_step(config: ModelConfig, fast: bool, ids: Tensor, targets: Tensor) -> Callable[[], None]:
    model = Transformer(config, fast=fast)

    def step() -> None:
        model.zero_grad(set_to_none=True)
        cross_entropy(model(ids), targets, fast=fast).backward()

    return step


def chunked_step(config: ModelConfig, ids: Tensor, targets: Tensor) -> Callable[[], None]:
    model = Transformer(config)

    def step() -> None:
        model.zero_grad(set_to_none=True)
        model.loss(ids, targets).backward()

    return step


def compiled_step(
    model: torch.nn.Module, logits: Callable[[], Tensor], targets: Tensor
) -> Callable[[], None]:
    def loss() -> Tensor:
        return cross_entropy(logits(), targets)

    compiled = torch.compile(loss)

    def step() -> None:
        model.zero_grad(set_to_none=True)
        compiled().backward()

    return step


def forward_only(logits: Callable[[], Tensor]) -> Callable[[], None]:
    def step() -> None:
        with torch.no_grad():
            logits()

    return step


def measure(
    steps: dict[str, Callable[[], None]], rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of each step in every one of the interleaved rounds, after two rounds that do not count."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 2):
        for name, step in steps.items():
            start = clock()
            step()
            if turn >= 2:
                times[name].append(clock() - start)
    return times


def contenders(
    config: ModelConfig, ids: Tensor, targets: Tensor, options: argparse.Namespace
) -> dict[str, Callable[[], None]]:
    peers = {} if options.no_peer else installed_peers(config)
    if options.forward:
        ours, plain = Transformer(config), Transformer(config, fast=False)
        steps = {
            "lm-core": forward_only(lambda: ours(ids)),
            "lm-core fast=False": forward_only(lambda: plain(ids)),
        }
        for name, (_, logits) in peers.items():
            steps[name] = forward_only(lambda logits=logits: logits(ids))
        return steps
    steps = {
        "lm-core": our_step(config, True, ids, targets),
        "lm-core model.loss": chunked_step(config, ids, targets),
        "lm-core fast=False": our_step(config, False, ids, targets),
    }
    for name, peer in peers.items():
        steps[name] = peer_step(peer, ids, targets)
    if options.compile:
        model = Transformer(config)
        steps["lm-core compiled"] = compiled_step(model, lambda: model(ids), targets)
        if peers:
            theirs, their_logits = peers["transformers"]
            steps["transformers compiled"] = compiled_step(theirs, lambda: their_logits(ids), targets)
    return steps


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--preset", choices=PRESETS, default="first-run")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument(
        "--clock",
        choices=("wall", "cpu"),
        default="wall",
        help="cpu: processor time of all threads, for a busy machine",
    )
    parser.add_argument("--compile", action="store_true", help="also the compiled models")
    parser.add_argument("--forward", action="store_true", help="the forward pass of 1 x 512 tokens alone")
    parser.add_argument("--no-peer", action="store_true", help="leave the others out")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config, batch = PRESETS[options.preset]
    if options.forward:
        config, batch = dataclasses.replace(config, context=512), 1
    ids = torch.randint(
        0, config.vocab_size, (batch, config.context), generator=torch.Generator().manual_seed(0)
    )
    targets = ids.roll(-1, 1)
    steps = contenders(config, ids, targets, options)
    times = measure(steps, options.rounds, time.process_time if options.clock == "cpu" else time.perf_counter)
    seconds = {name: statistics.median(taken) for name, taken in times.items()}
    flops = flops_per_token(config, config.context, backward=not options.forward) * ids.numel()
    rows = {
        name: {
            "ms": taken * 1e3,
            "tokens_per_second": ids.numel() / taken,
            "gflop_per_second": flops / taken / 1e9,
            "ours_is_faster_by": taken / seconds["lm-core"],
        }
        for name, taken in seconds.items()
    }
    if options.json:
        what = "forward, 1" if options.forward else f"step, {batch}"
        case = f"{what} x {config.context} tokens, {parameter_count(config):,} parameters"
        runs = {name: [1e3 * each for each in taken] for name, taken in times.items()}
        row = {"case": case, "measure": "time", "unit": "ms", "better": "lower", "runs": runs}
        print(json.dumps({"rows": [row]}))
        return
    print(
        f"{parameter_count(config):,} parameters, {batch} x {config.context} tokens, {options.threads} threads"
    )
    print(f"{'':20} {'ms/step':>9} {'tokens/s':>10} {'GFLOP/s':>9} {'ours faster by':>15}")
    for name, row in rows.items():
        figures = f"{row['ms']:9.1f} {row['tokens_per_second']:10,.0f} {row['gflop_per_second']:9.1f}"
        print(f"{name:22} {figures} {row['ours_is_faster_by']:14.2f}x")


if __name__ == "__main__":
    main()
