"""What a recipe comes to on this machine: held-out bits per byte over its budget, and its speed, as rows of a Markdown table.

    python recipes.py nano shakespeare-chars [--text shakespeare=FILE] [--minutes N] [--threads N]

`--text NAME=FILE` reads a text from a file where the recipe would download it; `--minutes` replaces each recipe's budget.
"""

import argparse
import json
import tempfile
from dataclasses import replace
from pathlib import Path

from lm_train import TrainConfig, train
from lm_train.config_file import read_config
from lm_train.device import choose_device, machine_card

SHARES = (1 / 3, 2 / 3, 1.0)


def measured(config: TrainConfig) -> tuple[list[float], float]:
    """Bits per byte at the `SHARES` of the training time, and tokens a second."""
    result = train(config)
    rows = [json.loads(line) for line in (result.folder / "metrics.jsonl").read_text().splitlines()]
    curve = [(row["seconds"], row["valid_bits_per_byte"]) for row in rows if row.get("valid_bits_per_byte")]
    nearest = [min(curve, key=lambda point: abs(point[0] - share * result.seconds))[1] for share in SHARES]
    return nearest, result.tokens / result.seconds


def main() -> None:
    parser = argparse.ArgumentParser(description="What recipes come to on this machine.")
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--text", action="append", default=[], help="NAME=FILE")
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--threads", type=int)
    arguments = parser.parse_args()
    texts = dict(each.split("=", 1) for each in arguments.text)
    card = machine_card(choose_device("auto", "auto", arguments.threads))
    print(f"{card['device']}; {card['processor']}\n")
    print("| recipe | minutes | bits per byte at 1/3 | 2/3 | end | tokens/s |\n|---|---|---|---|---|---|")
    for name in arguments.recipes:
        config = read_config([name])
        with tempfile.TemporaryDirectory() as folder:
            changed = {
                "data": str(Path(texts[config.data]).resolve()) if config.data in texts else config.data,
                "threads": arguments.threads or config.threads,
                "out": f"{folder}/runs",
                "datasets": f"{folder}/datasets",
            }
            if arguments.minutes:
                changed |= {"minutes": arguments.minutes, "tokens": None, "steps": None}
            config = replace(config, **changed)
            bits, speed = measured(config)
        shown = " | ".join(f"{value:.3f}" for value in bits)
        print(f"| `{name}` | {config.minutes:g} | {shown} | {speed:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
