"""Whether the hardest texts take time linear in their length: nanoseconds of processor time a byte, by megabytes.

python benchmarks/linear.py [--megabytes 1 10 100] [--tokenizer FILE ...] [--pattern NAME ...]

Processor time of the whole process, so a busy machine matters little. The last column is the largest size's time a byte
as a multiple of that of Python's standard library. Exit code 1 if a text takes more than `--margin` times as long a byte
at the largest size as at the smallest.
"""

import argparse
import random
import sys
import time

from compare import sample
from lm_tokenizer import PATTERN_NAMES, Tokenizer
from peers import WORST


def texts() -> dict[str, str]:
    """About a megabyte of each kind, to be repeated. Random ones are far longer than what is cached."""
    pick = random.Random(1)
    kinds = {name: "".join(pick.choices(letters, k=1 << 20)) for name, letters in WORST.items()}
    return {"Python": sample(None, 10)} | kinds


def per_byte(tokenizer: Tokenizer, text: str) -> float:
    """Nanoseconds of processor time for each byte; the better of two where that is no long wait."""
    best = float("inf")
    for _ in range(2 if len(text) < 50_000_000 else 1):
        start = time.process_time_ns()
        tokenizer.encode_array(text, disallowed_special=())
        best = min(best, time.process_time_ns() - start)
    return best / len(text.encode())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=float, nargs="+", default=[1, 10])
    parser.add_argument(
        "--tokenizer", nargs="*", help="tokenizer.json files (default: one a pattern, trained)"
    )
    parser.add_argument(
        "--pattern", nargs="*", default=PATTERN_NAMES, choices=PATTERN_NAMES, help="of those that are trained"
    )
    parser.add_argument("--margin", type=float, default=3.0)
    options = parser.parse_args()
    kinds = texts()
    tokenizers = {path: Tokenizer.load(path) for path in options.tokenizer or []} or {
        pattern: Tokenizer.train(texts=kinds.values(), vocab_size=4000, pattern=pattern)
        for pattern in options.pattern
    }
    failed = False
    for name, tokenizer in tokenizers.items():
        print(f"{name}: ns a byte at {' / '.join(map(str, options.megabytes))} MB, times that of Python")
        usual = 0.0
        for kind, part in kinds.items():
            sizes = [int(1e6 * megabytes) for megabytes in options.megabytes]
            rates = [per_byte(tokenizer, (part * (size // len(part) + 1))[:size]) for size in sizes]
            usual = usual or rates[-1]
            wrong = rates[-1] > options.margin * rates[0]
            failed |= wrong
            columns = "".join(f"{rate:8.1f}" for rate in rates)
            print(f"  {kind:15}{columns}{rates[-1] / usual:8.1f}{'  <-- grows' if wrong else ''}", flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
