"""Decode speed of one model at several batch sizes, beside the other engines that are installed, taking turns in every round.

    python benchmarks/decode.py                       # a random model of the size "S"; batches of 1, 8 and 32
    python benchmarks/decode.py --dtype int8          # float16 or int8 weights
    python benchmarks/decode.py --size M --prompt 256 --batch 1 --rounds 3      # GPT-2's 124 M parameters
    python benchmarks/decode.py --uncompiled --batch 1        # without the kernel: what the first command on a machine writes with
    python benchmarks/decode.py MODEL_FOLDER --batch 1 4 --threads 1 --json

Figures are new tokens a second, all rows together, after the prompt has been read: the time of N tokens less
the time of one. Prompts have equal lengths, the others' best case (transformers would pad ragged ones). All write
greedily; how many rows have the very tokens that ours have is shown. The ratio is the median of the rounds' own ratios,
so a machine that slows down for a while slows all. `peers.py` says which engines, and how to install them.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch
from latency import SIZES, make_model
from lm_generate import load
from peers import Tokens, Write, peers

DTYPES = {"float32": None, "float16": torch.float16, "int8": torch.int8}


def measure(write: Write, prompts: Tokens, new: int) -> tuple[float, Tokens]:
    """New tokens a second, all rows together, and the tokens."""
    seconds, rows = [], []
    for count in (1, new):
        started = time.perf_counter()
        rows = write(prompts, count)
        seconds.append(time.perf_counter() - started)
    return len(prompts) * (new - 1) / (seconds[1] - seconds[0]), rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", nargs="?", help="a model folder; without one a random model is made")
    parser.add_argument("--size", choices=SIZES, default="S", help="of the random model (default S)")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--dtype", choices=DTYPES, default="float32", help="of the weights")
    parser.add_argument("--prompt", type=int, default=128, help="prompt tokens (default 128)")
    parser.add_argument("--new", type=int, default=48, help="tokens to write (default 48)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--uncompiled", action="store_true", help="without the kernel (LM_NATIVE=0)")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    os.environ["LM_NATIVE"] = "0" if arguments.uncompiled else "1"
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(arguments.model) if arguments.model else make_model(Path(made), arguments.size)
        whole = load(folder)
        engine = whole if arguments.dtype == "float32" else load(folder, dtype=DTYPES[arguments.dtype])

        def ours(prompts: Tokens, count: int) -> Tokens:
            return [
                list(row.ids) for row in engine.batch(prompts, max_tokens=count, temperature=0, stop_ids=())
            ]

        contenders = {"lm-generate": ours} | peers(
            whole, folder, Path(made), arguments.dtype, arguments.threads
        )
        rows = []
        for batch in arguments.batch:
            prompts = [
                [(31 * i + 7 * row) % min(256, engine.config.vocab_size) for i in range(arguments.prompt)]
                for row in range(batch)
            ]
            runs: dict[str, list[float]] = {name: [] for name in contenders}
            written: dict[str, Tokens] = {}
            for _ in range(arguments.rounds + 1):
                for name, write in contenders.items():
                    speed, written[name] = measure(write, prompts, arguments.new)
                    runs[name].append(speed)
            kind = "" if arguments.dtype == "float32" else f", {arguments.dtype}"
            kind += "" if arguments.size == "S" else f", {arguments.size}"
            kind += ", nothing compiled" if arguments.uncompiled else ""
            rows.append(
                {
                    "case": f"{batch} row{'s' * (batch > 1)}, {arguments.threads} threads{kind}",
                    "measure": "decoding",
                    "unit": "tokens/s",
                    "better": "higher",
                    "runs": {name: speeds[1:] for name, speeds in runs.items()},  # the first warms up
                }
            )
            if not arguments.json:
                show(batch, rows[-1]["runs"], written)
    if arguments.json:
        print(json.dumps({"rows": rows}))
    else:
        print(f"{arguments.threads} threads, load of the machine {os.getloadavg()[0]:.1f}")


def show(batch: int, runs: dict[str, list[float]], written: dict[str, Tokens]) -> None:
    mine = runs["lm-generate"]
    for name, speeds in runs.items():
        ratios = [a / b for a, b in zip(mine, speeds, strict=True)]
        same = sum(a == b for a, b in zip(written["lm-generate"], written[name], strict=True))
        print(
            f"{batch:>3} rows  {name:14}{statistics.median(speeds):8.0f} tokens/s; ours is {statistics.median(ratios):.2f} times as "
            f"fast ({min(ratios):.2f}-{max(ratios):.2f}); {same} of {batch} rows the same",
            flush=True,
        )


if __name__ == "__main__":
    main()
