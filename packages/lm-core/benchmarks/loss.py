"""Peak memory and time of a training step with all the logits and with the chunked loss, at a large vocabulary.

    python benchmarks/loss.py                      # vocabulary 50,257, d 512, 4 layers, 8 x 256 tokens; a minute or two
    python benchmarks/loss.py --vocab-size 10000 --json

Memory is the growth of the process's peak resident size over a step (activations, logits, gradients; the weights are
there before), each way in a process of its own. Times are medians of steps taken in turns in one process.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from lm_core import ModelConfig, Transformer, cross_entropy
from torch import Tensor

WAYS = ("plain", "torch", "chunked")


def make_step(way: str, model: Transformer, ids: Tensor, targets: Tensor) -> Callable[[], None]:
    def loss() -> Tensor:
        if way == "chunked":
            return model.loss(ids, targets)
        if way == "plain":
            return cross_entropy(model(ids), targets)
        return torch.nn.functional.cross_entropy(model(ids).flatten(0, 1), targets.flatten())

    def step() -> None:
        model.zero_grad(set_to_none=True)
        loss().backward()

    return step


def peak_bytes() -> int:
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def measure_memory(way: str, config: ModelConfig, batch: int) -> int:
    small = Transformer(ModelConfig(vocab_size=16, context=8, d_model=16, n_layers=1, n_heads=1))
    make_step(way, small, torch.zeros(1, 8, dtype=torch.long), torch.zeros(1, 8, dtype=torch.long))()
    model = Transformer(config)
    ids = torch.randint(0, config.vocab_size, (batch, config.context))
    before = peak_bytes()
    make_step(way, model, ids, ids.roll(-1, 1))()
    return peak_bytes() - before


def measure_time(
    config: ModelConfig, batch: int, rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of each way in every round; the first round does not count."""
    model = Transformer(config)
    ids = torch.randint(0, config.vocab_size, (batch, config.context))
    steps = {way: make_step(way, model, ids, ids.roll(-1, 1)) for way in WAYS}
    times: dict[str, list[float]] = {way: [] for way in WAYS}
    for turn in range(rounds + 1):
        for way, step in steps.items():
            start = clock()
            step()
            if turn:
                times[way].append(clock() - start)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--vocab-size", type=int, default=50_257)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--memory-of", choices=WAYS, help="measure this way alone and print its bytes")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    config = ModelConfig(
        vocab_size=options.vocab_size, context=256, d_model=512, n_layers=4, n_heads=16, d_ff=1344
    )
    if options.memory_of:
        print(measure_memory(options.memory_of, config, options.batch))
        return
    memory = {
        way: int(
            subprocess.run(
                [sys.executable, *sys.argv, "--memory-of", way], capture_output=True, check=True
            ).stdout
        )
        for way in WAYS
    }
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    times = measure_time(config, options.batch, options.rounds, clock)
    seconds = {way: statistics.median(taken) for way, taken in times.items()}
    rows = {
        way: {
            "mib": memory[way] / 2**20,
            "memory_ratio": memory[way] / memory["plain"],
            "ms": 1e3 * seconds[way],
            "time_ratio": seconds[way] / seconds["plain"],
        }
        for way in WAYS
    }
    if options.json:
        case = f"vocabulary {options.vocab_size:,}, {options.batch} x 256 tokens"
        ours_first = ("chunked", "plain", "torch")
        mib = {way: [memory[way] / 2**20] for way in ours_first}
        ms = {way: [1e3 * each for each in times[way]] for way in ours_first}
        same = {"case": case, "better": "lower"}
        kept = [
            same | {"measure": "memory of a step", "unit": "MiB", "runs": mib},
            same | {"measure": "time of a step", "unit": "ms", "runs": ms},
        ]
        print(json.dumps({"rows": kept}))
        return
    print(f"vocabulary {options.vocab_size:,}, {options.batch} x 256 tokens, {options.threads} threads")
    print(f"{'':10} {'MiB/step':>9} {'of plain':>9} {'ms/step':>9} {'of plain':>9}")
    for way, row in rows.items():
        print(
            f"{way:10} {row['mib']:9.0f} {row['memory_ratio']:8.2f}x {row['ms']:9.0f} {row['time_ratio']:8.2f}x"
        )


if __name__ == "__main__":
    main()
