"""What many ranks, sharding, checkpoints, restarts and verification cost on this machine.

    python benchmarks/ranks.py [--json] [--steps 40] [--only ranks|sharding|restart|verify]

ranks      tokens/s of 2 processes with 1 thread each, against 1 process with 2 threads: the same batch, the same run
sharding   tokens/s of 1, 2 and 4 processes with replicas, and of 2 and 4 with the model in parts; the share of time that checkpoints take
restart    seconds from starting `--resume` to its first step, on 1 and on 2 processes
verify     bytes/s of checking a folder of 1 GB against its manifest, and of reading it as plain files (both from memory, after a first read)

Every run is a process of its own (torchrun where there are several), so the times are those of a user. For figures the machine must be idle.
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
from pathlib import Path
from typing import Any

from lm_core.manifest import seal_folder, verify_folder

Row = dict[str, Any]
_FIRST = 5  # steps that are not counted
_MODEL = ["--model.d-model", "256", "--model.n-layers", "6", "--model.n-heads", "4", "--model.context", "256"]


def command(home: Path, world: int, threads: int, *flags: str) -> float:
    """Run lm_train on `world` processes; gives its seconds."""
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", str(world)] if world > 1 else []
    words = [sys.executable, *launcher, "-m", "lm_train", *flags]
    started = time.perf_counter()
    done = subprocess.run(
        words, cwd=home, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": str(threads)}
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return time.perf_counter() - started


def rate(home: Path, name: str) -> tuple[float, float]:
    """Median tokens/s of the run's steps, and the share of its time between steps that went to saves."""
    rows = [json.loads(line) for line in (home / "runs" / name / "metrics.jsonl").read_text().splitlines()]
    speeds = [row["tokens_per_second"] for row in rows if "tokens_per_second" in row][_FIRST:]
    events = [json.loads(line) for line in (home / "runs" / name / "events.jsonl").read_text().splitlines()]
    saving = sum(event["seconds"] for event in events if event["event"] == "saved")
    return statistics.median(speeds), saving / (saving + rows[-1]["seconds"])


def trained(home: Path, steps: int, world: int, threads: int, *flags: str) -> tuple[float, float]:
    name = f"r{time.monotonic_ns()}"
    size = ["--batch", "16", "--steps", str(steps), "--checkpoint.every", str(max(1, steps // 4))]
    quiet = [
        "--evaluate.every",
        "100000",
        "--evaluate.final-windows",
        "1",
        "--samples.every",
        "100000",
        "--samples.tokens",
        "1",
    ]
    given = [
        "--data",
        "stories:2MB",
        "--name",
        name,
        "--threads",
        str(threads),
        *_MODEL,
        *size,
        *quiet,
        *flags,
    ]
    command(home, world, threads, *given)
    return rate(home, name)


def ranks(home: Path, steps: int) -> list[Row]:
    pairs = [(trained(home, steps, 2, 1)[0], trained(home, steps, 1, 2)[0]) for _ in range(3)]
    two, one = (list(each) for each in zip(*pairs, strict=True))
    return [{"case": "2 processes of 1 thread / 1 process of 2", "unit": "tokens/s", "two": two, "one": one,
             "ratio": statistics.median(a / b for a, b in pairs)}]  # fmt: skip


def sharding(home: Path, steps: int) -> list[Row]:
    found = []
    for world, how in ((1, "replicate"), (2, "replicate"), (4, "replicate"), (2, "full"), (4, "full")):
        speed, saving = trained(home, steps, world, 1, "--scale.sharding", how)
        case = f"{world} processes, {how}"
        found.append({"case": case, "unit": "tokens/s", "rate": speed, "share of time in saves": saving})
    return found


def restart(home: Path, steps: int) -> list[Row]:
    found = []
    for world in (1, 2):
        name = f"restart-{world}"
        base = ["--data", "stories:2MB", *_MODEL, "--batch", "16", "--name", name, "--threads", "1"]
        command(home, world, 1, *base, "--steps", "3")
        seconds = command(home, world, 1, "--resume", f"runs/{name}", "--steps", "4")
        found.append({"case": f"resume on {world}: start, one step, end", "unit": "s", "seconds": seconds})
    return found


def verify(home: Path, steps: int) -> list[Row]:
    folder, block = home / "sealed", os.urandom(1 << 24)
    folder.mkdir()
    for number in range(4):
        with (folder / f"{number}.bin").open("wb") as file:
            for _ in range(16):
                file.write(block)
    seal_folder(folder, kind="model", facts={})
    size = 4 * 16 * len(block)

    def seconds(work: Any) -> float:
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    def read() -> None:
        for path in folder.glob("*.bin"):
            with path.open("rb", buffering=0) as file:
                while file.read(1 << 22):
                    pass

    read()
    checked = size / min(seconds(lambda: verify_folder(folder)) for _ in range(3))
    plain = size / min(seconds(read) for _ in range(3))
    return [{"case": "verifying 1 GB, one process", "unit": "bytes/s", "verified": checked, "read": plain}]


PARTS = {"ranks": ranks, "sharding": sharding, "restart": restart, "verify": verify}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--only", choices=sorted(PARTS))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        chosen = [options.only] if options.only else list(PARTS)
        rows = [row for part in chosen for row in PARTS[part](Path(name), options.steps)]
    if options.json:
        print(json.dumps({"rows": rows}))
        return
    for row in rows:
        facts = {key: value for key, value in row.items() if key not in ("case", "unit")}
        told = ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in facts.items())
        print(f"{row['case']:44} {row['unit']:9} {told}")


if __name__ == "__main__":
    main()
