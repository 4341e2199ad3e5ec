"""What many ranks, sharding, checkpoints, restarts and verification cost on this machine.

    python benchmarks/ranks.py [--json] [--only ranks|sharding|restart|verify] [--steps 14] [--rounds 3] [--worlds 1 2 4]

ranks      tokens/s of 2 processes with 1 thread each, against 1 process with 2 threads: the same batch, the same run
sharding   tokens/s of so many processes with replicas and with the model in parts, and the seconds that a checkpoint stops training
restart    seconds from the command `--resume` to the end of its first step, beside those of `import torch` alone
verify     bytes/s of checking sealed files against their manifest, and of reading them as plain files: from the disk, then from memory

Every run is a process of its own (torchrun where there are several), so the times are those of a user. Contenders take turns.
For figures the machine must be idle; a part with `--rounds 1` takes about a minute on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from lm_core.manifest import seal_folder, verify_folder

Row = dict[str, Any]
_FIRST = 4  # steps that are not counted
_CASE = "3.84 M weights, 8 x 256 tokens a step"
_RUN = [
    *("--data", "stories:2MB", "--batch", "8"),
    *("--model.d-model", "256", "--model.n-layers", "6", "--model.n-heads", "4", "--model.context", "256"),
    *("--evaluate.every", "100000", "--evaluate.final-windows", "1"),
    *("--samples.every", "100000", "--samples.tokens", "1"),
]
_FILES, _FILE_BYTES, _BLOCK = 4, 1 << 28, 1 << 22


def start(home: Path, world: int, threads: int, *flags: str) -> subprocess.Popen[str]:
    """lm_train on `world` processes."""
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(world)] if world > 1 else []
    words = [sys.executable, *launcher, "-m", "lm_train", *flags, "--threads", str(threads)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    return subprocess.Popen(
        words, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    )


def finish(child: subprocess.Popen[str]) -> None:
    _, err = child.communicate()
    if child.returncode:
        raise SystemExit(f"a run ended with {child.returncode}:\n{err[-2000:]}")


def rows_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def trained(home: Path, steps: int, world: int, threads: int, *flags: str) -> tuple[float, float]:
    """Median tokens/s of the steps of a run, and the seconds that its checkpoint took."""
    name = f"r{time.monotonic_ns()}"
    finish(start(home, world, threads, *_RUN, "--name", name, "--steps", str(steps), *flags))
    run = home / "runs" / name
    steps_s = [r["tokens_per_second"] for r in rows_of(run / "metrics.jsonl") if "tokens_per_second" in r]
    saves = [event["seconds"] for event in rows_of(run / "events.jsonl") if event["event"] == "saved"]
    return statistics.median(steps_s[_FIRST:]), statistics.median(saves)


def ranks(home: Path, options: argparse.Namespace) -> Iterator[Row]:
    runs: dict[str, list[float]] = {"2 processes of 1 thread": [], "1 process of 2 threads": []}
    for _ in range(options.rounds):
        for (_, rates), (world, threads) in zip(runs.items(), ((2, 1), (1, 2)), strict=True):
            rates.append(trained(home, options.steps, world, threads)[0])
    yield {"case": _CASE, "measure": "training", "unit": "tokens/s", "better": "higher", "runs": runs}


def sharding(home: Path, options: argparse.Namespace) -> Iterator[Row]:
    for world in options.worlds:
        found: dict[str, list[tuple[float, float]]] = {}
        for _ in range(options.rounds):
            for how in ("full", "replicate") if world > 1 else ("replicate",):
                more = ("--scale.sharding", how, "--checkpoint.every", str(options.steps // 2))
                found.setdefault(how, []).append(trained(home, options.steps, world, 1, *more))
        plural = "es" if world > 1 else ""
        case = f"{world} process{plural} of 1 thread, {_CASE}"
        rates = {how: [rate for rate, _ in each] for how, each in found.items()}
        saves = {how: [seconds for _, seconds in each] for how, each in found.items()}
        yield {"case": case, "measure": "training", "unit": "tokens/s", "better": "higher", "runs": rates}
        yield {"case": case, "measure": "a checkpoint", "unit": "s", "better": "lower", "runs": saves}


def restart(home: Path, options: argparse.Namespace) -> Iterator[Row]:
    runs: dict[str, list[float]] = {}
    for world in (w for w in options.worlds if w < 4):
        name = f"restart-{world}"
        finish(start(home, world, 1, *_RUN, "--name", name, "--steps", "2"))
        for number in range(options.rounds):
            steps = 3 + number
            before = time.perf_counter()
            child = start(home, world, 1, "--resume", f"runs/{name}", "--steps", str(steps))
            while not any(r["step"] == steps for r in whole_rows(home / f"runs/{name}/metrics.jsonl")):
                if child.poll() is not None:
                    break
                time.sleep(0.005)
            seconds = time.perf_counter() - before
            finish(child)
            runs.setdefault(f"{world} process" + ("es" if world > 1 else ""), []).append(seconds)
    runs["import torch alone"] = [
        timed(lambda: subprocess.run([sys.executable, "-c", "import torch"], check=True))
        for _ in range(options.rounds)
    ]
    yield {
        "case": _CASE,
        "measure": "from the command to the first step",
        "unit": "s",
        "better": "lower",
        "runs": runs,
    }


def whole_rows(file: Path) -> list[dict[str, Any]]:
    """The rows of a file that is being written."""
    text = file.read_text() if file.is_file() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def verify(home: Path, options: argparse.Namespace) -> Iterator[Row]:
    folder, block = home / "sealed", os.urandom(_BLOCK)
    folder.mkdir()
    files = [folder / f"{number}.bin" for number in range(_FILES)]
    for path in files:
        with path.open("wb") as file:
            for _ in range(_FILE_BYTES // _BLOCK):
                file.write(block)
    seal_folder(folder, kind="model", facts={})

    def forget() -> None:
        for path in files:
            with path.open("rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

    def read_one(path: Path) -> None:
        with path.open("rb", buffering=0) as file:
            while file.read(_BLOCK):
                pass

    def read() -> None:
        with ThreadPoolExecutor(_FILES) as pool:
            list(pool.map(read_one, files))

    for place, before in (("disk", forget), ("memory", read)):
        runs: dict[str, list[float]] = {"verify": [], "plain reading": []}
        for _ in range(options.rounds):
            for work, rates in zip((lambda: verify_folder(folder), read), runs.values(), strict=True):
                before()
                rates.append(_FILES * _FILE_BYTES / 1e9 / timed(work))
        case = f"{_FILES} files of 268 MB, from {place}"
        yield {"case": case, "measure": "checking", "unit": "GB/s", "better": "higher", "runs": runs}


def timed(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


PARTS = {"ranks": ranks, "sharding": sharding, "restart": restart, "verify": verify}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=14)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worlds", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--only", choices=sorted(PARTS))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as name:
        for part in [options.only] if options.only else list(PARTS):
            for row in PARTS[part](Path(name), options):
                found.append(row)
                if not options.json:
                    runs = {who: " ".join(f"{n:.4g}" for n in each) for who, each in row["runs"].items()}
                    print(f"{row['case']}, {row['measure']}, {row['unit']}: {runs}", flush=True)
    if options.json:
        print(json.dumps({"rows": found}))


if __name__ == "__main__":
    main()
