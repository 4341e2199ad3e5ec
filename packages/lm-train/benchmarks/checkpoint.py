"""How long a checkpoint stalls training, written at once and in the background, against the disk's own rate.

    python benchmarks/checkpoint.py [FOLDER] [--rounds 5] [--json]

A model of GPT-2's shape (124 M parameters) with AdamW's state, 1.5 GB; the disk's rate is that of a plain file of as many bytes with fsync.
Both are timed until all is on the disk and sealed; removing the one before it is left out of both, and in what training waits for "at once".
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from pathlib import Path

import torch
from lm_core import ModelConfig, Transformer
from lm_core.counts import parameter_count
from lm_tokenizer import Tokenizer
from lm_train.background import Background
from lm_train.checkpoint import save_checkpoint
from lm_train.config import OptimConfig
from lm_train.optimizers import Optimizers
from lm_train.state import RunState

SHAPE = ModelConfig(
    vocab_size=50_257, context=1024, d_model=768, n_layers=12, n_heads=12, tie_embeddings=True
)


def plain_write(folder: Path, size: int) -> float:
    """Seconds that a file of `size` bytes takes, fsync included."""
    block = os.urandom(1 << 24)
    started = time.perf_counter()
    with (folder / "plain").open("wb") as file:
        for _ in range(size >> 24):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    seconds = time.perf_counter() - started
    (folder / "plain").unlink()
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "folder", nargs="?", help="on the disk to measure (default: the system's temporary folder)"
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    model = Transformer(SHAPE)
    optimizers = Optimizers(model, OptimConfig(name="adamw"))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizers.step()
    tokenizer, state = Tokenizer.characters("ab"), RunState()
    size = 4 * parameter_count(SHAPE) + optimizers.state_bytes
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)

        writing: list[float] = []

        def save(background: Background | None) -> float:
            """Seconds that training waits."""
            state.step += 1
            started = time.perf_counter()
            save_checkpoint(
                folder,
                model,
                tokenizer,
                optimizers,
                state,
                seed=0,
                keep=1,
                facts={},
                background=background,
                committed=lambda path, seconds: writing.append(seconds),
            )
            return time.perf_counter() - started

        rounds = []
        background = Background(model, optimizers.state_bytes)
        for _ in range(options.rounds):
            plain, at_once, stall = plain_write(folder, size), save(None), save(background)
            background.wait()
            rounds.append((plain, writing[-2], at_once, stall))
    if options.json:
        plain, written_at_once, at_once, stalls = zip(*rounds, strict=True)
        case = f"{size / 1e9:.2f} GB: 124 M parameters with AdamW's state"
        written = {"checkpoint": written_at_once, "plain file": plain}
        same = {"case": case, "unit": "s", "better": "lower"}
        kept = [
            same | {"measure": "writing", "runs": written},
            same
            | {"measure": "stall of training", "runs": {"in the background": stalls, "at once": at_once}},
        ]
        print(json.dumps({"rows": kept}))
        return
    print(f"{size / 1e9:.2f} GB, {torch.get_num_threads()} threads; seconds by round")
    for label, times in zip(
        ("plain file", "checkpoint", "stall at once", "stall in the background"),
        zip(*rounds, strict=True),
        strict=True,
    ):
        print(f"  {label:24} {'  '.join(f'{t:6.2f}' for t in times)}   median {statistics.median(times):.2f}")


if __name__ == "__main__":
    main()
