"""Everything that a run works with: data, model, optimizers, budget, counters, files. opening.py puts it together."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lm_core import Transformer
from lm_tokenizer import Tokenizer

from lm_train.background import Background
from lm_train.batches import ValidationWindows
from lm_train.budget import Budget, Pace
from lm_train.config import TrainConfig
from lm_train.config_file import to_settings
from lm_train.corpus import MixedIn
from lm_train.dataset import TokenDataset
from lm_train.device import Device
from lm_train.evaluate import Evaluation
from lm_train.mixture import data_fingerprint, mean_bytes_per_token, training_batches
from lm_train.nvtx import both, marking, nvtx_level
from lm_train.optimizers import Optimizers
from lm_train.parallel.exchange import Exchange
from lm_train.parallel.ranks import Ranks
from lm_train.parallel.sharding import REPLICATE
from lm_train.profiling import MemoryRecord, Ranges, StepProfiler, no_ranges, ranges
from lm_train.read_ahead import ReadAhead
from lm_train.run_folder import RunFolder
from lm_train.samples import prompts_for
from lm_train.state import RunState
from lm_train.view.display import Display, Status
from lm_train.view.metrics import JsonLines, Loggers, Row
from lm_train.view.trackers import Trackers

_RECENT_STEPS = 20  # steps of which what is shown is the mean
_LOOKED_AT_EVERY = (
    20  # steps: a plan that may have to be made again; the median of a pace is not for each step
)


@dataclass
class Session:
    """A run at work. `state` moves on with every step; the rest stays."""

    config: TrainConfig
    run: RunFolder
    dataset: TokenDataset
    tokenizer: Tokenizer
    device: Device
    model: Transformer
    optimizers: Optimizers
    mixed: tuple[MixedIn, ...] = ()
    ranks: Ranks = field(default_factory=Ranks)
    sharding: str = REPLICATE
    state: RunState = field(default_factory=RunState)
    metrics: Loggers = field(default_factory=lambda: Loggers([]))
    lines: tuple[JsonLines, JsonLines] = field(init=False)
    """metrics.jsonl, which is one of `metrics`, and samples.jsonl."""
    closing: bool = False
    trackers: Trackers = field(default_factory=Trackers)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        c = self.config
        self.budget = Budget.of(c)
        self.recent: deque[float] = deque(maxlen=_RECENT_STEPS)
        self.pace = Pace(self.budget.seconds)
        self.prompts = prompts_for(c.samples, c.data)
        self.batches = training_batches(c, self.dataset, self.mixed)
        rows = self.ranks.rows(c.batch)
        self.ahead = ReadAhead(lambda step: self.batches.rows(step, *rows))
        memory = MemoryRecord(torch.cuda.memory) if self.device.kind == "cuda" else None
        self.profiler = StepProfiler(self.run.path / "profile", self.run.log, memory) if c.profile else None
        self.ranges: Ranges = both(
            ranges if c.profile else no_ranges, marking(self.nvtx_level, torch.cuda.nvtx, self.model)
        )
        state_bytes = self.optimizers.state_bytes
        self.background = Background(self.model, state_bytes) if c.checkpoint.background else None
        self.exchange = (
            None if self.ranks.alone or self.sharding != REPLICATE else Exchange(self.model, self.ranks)
        )
        self.bytes_per_token = mean_bytes_per_token(self.dataset, self.mixed)

    @property
    def nvtx_level(self) -> str | None:
        """What NVTX marks; nothing without a GPU."""
        return nvtx_level() if self.device.kind == "cuda" else None

    def windows(self, count: int) -> ValidationWindows | None:
        """At most `count` held-out windows; None where no text was held out."""
        if "valid" not in self.dataset.splits:
            return None
        c = self.config
        batch = max(1, c.batch // self.ranks.world)
        return ValidationWindows(
            self.dataset, context=c.model.context, batch=batch, windows=count, apart=c.keeps_apart
        )

    @property
    def closing_windows(self) -> int:
        """Windows of the closing evaluation: fewer than configured where they would take more than a tenth of a time budget."""
        evaluate = self.config.evaluate
        if self.budget.seconds is None or not self.recent:
            return evaluate.final_windows
        window_seconds = self.step_seconds / self.config.batch / 3  # no backward pass
        return max(
            evaluate.windows, min(evaluate.final_windows, int(self.budget.seconds / 10 / window_seconds))
        )

    @property
    def step_seconds(self) -> float:
        """What a step takes now, in seconds."""
        return sum(self.recent) / len(self.recent) if self.recent else 0.0

    @property
    def progress(self) -> float:
        s = self.state
        return self.budget.progress(s.step, s.seconds, s.total_steps)

    @property
    def seconds_left(self) -> float | None:
        """Expected training time to the end; None before any step was timed."""
        s = self.state
        if s.total_steps is None:
            return max(0.0, self.budget.seconds - s.seconds) if self.budget.seconds else None
        return (s.total_steps - s.step) * self.step_seconds if self.recent else None

    def timed(self, seconds: float) -> None:
        """A step took so long."""
        self.recent.append(seconds)
        self.pace.add(seconds)
        self.state.seconds += seconds

    def plan(self) -> bool:
        """Makes the plan of a time budget when its time has come, or another where steps take another time; whether it did."""
        s, before = self.state, self.state.total_steps
        if before is None:
            s.total_steps = self.budget.plan(s.step, s.seconds, self.pace.mean)
        elif s.step % _LOOKED_AT_EVERY == 0:
            s.total_steps = self.budget.planned_again(s.step, s.seconds, self.pace, before) or before
        if s.total_steps == before or self.budget.steps is not None:
            return False
        instead = f" instead of {before:,}: a step takes {self.pace.mean:.3g} s now" if before else ""
        self.run.log(f"plan: {s.total_steps:,} steps, made at step {s.step:,}{instead}")
        self.pace.begin_again()
        return True

    def facts(self) -> dict[str, Any]:
        """What a checkpoint's manifest says of the run."""
        return {
            "tokenizer_fingerprint": self.tokenizer.fingerprint,
            "dataset_fingerprint": data_fingerprint(self.dataset, self.mixed),
            "config_hash": config_hash(self.config),
        }

    def log(self, **values: float | int | str | None) -> None:
        """A row of metrics.jsonl, with where the run stands."""
        s = self.state
        self.metrics.log({"step": s.step, "tokens": s.tokens, "seconds": round(s.seconds, 4), **values})

    def note_rows(self) -> None:
        """What is in the run's files now stays there, whatever a resumed run computes again; but not what is told after `close_rows`."""
        if not self.closing:
            self.state.metrics_rows, self.state.samples_rows = (lines.rows for lines in self.lines)

    def close_rows(self) -> None:
        """What comes now is the run's closing: until it has ended, a resumed run does all of it again."""
        self.note_rows()
        self.closing = True

    def log_sample(self, prompt: str, text: str) -> None:
        """A row of samples.jsonl."""
        row: Row = {"step": self.state.step, "tokens": self.state.tokens, "prompt": prompt, "text": text}
        self.lines[1].log(row)
        self.trackers.log(row)

    def hand_over(self, checkpoint: Path) -> None:
        """Give the trackers the files of a run that is done."""
        for kind, path in (
            ("checkpoint", checkpoint),
            ("tokenizer", checkpoint / "tokenizer.json"),
            ("samples", self.run.samples),
        ):
            self.trackers.keep(kind, path)

    def committed(self, checkpoint: Path, seconds: float) -> None:
        """Tell programs that watch the run of a checkpoint."""
        step = int(checkpoint.name.removeprefix("step-"))
        self.run.events.tell("saved", step=step, checkpoint=checkpoint.name, seconds=round(seconds, 3))

    def skipped(self, loss: float, grad_norm: float) -> None:
        """Count a step that updated nothing, and tell of it."""
        self.state.skipped += 1
        self.run.events.tell("skipped", step=self.state.step, loss=loss, grad_norm=grad_norm)

    def say(self, display: Display, text: str) -> None:
        """A line for the person and for log.txt."""
        self.run.log(text)
        display.say(text)

    def status(self, held_out: Evaluation | None) -> Status:
        """The figures that a display shows."""
        s = self.state
        loss = s.smoothed_loss if s.smoothed_loss is not None else math.nan
        return Status(
            step=s.step,
            total_steps=s.total_steps,
            progress=self.progress,
            seconds_left=self.seconds_left,
            loss=loss,
            bits_per_byte=loss / math.log(2) / self.bytes_per_token,
            valid_bits_per_byte=held_out.bits_per_byte if held_out else None,
            lr=self.optimizers.lr,
            tokens_per_second=self.batches.tokens_per_step / self.step_seconds,
        )

    def settle(self, *, wait: bool) -> None:
        """Raise what went wrong with a checkpoint that is written in the background; with `wait`, once all are written."""
        if self.background is not None:
            self.background.wait() if wait else self.background.check()

    def profiled(self) -> contextlib.AbstractContextManager[object]:
        """Around a step: what the profiler sees, if there is one."""
        return contextlib.nullcontext() if self.profiler is None else self.profiler.step()

    def close(self) -> None:
        if self.profiler is not None:
            self.profiler.close()
        self.ahead.close()
        if self.background is not None:
            self.background.join()
        self.metrics.close()
        self.lines[1].close()


def config_hash(config: TrainConfig) -> str:
    """SHA-256 of the settings, in JSON with sorted keys."""
    return hashlib.sha256(json.dumps(to_settings(config), sort_keys=True).encode()).hexdigest()
