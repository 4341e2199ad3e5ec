"""Time of one training step (forward, loss, backward; no optimizer), beside other libraries' models of the same shape (peers.py).

    python benchmarks/step.py                            # the default model of the first run, 2 threads
    python benchmarks/step.py --preset issue --json      # vocabulary 10,000, context 256, d 512
    python benchmarks/step.py --preset gpt2              # the same sizes with GPT-2's block, which is nanoGPT's
    python benchmarks/step.py --preset issue --compile   # through torch.compile: one or two minutes at first; and the share of a product's speed
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
from lm_core.product import product
from peers import Peer, installed_peers, peer_step, torch_loss
from torch import Tensor

SIDE = 2048  # of the matrices whose product says what the machine can do
PRESETS = {
    "first-run": (
        ModelConfig(vocab_size=4096, context=128, d_model=128, n_layers=4, n_heads=4, d_ff=352, qk_norm=True),
        8,
    ),
    "issue": (
        ModelConfig(vocab_size=10_000, context=256, d_model=512, n_layers=4, n_heads=16, d_ff=1344),
        8,
    ),
    "gpt2": (
        ModelConfig(
            vocab_size=10_000,
            context=256,
            d_model=512,
            n_layers=4,
            n_heads=16,
            position="learned",
            norm="layer",
            activation="gelu",
            bias=True,
            tie_embeddings=True,
        ),
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
    model: torch.nn.Module, loss: Callable[[Tensor, Tensor], Tensor], ids: Tensor, targets: Tensor
) -> Callable[[], None]:
    compiled = torch.compile(loss)

    def step() -> None:
        model.zero_grad(set_to_none=True)
        compiled(ids, targets).backward()

    return step


def compiled_contenders(
    config: ModelConfig, ids: Tensor, targets: Tensor, peers: dict[str, Peer]
) -> dict[str, Callable[[], None]]:
    """Ours compiled, with the chunked loss and with all the logits at once, ours eager, and the fastest of the others compiled."""
    ours, whole = Transformer(config), Transformer(config)
    steps = {
        "lm-core model.loss compiled": compiled_step(ours, lambda i, t: ours.loss(i, t), ids, targets),
        "lm-core compiled": compiled_step(whole, lambda i, t: cross_entropy(whole(i), t), ids, targets),
        "lm-core model.loss": chunked_step(config, ids, targets),
    }
    for name in ("transformers", "litgpt"):
        if name in peers:
            model, logits = peers[name]
            loss = torch_loss(logits)
            steps[f"{name} compiled"] = compiled_step(model, loss, ids, targets)
    return steps


def products(side: int) -> dict[str, Callable[[], object]]:
    """One product of two square matrices, the fastest that a step could be made of: as ours are made, and as torch makes it."""
    x, weight = torch.rand(side, side), torch.rand(side, side)
    return {
        "one product": lambda: product(x, weight),
        "one product, torch": lambda: torch.nn.functional.linear(x, weight),
    }


def forward_only(logits: Callable[[], Tensor]) -> Callable[[], None]:
    def step() -> None:
        with torch.no_grad():
            logits()

    return step


def measure(
    steps: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float]
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
    if options.compile:
        return compiled_contenders(config, ids, targets, peers)
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
    parser.add_argument("--compile", action="store_true", help="the compiled models")
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
    steps: dict[str, Callable[[], object]] = {**contenders(config, ids, targets, options)}
    flops = dict.fromkeys(
        steps, flops_per_token(config, config.context, backward=not options.forward) * ids.numel()
    )
    if options.compile:
        steps |= products(SIDE)
        flops |= dict.fromkeys(products(SIDE), 2 * SIDE**3)
    times = measure(steps, options.rounds, time.process_time if options.clock == "cpu" else time.perf_counter)
    speeds = {name: [flops[name] / each / 1e9 for each in taken] for name, taken in times.items()}
    of_models = {name: taken for name, taken in times.items() if not name.startswith("one product")}
    if options.json:
        what = "forward, 1" if options.forward else f"step, {batch}"
        case = f"{what} x {config.context} tokens, {parameter_count(config):,} parameters"
        runs = {name: [1e3 * each for each in taken] for name, taken in of_models.items()}
        rows = [{"case": case, "measure": "time", "unit": "ms", "better": "lower", "runs": runs}]
        if options.compile:
            chosen = {name: speeds[name] for name in speeds if "lm-core" in name or name not in of_models}
            arithmetic = {"measure": "arithmetic", "unit": "GFLOP/s", "better": "higher", "runs": chosen}
            rows.append({"case": case, **arithmetic})
        print(json.dumps({"rows": rows}))
        return
    print(
        f"{parameter_count(config):,} parameters, {batch} x {config.context} tokens, {options.threads} threads"
    )
    print(f"{'':20} {'ms':>9} {'tokens/s':>10} {'GFLOP/s':>9} {'ours faster by':>15}")
    ours = statistics.median(next(iter(times.values())))
    for name, taken in times.items():
        seconds, speed = statistics.median(taken), statistics.median(speeds[name])
        if name in of_models:
            rate = f"{ids.numel() / seconds:10,.0f} {speed:9.1f} {seconds / ours:14.2f}x"
        else:
            rate = f"{'':10} {speed:9.1f}"
        print(f"{name:22} {1e3 * seconds:9.1f} {rate}")


if __name__ == "__main__":
    main()
