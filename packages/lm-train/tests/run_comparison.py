"""Whether two runs are the same: to rounding, or bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lm_core import load_model
from lm_train.checkpoint import checkpoints
from safetensors.torch import load_file


def figures(run: Path, *keys: str) -> list[dict[str, Any]]:
    """These keys of each row of metrics.jsonl, and its step."""
    found = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: row[key] for key in ("step", *keys) if key in row} for row in found]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_model(checkpoints(run / "checkpoints")[-1]).state_dict()


def state(run: Path) -> dict[str, torch.Tensor]:
    return load_file(next((checkpoints(run / "checkpoints")[-1] / "state").glob("*.safetensors")))


def assert_close(run: Path, other: Path) -> None:
    """Loss, gradient norm and held-out loss of every step, and the weights at the end, differ by at most 1e-5."""
    for key in ("loss", "grad_norm", "valid_loss"):
        ours, theirs = ([row[key] for row in figures(each, key) if key in row] for each in (run, other))
        assert len(ours) == len(theirs)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5)
    torch.testing.assert_close(weights(run), weights(other), rtol=0.0, atol=1e-5)


def same_bits(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []
