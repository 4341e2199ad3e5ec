"""How fast text becomes a token dataset, and batches come out of it.

    python prepare.py [TEXT] [--vocab-size N] [--repeat N] [--json]      # without TEXT: 1 GB of made-up stories

One row a stage, the best of --repeat runs; and the peak memory of the process that does them all. `encode_file` is lm-tokenizer alone on the same text and tokenizer: the bound for `prepare` with a tokenizer at hand.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import lm_train
from lm_train import TokenDataset, prepare
from lm_train.texts.stories import stories


def timed(repeat: int, work: Callable[[int], object]) -> list[float]:
    """Seconds of each repetition."""
    seconds = []
    for number in range(repeat):
        started = time.perf_counter()
        work(number)
        seconds.append(time.perf_counter() - started)
    return seconds


TOLD = 20_000_000


def made_up(path: Path, size: int) -> Path:
    """Stories of 440 bytes, which begin anew after `TOLD` bytes."""
    told, parts = 0, []
    for story in stories():
        parts.append(story + "<|endoftext|>\n")
        told += len(parts[-1])
        if told >= min(size, TOLD):
            break
    text = "".join(parts).encode()
    with open(path, "wb") as file:
        while file.tell() < size:
            file.write(text)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("text", nargs="?", type=Path)
    parser.add_argument("--vocab-size", type=int, default=10_000)
    parser.add_argument("--megabytes", type=int, default=1000, help="of stories, without TEXT")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2_000, help="batches of 8 x 256 to read")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        text = options.text or made_up(folder / "stories.txt", options.megabytes * 1_000_000)
        size = text.stat().st_size

        def whole(number: int) -> TokenDataset:
            return prepare(text, folder / f"whole-{number}", vocab_size=options.vocab_size)

        def given(number: int) -> None:
            prepare(text, folder / "given", tokenizer=tokenizer)
            shutil.rmtree(folder / "given")

        rows = {"prepare, tokenizer trained": timed(options.repeat, whole)}
        dataset = TokenDataset(folder / "whole-0")
        tokenizer = dataset.load_tokenizer()
        rows["prepare, tokenizer given"] = timed(options.repeat, given)
        rows["encode_file alone"] = timed(
            options.repeat,
            lambda _: tokenizer.encode_file(
                text, folder / "ids", separator="<|endoftext|>", append="<|endoftext|>"
            ),
        )
        rows["prepare again, nothing changed"] = timed(options.repeat, lambda _: whole(0))
        rows["verify"] = timed(options.repeat, lambda _: dataset.verify())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # before torch, which batches need
        batches = lm_train.Batches(dataset, context=256, batch=8, seed=0)
        reading = timed(options.repeat, lambda _: [batches.batch(step) for step in range(options.steps)])
        result = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            "bytes": size,
            "tokens": dataset.tokens(),
            "peak": peak,
        }
    rates = {stage: [size / 1e6 / each for each in seconds] for stage, seconds in rows.items()}
    best = {stage: min(seconds) for stage, seconds in rows.items()}
    if options.json:
        case = f"{size / 1e6:.0f} MB of text, vocabulary {options.vocab_size:,}"
        same = {"case": case, "unit": "MB/s", "better": "higher"}
        at_hand = {name: rates[name] for name in ("prepare, tokenizer given", "encode_file alone")}
        learnt = {name: rates[name] for name in ("prepare, tokenizer trained", "verify")}
        memory = {"case": case, "unit": "MB", "better": "lower", "measure": "peak memory"}
        kept = [
            same | {"measure": "prepare", "runs": at_hand},
            same | {"measure": "all of it", "runs": learnt},
        ]
        kept.append(memory | {"runs": {"this process": [result["peak"]]}})
        print(json.dumps({"rows": kept}))
        return
    print(f"{result['machine']}; {size / 1e6:.1f} MB of text, {dataset.tokens():,} tokens")
    for stage, seconds in best.items():
        print(f"{stage:32} {seconds:8.2f} s {size / 1e6 / seconds:8.1f} MB/s")
    print(f"{'peak memory':32} {result['peak']:8.0f} MB")
    print(f"{'batch of 8 x 256':32} {1e6 * min(reading) / options.steps:8.0f} us")


if __name__ == "__main__":
    main()
