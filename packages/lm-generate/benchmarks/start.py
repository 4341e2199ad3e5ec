"""What stands before the first token: a fresh process beside `import torch` alone, the kernel's compiler, and memory beside transformers.

    python benchmarks/start.py                    # a random model "S" for the times, "M" (GPT-2's 124 M) for memory
    python benchmarks/start.py --rounds 7 --json

A fresh process is `lm-generate --prompt "def " --max-tokens 1` with its hashes checked; the kernel has been compiled before, the
files are in the system's cache. CPU time is what the process used of all cores, wall time what a person waits. "compiled" is
the kernel made in an empty cache folder, "loaded" the same when it lies there. Memory is the peak of a process that loads the
model, reads 256 tokens and writes 8; a process that only imports torch is beside it, since no other can be smaller.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from latency import make_model

LOAD_KERNEL = """
import time
from lm_generate.kernel.native_library import load_library
started = time.perf_counter()
assert load_library() is not None
print(time.perf_counter() - started)
"""
WRITE = """
import sys, torch
torch.set_num_threads(1)
from lm_generate import load
from lm_generate.kernel.stored import read_storage
engine = load(sys.argv[1], dtype=read_storage(sys.argv[2]))
engine.generate([i % 256 for i in range(256)], max_tokens=8, temperature=0, stop_ids=())
"""
TRANSFORMERS = """
import sys, torch
torch.set_num_threads(1)
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
ids = torch.tensor([[i % 256 for i in range(256)]])
model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, eos_token_id=None, pad_token_id=0, max_new_tokens=8)
"""
TORCH = "import torch\n"
PEAK = """
for line in open("/proc/self/status"):
    if line.startswith("VmHWM"):
        print(line.split()[1])
"""
"""In units of 1,024 bytes. (What `getrusage` tells begins with the parent's peak.)"""


def run(*words: str, **environment: str) -> tuple[str, float, float]:
    """(what it printed, wall seconds, CPU seconds) of a python."""
    before, started = os.times(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words], env={**os.environ, "LM_NATIVE": "1", **environment}, check=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    seconds, after = time.perf_counter() - started, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return done.stdout, seconds, cpu


def fresh_process(folder: Path, rounds: int) -> dict[str, dict[str, list[float]]]:
    ours = [
        "-m",
        "lm_generate",
        "--prompt",
        "def ",
        "--max-tokens",
        "1",
        "--seed",
        "1",
        "-q",
        "-m",
        str(folder),
    ]
    found: dict[str, dict[str, list[float]]] = {"wall time": {}, "CPU time": {}}
    for number in range(rounds + 1):  # the first warms up
        for name, words in (("lm-generate", ours), ("import torch", ["-c", "import torch"])):
            _, wall, cpu = run(*words)
            if number:
                found["wall time"].setdefault(name, []).append(wall)
                found["CPU time"].setdefault(name, []).append(cpu)
    return found


def kernel(rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {"compiled": [], "loaded": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as empty:
            for name in found:
                found[name].append(float(run("-c", LOAD_KERNEL, XDG_CACHE_HOME=empty)[0]))
    return found


def peaks(folder: Path, rounds: int) -> dict[str, list[float]]:
    """Megabytes."""
    kinds = {
        "lm-generate": (WRITE, "float32"), "lm-generate, bfloat16": (WRITE, "bfloat16"), "lm-generate, int8": (WRITE, "int8"),
        "transformers": (TRANSFORMERS, ""), "import torch": (TORCH, ""),
    }  # fmt: skip
    found: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(rounds):
        for name, (code, dtype) in kinds.items():
            found[name].append(int(run("-c", code + PEAK, str(folder), dtype)[0]) * 1024 / 1e6)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = []

    def row(case: str, measure: str, unit: str, runs: dict[str, list[float]]) -> None:
        rows.append({"case": case, "measure": measure, "unit": unit, "better": "lower", "runs": runs})

    with tempfile.TemporaryDirectory() as made:
        small, medium = (make_model(Path(made), size) for size in ("S", "M"))
        for measure, runs in fresh_process(small, arguments.rounds).items():
            row("first token in a fresh process, S", measure, "s", runs)
        for measure, seconds in kernel(min(3, arguments.rounds)).items():
            row("the kernel", measure, "s", {"lm-generate": seconds})
        if Path("/proc/self/status").exists():
            row("load, read 256 tokens and write 8, M", "peak memory", "MB", peaks(medium, 1))
    if arguments.json:
        print(json.dumps({"rows": rows}))
        return
    for each in rows:
        middle = {name: statistics.median(numbers) for name, numbers in each["runs"].items()}
        told = ", ".join(f"{name} {number:.3g} {each['unit']}" for name, number in middle.items())
        print(f"{each['case']}: {each['measure']}: {told}")


if __name__ == "__main__":
    main()
