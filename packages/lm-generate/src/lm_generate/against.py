"""Whether a model says the same here and in transformers: `lm-generate verify FOLDER --against transformers`.

Both read the same folder in float32. The texts are random tokens, drawn from a fixed seed, with what is most likely behind them;
ours are read token by token by the decoder that writes texts (`lm_generate.decoder`), theirs in one pass.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lm_generate.decoder import Logits
from lm_generate.engine import Engine
from lm_generate.errors import ModelSourceError, SettingError
from lm_generate.rng import uniform

TEXTS, GIVEN, WRITTEN = 4, 32, 32
TOLERANCE = 1e-3
"""Of a logit, where the largest are about 1 to 30; float32 in another order of sums differs by 1e-5 to 1e-4."""


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What both said of the same texts."""

    difference: float
    """The largest between two logits; NaN where one of them is."""
    largest: float
    """The largest logit's absolute value, to read the difference against."""
    positions: int
    """Places compared, each with vocab_size logits."""
    written: int
    """Tokens that we wrote greedily."""
    same: int
    """Those of them that are transformers' likeliest there, or as likely within the tolerance."""
    tolerance: float

    @property
    def agrees(self) -> bool:
        return self.difference <= self.tolerance and self.same == self.written


def compare(engine: Engine, folder: Path, *, tolerance: float = TOLERANCE) -> Compared:
    """An engine in float32 on the CPU, and the folder as transformers reads it.

    Raises `SettingError` without transformers or for a tolerance below 0, `ModelSourceError` where it cannot read the folder.
    """
    if not (math.isfinite(tolerance) and tolerance >= 0):
        raise SettingError(f"tolerance must be a number of at least 0, got {tolerance}")
    theirs = _load(folder)
    difference = largest = 0.0
    positions = same = written = 0
    for text in range(TEXTS):
        ids, ours = _read_and_write(engine, text)
        with torch.inference_mode():
            found = theirs(torch.tensor([ids])).logits[0].float().numpy()  # (len(ids), vocab_size)
        found = found[:, : engine.config.vocab_size]
        difference = float(np.maximum(difference, np.abs(found - ours).max()))  # NaN stays
        largest = max(largest, float(np.abs(ours).max()))
        positions += len(ids)
        given = len(ids) - _counts(engine)[1]
        for place in range(given, len(ids)):
            before = found[place - 1]
            same += int(before[ids[place]] >= before.max() - tolerance)
            written += 1
    return Compared(
        difference=difference, largest=largest, positions=positions, written=written, same=same, tolerance=tolerance
    )  # fmt: skip


def _counts(engine: Engine) -> tuple[int, int]:
    """Tokens given and written, so that both fit into the context."""
    context = engine.config.context
    written = min(WRITTEN, context // 2)
    return max(1, min(GIVEN, context - written)), written


def _read_and_write(engine: Engine, text: int) -> tuple[list[int], Logits]:
    """The ids of one text, and our logits behind each of them."""
    given, written = _counts(engine)
    cache = engine.decode.new_cache(given + written)
    ids = [int(uniform(0, text, place) * engine.config.vocab_size) for place in range(given)]
    logits: list[Logits] = []
    for place in range(given + written):
        if place >= given:
            ids.append(int(logits[-1].argmax()))
        logits.append(engine.decode([(cache, [ids[place]])])[0])
    return ids, np.stack(logits)


def _load(folder: Path) -> torch.nn.Module:
    try:
        from transformers import AutoModelForCausalLM
    except ImportError as error:
        raise SettingError("--against transformers needs it installed: pip install transformers") from error
    try:
        model: torch.nn.Module = AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True
        )
    except (OSError, ValueError, KeyError) as error:  # an architecture that it does not have
        reason = str(error).strip().splitlines()[0]
        raise ModelSourceError(f"transformers cannot load {folder}: {reason}") from error
    return model.eval()
