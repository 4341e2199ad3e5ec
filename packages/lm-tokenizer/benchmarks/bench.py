"""What the benchmarks share: a text, a fresh process for each measurement, a table."""

import argparse
import json
import os
import platform
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any


def make_parser(description: str, megabytes: int) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "text", nargs="?", help="a text file (default: Python's standard library, as far as it goes)"
    )
    parser.add_argument("--megabytes", type=float, default=megabytes, help="how much of the text to use")
    parser.add_argument("--vocab-size", type=int, default=10_000)
    parser.add_argument("--runs", type=int, default=3, help="processes for each row; the fastest counts")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument(
        "--one", nargs=2, help=argparse.SUPPRESS
    )  # peer and text: what a fresh process measures
    return parser


def sample(path: str | None, megabytes: float) -> str:
    """The beginning of a file, or of the standard library's sources."""
    wanted = int(megabytes * 1e6)
    if path is not None:
        with open(path, "rb") as file:
            return file.read(wanted).decode(errors="ignore")
    parts: list[str] = []
    for source in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        if "site-packages" not in source.parts and "test" not in source.parts:
            parts.append(source.read_text(encoding="utf-8", errors="ignore"))
            wanted -= len(parts[-1])
        if wanted <= 0:
            break
    return "".join(parts)


def measure(script: str, peer: str, text: Path, options: argparse.Namespace) -> dict[str, Any]:
    """What a fresh process says of one peer; of several runs, the fastest by its "seconds"."""
    command = [sys.executable, script, "--one", peer, str(text), "--vocab-size", str(options.vocab_size)]
    runs = [subprocess.run(command, capture_output=True, text=True, check=False) for _ in range(options.runs)]
    for run in runs:
        if run.returncode:
            raise SystemExit(f"{peer}: {run.stderr}")
    return min((json.loads(run.stdout) for run in runs), key=lambda row: row["seconds"])


def peak_megabytes() -> float:
    """The most memory that this process has held."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def report(title: str, rows: list[dict[str, Any]], *, as_json: bool) -> None:
    machine = f"{platform.machine()}, {len(os.sched_getaffinity(0))} CPUs, Python {platform.python_version()}"
    if as_json:
        print(json.dumps({"title": title, "machine": machine, "rows": rows}, indent=1))
        return
    print(f"{title} ({machine})")
    columns = list(rows[0])
    cells = [[f"{row[c]:.3g}" if isinstance(row[c], float) else str(row[c]) for c in columns] for row in rows]
    widths = [max(len(line[i]) for line in [columns, *cells]) for i in range(len(columns))]
    for line in [columns, *cells]:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))
