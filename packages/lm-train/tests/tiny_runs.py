"""What the loop's tests train: a model of some thousand weights on a dataset of some thousand tokens."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from lm_train.config import (
    CheckpointConfig,
    EvaluateConfig,
    ModelOptions,
    OptimConfig,
    SampleConfig,
    ScheduleConfig,
    TrainConfig,
)

WORDS = [
    "the",
    "a",
    "small",
    "old",
    "green",
    "cat",
    "dog",
    "bird",
    "house",
    "tree",
    "saw",
    "found",
    "made",
    "took",
    "gave",
    "ran",
    "and",
    "then",
    "while",
    "under",
    "over",
]


def tiny_text(characters: int = 20_000, seed: int = 0) -> str:
    """Sentences of simple words, in documents of some sentences."""
    rng = random.Random(seed)
    parts: list[str] = []
    size = 0
    while size < characters:
        sentence = " ".join(rng.choices(WORDS, k=rng.randint(3, 9))).capitalize() + "."
        parts.append(sentence + ("<|endoftext|>\n" if rng.random() < 0.2 else " "))
        size += len(parts[-1])
    return "".join(parts)


def tiny_corpus(folder: Path) -> Path:
    """A text file to train on."""
    path = folder / "corpus.txt"
    path.write_text(tiny_text(), encoding="utf-8")
    return path


def tiny_config(folder: Path, **changes: Any) -> TrainConfig:
    """A run of twelve steps in `folder`, on one thread."""
    settings: dict[str, Any] = {
        "data": str(folder / "corpus.txt"),
        "vocab_size": 300,
        "batch": 2,
        "name": "tiny",
        "out": str(folder / "runs"),
        "datasets": str(folder / "datasets"),
        "device": "cpu",
        "threads": 1,
        "model": ModelOptions(context=16, d_model=16, n_layers=2, n_heads=2, d_ff=32),
        "optim": OptimConfig(momentum_warmup=6),
        "schedule": ScheduleConfig(warmup=2),
        "evaluate": EvaluateConfig(every=4, windows=4, final_windows=8),
        "samples": SampleConfig(every=6, tokens=5),
        "checkpoint": CheckpointConfig(every=4),
    }
    budget = {} if {"minutes", "steps", "tokens"} & changes.keys() else {"steps": 12}
    return TrainConfig(**{**settings, **budget, **changes})


def rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file without what depends on the clock."""
    clocked = ("seconds", "tokens_per_second")
    return [
        {k: v for k, v in json.loads(line).items() if k not in clocked}
        for line in path.read_text().splitlines()
    ]
