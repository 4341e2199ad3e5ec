"""All the speeds and memory that the README speaks of, beside the peers that are installed: one table a task.

python benchmarks/compare.py [TASK ...] [--text FILE] [--tokenizer FILE] [--cpus 1] [--json]

Each figure is the median of `--runs` fresh processes, the peers taking turns. Ids end in memory: the peers' in an array, ours in
a file below /dev/shm, where there is one, so that nobody waits for a disk. `cpus` is ours beside itself on one processor. The text is a file of yours or Python's
own standard library; the vocabulary is a file of yours (`tokenizer.json` or tiktoken ranks with `--pattern`) or one
trained on the text. Peers: pip install gigabpe gigatoken fastokens tuetoken tiktoken tokenizers rustbpe.
`--json` prints every run, in the rows that `scripts/benchmarks.py` keeps.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from lm_tokenizer import Tokenizer

PEERS = {
    "train": ["lm-tokenizer", "gigabpe", "rustbpe", "tokenizers"],
    "file": ["lm-tokenizer", "gigatoken", "fastokens", "tuetoken", "tiktoken"],
    "cpus": ["lm-tokenizer", "lm-tokenizer on 1 CPU"],
    "one": ["lm-tokenizer", "gigatoken", "fastokens", "tuetoken", "tiktoken", "tokenizers"],
    "short": ["lm-tokenizer", "tiktoken", "tuetoken", "gigatoken", "tokenizers"],
    "decode": ["lm-tokenizer", "tiktoken", "tuetoken", "gigatoken"],
    "count": ["lm-tokenizer", "tuetoken"],
    "start": ["lm-tokenizer", "tuetoken", "tiktoken", "tokenizers", "gigatoken"],
    "worst": ["lm-tokenizer", "tiktoken", "gigatoken", "tuetoken", "fastokens"],
}

OF_CORPORA = ("train", "file", "cpus", "one")
"""The tasks whose figures are of a text, not of a few words."""
WORDS = {
    "seconds": "time",
    "ms": "time",
    "peak MB": "peak memory",
    "+ MB": "memory beyond the vocabulary's",
    "cold MB/s": "cold cache",
    "warm MB/s": "warm cache",
    "us at 20": "20 characters",
    "us at 60": "60 characters",
    "us at 200": "200 characters",
    "seconds, list": "from a list",
    "seconds, array": "from an array",
    "count MB/s": "counting",
    "encode MB/s": "encoding",
}
"""What a figure is called in a record, whose unit stands by itself."""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tasks", nargs="*", metavar="TASK", help=f"of {', '.join(PEERS)} (default: all)")
    parser.add_argument(
        "--text",
        nargs="+",
        metavar="FILE",
        help="text files, one after another (default: Python's standard library); what works on no corpus takes the first",
    )
    parser.add_argument("--megabytes", type=float, default=10, help="how much of the text to use")
    parser.add_argument(
        "--tokenizer", help="tokenizer.json or a tiktoken rank file (default: trained on the text)"
    )
    parser.add_argument("--pattern", default="gpt2", help="of a rank file")
    parser.add_argument("--vocab-size", type=int, default=32_000, help="to train")
    parser.add_argument(
        "--trained", action="store_true", help="train one on the text, whatever --tokenizer says"
    )
    parser.add_argument("--peers", nargs="*", help="only these")
    parser.add_argument("--cpus", type=int, default=0, help="processors each process may use (default: all)")
    parser.add_argument("--runs", type=int, default=3, help="processes for each row")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    options = parser.parse_args()
    wrong = [task for task in options.tasks if task not in PEERS]
    if wrong:
        parser.error(f"unknown task {wrong[0]!r}; there are {', '.join(PEERS)}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = folder / "text"
        kept = []
        for number, source in enumerate(options.text or [None]):
            content = sample(source, options.megabytes).replace("<|", "< |").encode()
            text.write_bytes(content)
            tokenizer = prepare(options, text, folder)
            name = f"{Path(source).stem if source else 'Python'}, {len(content) / 1e6:.0f} MB"
            for task in options.tasks or PEERS:
                if number and task not in OF_CORPORA:
                    continue
                runs = measure(task, options, tokenizer, text)
                kept += rows(runs, name if task in OF_CORPORA else "")
                if not options.json:
                    show(f"{task}: {name}", medians(runs))
    print(json.dumps({"rows": kept}) if options.json else machine(options))


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


def prepare(options: argparse.Namespace, text: Path, folder: Path) -> Path:
    """The vocabulary in the forms that the peers read, side by side."""
    if options.tokenizer is None or options.trained:
        tokenizer = Tokenizer.train(files=[text], vocab_size=options.vocab_size, pattern=options.pattern)
    elif options.tokenizer.endswith(".tiktoken"):
        tokenizer = Tokenizer.load_tiktoken(options.tokenizer, options.pattern)
    else:
        tokenizer = Tokenizer.load(options.tokenizer)
    path = folder / "bench.json"
    tokenizer.save(path)
    tokenizer.save_tiktoken(path.with_suffix(".tiktoken"))
    path.with_suffix(".pattern").write_text(tokenizer.pattern or "")
    return path


def measure(
    task: str, options: argparse.Namespace, tokenizer: Path, text: Path
) -> dict[str, list[dict[str, Any]]]:
    """Each installed peer's figures, one dictionary a run; the peers take turns."""
    script = str(Path(__file__).with_name("peers.py"))
    peers = [peer for peer in PEERS[task] if not options.peers or peer in options.peers]
    runs: dict[str, list[dict[str, Any]]] = {peer: [] for peer in peers}
    for _ in range(options.runs):
        for peer in list(runs):
            command = [sys.executable, script, task, peer, str(tokenizer), str(text), str(options.vocab_size)]
            run = subprocess.run(
                command, capture_output=True, text=True, check=False, preexec_fn=limit(options.cpus)
            )
            if run.returncode:
                last = (run.stderr.strip().splitlines() or [f"exit code {run.returncode}"])[-1]
                print(f"{task}: {peer} is left out: {last}", file=sys.stderr)
                del runs[peer]
            else:
                runs[peer].append(json.loads(run.stdout))
    return runs


def medians(runs: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """A row for each peer, for people."""
    return [
        {"peer": peer} | {key: middle([one[key] for one in all_runs]) for key in all_runs[0]}
        for peer, all_runs in runs.items()
    ]


def rows(runs: dict[str, list[dict[str, Any]]], case: str) -> list[dict[str, Any]]:
    """A row for each figure that is a measurement, with every peer's runs."""
    found = []
    for key in dict.fromkeys(key for all_runs in runs.values() for key in all_runs[0]):
        if key in ("ids", "merges", "ratio"):
            continue
        unit = next((unit for unit in ("MB/s", "MB", "us", "ms") if unit in key.split()), None)
        unit = unit or ("s" if "seconds" in key else "ms")  # the worst cases are named by their text
        values = {peer: [run.get(key) for run in all_runs] for peer, all_runs in runs.items()}
        found.append(
            {
                "case": case,
                "measure": WORDS.get(key, key),
                "unit": unit,
                "better": "higher" if unit == "MB/s" else "lower",
                "runs": {
                    peer: each
                    for peer, each in values.items()
                    if all(isinstance(v, int | float) for v in each)
                },
            }
        )
    return found


def middle(values: list[Any]) -> Any:
    return (
        statistics.median(values) if all(isinstance(value, (int, float)) for value in values) else values[0]
    )


def limit(cpus: int) -> Any:
    """What a child does first: it keeps to so many processors."""
    return (lambda: os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cpus])) if cpus else None


def machine(options: argparse.Namespace) -> str:
    cpus = options.cpus or len(os.sched_getaffinity(0))
    return f"{platform.machine()}, {cpus} CPUs, Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"


def show(title: str, table: list[dict[str, Any]]) -> None:
    print(title)
    if table:
        columns = list(table[0])
        cells = [[cell(row.get(column, "")) for column in columns] for row in table]
        widths = [max(len(line[i]) for line in [columns, *cells]) for i in range(len(columns))]
        for line in [columns, *cells]:
            print("  " + "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))
    print(flush=True)


def cell(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main()
