"""How fast text becomes a token dataset, and batches come out of it.

    python prepare.py [TEXT] [--vocab-size N] [--repeat N] [--json]      # without TEXT: 1 GB of made-up stories

One row a stage, the best of --repeat runs; and the peak memory of the process that does them all. `encode_file` is lm-tokenizer alone on the same text and tokenizer: the bound for `prepare` with a
tokenizer at hand. The two take turns, both warm, and what they wrote is deleted when their clock has stopped. The rows of JSON lines have a quarter of the text; rates are of its bytes as text.
"""

import argparse
import gzip
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
import zstandard
from lm_tokenizer import Tokenizer
from lm_train import TokenDataset, prepare
from lm_train.texts.stories import stories


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def timed(repeat: int, work: Callable[[int], object]) -> list[float]:
    """Seconds of each repetition."""
    return [seconds(lambda number=number: work(number)) for number in range(repeat)]


def given_in_turns(
    repeat: int, text: Path, tokenizer: Tokenizer, folder: Path, **documents: str
) -> tuple[list[float], list[float]]:
    """Seconds of `prepare` and of `encode_file`, after one round that is not counted: both learn the words of a text.

    `documents`: how `encode_file` tells them apart, a `separator` or a `field`.
    """
    target = folder / "given"
    prepared, encoded = [], []
    for _ in range(repeat + 1):
        prepared.append(seconds(lambda: prepare(text, target, tokenizer=tokenizer)))
        shutil.rmtree(target)
        encoded.append(seconds(lambda: tokenizer.encode_file(text, target, append=END_OF_TEXT, **documents)))
        target.unlink()
    return prepared[1:], encoded[1:]


def as_lines(text: Path, folder: Path, size: int) -> tuple[list[Path], int]:
    """About `size` bytes of a text's documents as JSON lines: plain, .gz and .zst, and the bytes of text in them."""
    with open(text, encoding="utf-8", newline="") as file:
        documents = [each.removeprefix("\n") for each in file.read(size).split(END_OF_TEXT)]
    lines = "".join(json.dumps({"text": each}) + "\n" for each in documents if each).encode()
    packed = {"": lines, ".gz": gzip.compress(lines, 6), ".zst": zstandard.compress(lines, 3)}
    paths = [folder / f"lines.jsonl{ending}" for ending in packed]
    for path, content in zip(paths, packed.values(), strict=True):
        path.write_bytes(content)
    return paths, sum(len(each.encode()) for each in documents)


TOLD = 20_000_000
END_OF_TEXT = "<|endoftext|>"


def made_up(path: Path, size: int) -> Path:
    """Stories of 440 bytes, which begin anew after `TOLD` bytes."""
    told, parts = 0, []
    for story in stories():
        parts.append(story + END_OF_TEXT + "\n")
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

        rows = {"prepare, tokenizer trained": timed(options.repeat, whole)}
        dataset = TokenDataset(folder / "whole-0")
        tokenizer = dataset.load_tokenizer()
        prepared, encoded = given_in_turns(options.repeat, text, tokenizer, folder, separator=END_OF_TEXT)
        rows |= {"prepare, tokenizer given": prepared, "encode_file alone": encoded}
        rows["prepare again, nothing changed"] = timed(options.repeat, lambda _: whole(0))
        rows["verify"] = timed(options.repeat, lambda _: dataset.verify())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # before torch, which batches need
        batches = lm_train.Batches(dataset, context=256, batch=8, seed=0)
        reading = timed(options.repeat, lambda _: [batches.batch(step) for step in range(options.steps)])
        lines, in_lines = as_lines(text, folder, size // 4)
        of_lines = {
            path.name.removeprefix("lines"): given_in_turns(
                options.repeat, path, tokenizer, folder, field="text"
            )
            for path in lines
        }
        result = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            "bytes": size,
            "tokens": dataset.tokens(),
            "peak": peak,
        }
    rates = {stage: [size / 1e6 / each for each in taken] for stage, taken in rows.items()}
    best = {stage: min(taken) for stage, taken in rows.items()}
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
        for ending, taken in of_lines.items():
            runs = zip(("prepare, tokenizer given", "encode_file alone"), taken, strict=True)
            kept.append(
                same
                | {"case": f"{in_lines / 1e6:.0f} MB of text in {ending}", "measure": "prepare"}
                | {"runs": {name: [in_lines / 1e6 / each for each in times] for name, times in runs}}
            )
        kept.append(memory | {"runs": {"this process": [result["peak"]]}})
        print(json.dumps({"rows": kept}))
        return
    print(f"{result['machine']}; {size / 1e6:.1f} MB of text, {dataset.tokens():,} tokens")
    for stage, least in best.items():
        print(f"{stage:32} {least:8.2f} s {size / 1e6 / least:8.1f} MB/s")
    for ending, (prepared, encoded) in of_lines.items():
        print(f"{f'{ending}: prepare':32} {min(prepared):8.2f} s {in_lines / 1e6 / min(prepared):8.1f} MB/s")
        print(
            f"{f'{ending}: encode_file':32} {min(encoded):8.2f} s {in_lines / 1e6 / min(encoded):8.1f} MB/s"
        )
    print(f"{'peak memory':32} {result['peak']:8.0f} MB")
    print(f"{'batch of 8 x 256':32} {1e6 * min(reading) / options.steps:8.0f} us")


if __name__ == "__main__":
    main()
