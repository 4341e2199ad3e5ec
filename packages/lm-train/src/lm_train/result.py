"""What a run comes to: its figures and where its files are, as `train` returns it and as rank 0 tells the other ranks."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """How a run ended. `status` is "done" or "stopped"; losses in nats per token; `seconds` of training."""

    folder: Path
    status: str
    step: int
    tokens: int
    seconds: float
    loss: float | None
    valid_loss: float | None
    valid_bits_per_byte: float | None
    samples: tuple[tuple[str, str], ...]
    checkpoint: Path
    report: Path
    overfit_since: int | None
    """The step of the lowest held-out loss, where it has risen by more than a hundredth since."""
    best_checkpoint: Path | None
    """The checkpoint of the lowest held-out loss, where it was asked for (`checkpoint.best`)."""

    def to_json(self) -> str:
        """What rank 0 tells the other ranks."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_json(cls, text: str) -> RunResult:
        values = json.loads(text)
        for name in ("folder", "checkpoint", "report", "best_checkpoint"):
            values[name] = None if values[name] is None else Path(values[name])
        return cls(**values | {"samples": tuple((prompt, text) for prompt, text in values["samples"])})
