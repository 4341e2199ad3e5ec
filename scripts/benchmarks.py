"""Measures the packages beside their peers, keeps what came out, and writes it into the documents.

    uv run python scripts/benchmarks.py                        # every benchmark of every package: half an hour
    uv run python scripts/benchmarks.py lm-core --only step    # one package; one benchmark, or those whose name begins so
    uv run python scripts/benchmarks.py lm-tokenizer --more "--text books.txt code.txt"     # further arguments
    uv run python scripts/benchmarks.py --write                # nothing is measured: the documents follow the newest records

Which benchmarks there are stands in `benchmarking/table.toml`. Each package has an environment of its own under `.benchmarks/`, with
the packages of this workspace and the package's `bench` dependency group, which names the peers. A benchmark is a script of
the package that prints rows as JSON (`benchmarking/record.py` says how); its contenders take turns, so a ratio of one row means something.

A record is `packages/<package>/benchmarks/records/<date>-<hardware>/record.json` and the same as a table, `record.md`. `--write` puts
the newest of each package into `docs/benchmarks.md`, with a picture, and between `<!-- figures -->` marks in READMEs; a test holds them to it.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarking.documents import FiguresError, write_documents
from benchmarking.hardware import hardware, today
from benchmarking.record import Benchmark, Record, newest, read_rows, save

ROOT = Path(__file__).resolve().parent.parent
TABLE = Path(__file__).with_name("benchmarking") / "table.toml"
SIBLINGS = ("lm-tokenizer", "lm-core", "lm-train", "lm-generate")
# What a child prints when a peer is not there; everything else that a package's environment lacks is an error.
PYTHON = "Scripts/python.exe" if os.name == "nt" else "bin/python"


def environment(package: str, folder: Path) -> Path:
    """The python of the package's own environment, made if it is not there, with its peers."""
    place = folder / package
    python = place / PYTHON
    if not python.is_file():
        subprocess.run(["uv", "venv", "--quiet", "--python", sys.executable, place], check=True)
    peers = tomllib.loads((ROOT / "packages" / package / "pyproject.toml").read_text())["dependency-groups"]
    workspace = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["exclude-newer"]
    # the crate is built anew where a source file is newer (uv's cache-keys); the others are taken from where they lie
    install = ["uv", "pip", "install", "--quiet", "--python", python, "--exclude-newer", workspace]
    packages = [part for name in SIBLINGS for part in ("--editable", str(ROOT / "packages" / name))]
    subprocess.run([*install, *packages, *peers.get("bench", [])], check=True)
    return python


def measure(python: Path, package: str, benchmark: Benchmark, more: list[str]) -> Benchmark:
    """Runs one benchmark, `more` behind its own arguments, and gives it back with its rows."""
    words = [*benchmark.command, *more]
    script = ROOT / "packages" / package / "benchmarks" / words[0]
    print(f"{package} {benchmark.name}: {' '.join(words)}", flush=True)
    done = subprocess.run(
        [python, script, *words[1:], "--json"], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{script.relative_to(ROOT)} ended with {done.returncode}; what it said is above")
    shown = [*benchmark.command, *(Path(word).name for word in more)]  # no path of a machine in a record
    return replace(benchmark, command=shown, rows=read_rows(json.loads(done.stdout)))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "packages", nargs="*", metavar="PACKAGE", help=f"of {', '.join(SIBLINGS)} (default: all)"
    )
    parser.add_argument("--only", metavar="NAME", help="this benchmark, or those whose name begins so")
    parser.add_argument("--more", default="", help="further arguments of the scripts")
    parser.add_argument(
        "--environments", type=Path, default=ROOT / ".benchmarks", help="folder of the environments"
    )
    parser.add_argument("--python", type=Path, help="use this python, with whatever peers it has")
    parser.add_argument("--write", action="store_true", help="measure nothing, write the documents")
    options = parser.parse_args(arguments)
    if wrong := [name for name in options.packages if name not in SIBLINGS]:
        parser.error(f"unknown package {wrong[0]!r}; there are {', '.join(SIBLINGS)}")
    if options.more and len(options.packages) != 1:
        parser.error("--more is for the scripts of one package: name it")
    more = shlex.split(options.more)
    more = [str(Path(word).resolve()) if Path(word).is_file() else word for word in more]
    if not options.write:
        table = tomllib.loads(TABLE.read_text(encoding="utf-8"))
        for package in options.packages or SIBLINGS:
            names = [name for name in table[package] if name.startswith(options.only or "")]
            if options.only in names:
                names = [options.only]
            chosen = [Benchmark(name=name, **table[package][name]) for name in names]
            if not chosen:
                continue
            python = options.python or environment(package, options.environments)
            before = os.getloadavg()[0]
            with tempfile.TemporaryDirectory() as elsewhere:
                os.chdir(elsewhere)  # what a benchmark leaves behind goes with the folder
                measured = [measure(python, package, each, more) for each in chosen]
                os.chdir(ROOT)
            record = Record(
                package, today(), hardware(python, package), (before, os.getloadavg()[0]), measured
            )
            old = newest(ROOT, package)
            folder = save(ROOT, record.onto(old) if options.only and old else record)
            print(f"{package}: {folder.relative_to(ROOT)}")
    try:
        write_documents(ROOT)
    except FiguresError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
