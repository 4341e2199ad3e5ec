"""Attention's forward and backward pass over rows of several documents: each alone, all under one mask, and rows without documents.

python benchmarks/documents.py                    # 16 heads of 32, 4 x 512 tokens, documents of 100; 8 heads of 64, 2 x 2048, of 300
python benchmarks/documents.py --clock cpu        # processor time of all threads, for a busy machine
"""

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Callable

import torch
from lm_core import Attention, ModelConfig
from lm_core.documents import Documents, read_documents
from step import measure

CASES = ((16, 32, 4, 512, 100), (8, 64, 2, 2048, 300))  # n_heads, d_head, batch, length, tokens of a document


def make_step(attention: Attention, x: torch.Tensor, documents: Documents | None) -> Callable[[], None]:
    def step() -> None:
        attention.zero_grad(set_to_none=True)
        attention(x, documents=documents).sum().backward()

    return step


def contenders(
    n_heads: int, d_head: int, batch: int, length: int, each: int
) -> dict[str, Callable[[], None]]:
    config = ModelConfig(vocab_size=16, context=length, d_model=n_heads * d_head, n_heads=n_heads)
    attention, x = Attention(config), torch.randn(batch, length, config.d_model)
    numbers = torch.arange(length).div(each, rounding_mode="floor").expand(batch, length)
    alone = read_documents(numbers, numbers)
    return {
        "each document alone": make_step(attention, x, alone),
        "one mask": make_step(attention, x, dataclasses.replace(alone, lengths=None)),
        "without documents": make_step(attention, x, None),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    rows = []
    for case in CASES:
        n_heads, d_head, batch, length, each = case
        name = f"{n_heads} heads of {d_head}, {batch} x {length} tokens, documents of {each}"
        times = measure({**contenders(*case)}, options.rounds, clock)
        runs = {way: [1e3 * seconds for seconds in taken] for way, taken in times.items()}
        rows.append({"case": name, "measure": "time", "unit": "ms", "better": "lower", "runs": runs})
        if not options.json:
            shown = ", ".join(f"{way} {statistics.median(taken):.1f} ms" for way, taken in runs.items())
            print(f"{name}: {shown}")
    if options.json:
        print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main()
