"""`lm-train watch runs/a runs/b`: what another process trains, read from the run's files as they grow.

One run has the live view of `train` itself; several have a line each, side by side. It writes nothing, and ends when the runs do.
"""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lm_train.config import TrainConfig
from lm_train.config_file import read_config
from lm_train.run_folder import RunFolder
from lm_train.view.display import Display, Plain, Silent, Status, clock, open_display

if TYPE_CHECKING:
    from rich.table import Table

SECONDS = 0.5  # between two looks at the files
_SMOOTHING = 0.9  # as the run smooths its own loss
_RECENT_STEPS = 20


class Tail:
    """The rows that a JSON-lines file has gained since the last call; all of them again where the file was replaced (a resumed run)."""

    def __init__(self, path: Path) -> None:
        self._path, self._place, self._file_id = path, 0, -1

    def rows(self) -> list[dict[str, Any]]:
        try:
            with self._path.open("rb") as file:
                self._begin_again_if_replaced(file.fileno())
                file.seek(self._place)
                whole = file.read().rpartition(b"\n")[0]  # a last line that is still being written waits
        except FileNotFoundError:
            return []
        self._place += len(whole) + 1 if whole else 0
        return [json.loads(line) for line in whole.splitlines()]

    def _begin_again_if_replaced(self, descriptor: int) -> None:
        found = os.fstat(descriptor)
        if found.st_ino != self._file_id or found.st_size < self._place:
            self._file_id, self._place = found.st_ino, 0


class Followed:
    """One run as it stands, brought up to date by `look()`."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self._metrics, self._samples = Tail(run.metrics), Tail(run.samples)
        self._config: TrainConfig | None = None
        self._bytes_per_token = 1.0
        self._loss: float | None = None
        self._last: dict[str, Any] = {}
        self._held_out: float | None = None
        self._recent: deque[float] = deque(maxlen=_RECENT_STEPS)

    def look(self, display: Display) -> None:
        """Read what is new, and show it."""
        if self._config is None:
            self._begin()
        for row in self._metrics.rows():
            self._held_out = row.get("valid_bits_per_byte", self._held_out)
            if row.get("loss") is not None:
                self._learn(row)
                display.training(self.status())
        for row in self._samples.rows():
            display.sample(row["step"], row["prompt"], row["text"])

    def status(self) -> Status:
        """The figures of the last step. Only once there is one (`has_begun`)."""
        assert self._config is not None
        assert self._loss is not None
        c, step, seconds = self._config, self._last["step"], self._last["seconds"]
        steps, each = c.budget_steps, sum(self._recent) / len(self._recent)
        if steps is not None:
            progress, left = step / steps, (steps - step) * each
        else:
            budget = 60 * (c.budget_minutes or 0.0)
            progress, left = min(1.0, seconds / budget), max(0.0, budget - seconds)
        return Status(
            step=step,
            total_steps=steps,
            progress=progress,
            seconds_left=left,
            loss=self._loss,
            bits_per_byte=self._loss / math.log(2) / self._bytes_per_token,
            valid_bits_per_byte=self._held_out,
            lr=self._last["lr"],
            tokens_per_second=c.tokens_per_step / each,
        )

    @property
    def has_begun(self) -> bool:
        return self._loss is not None

    def last_line(self) -> str:
        """What became of it."""
        state, step = self.run.status(), self._last.get("step", 0)
        score = f", held out {self._held_out:.3f} bits per byte" if self._held_out is not None else ""
        line = f"{self.run.path}: {state} at step {step:,}{score}"
        if state == "done":
            return f"{line}; report {self.run.report}"
        return f"{line}; continue it with --resume {self.run.path}" if self.run.resumable() else line

    def _begin(self) -> None:
        self._config = read_config([str(self.run.config)])
        split = self.run.facts().get("dataset", {}).get("splits", {}).get("train", {})
        if split.get("bytes") and split.get("tokens"):
            self._bytes_per_token = split["bytes"] / split["tokens"]

    def _learn(self, row: dict[str, Any]) -> None:
        if row["step"] <= self._last.get("step", 0):  # resumed: the rows come again
            self._loss = None
        old, loss = self._loss, row["loss"]
        self._loss = loss if old is None else _SMOOTHING * old + (1 - _SMOOTHING) * loss
        assert self._config is not None
        self._recent.append(self._config.tokens_per_step / row["tokens_per_second"])
        self._last = row


class Named(Plain):
    """Plain lines that begin with the run's name."""

    def __init__(self, name: str) -> None:
        super().__init__(sys.stdout)
        self._name = name

    def say(self, text: str) -> None:
        super().say(f"{self._name:20} {text}")


def watch(
    runs: Sequence[RunFolder],
    *,
    stopped: Callable[[], bool],
    pause: Callable[[], None] = lambda: time.sleep(SECONDS),
) -> None:
    """Show the runs until none of them is running, or `stopped()` says so."""
    followed = [Followed(run) for run in runs]
    if len(runs) == 1 or not sys.stdout.isatty():
        displays = [open_display() if len(runs) == 1 else Named(run.name) for run in runs]
        try:
            _follow(followed, displays, stopped, pause, lambda: None)
        finally:
            for display in displays:
                display.close()
    else:
        from rich.live import Live

        with Live(auto_refresh=False) as live:
            unseen = [Silent() for _ in runs]
            _follow(followed, unseen, stopped, pause, lambda: live.update(table(followed), refresh=True))
    for each in followed:
        print(each.last_line(), flush=True)


def _follow(
    followed: Sequence[Followed],
    displays: Sequence[Display],
    stopped: Callable[[], bool],
    pause: Callable[[], None],
    draw: Callable[[], None],
) -> None:
    while True:
        running = any(
            [each.run.status() == "running" for each in followed]
        )  # before the look: what comes last is seen
        for each, display in zip(followed, displays, strict=True):
            each.look(display)
        draw()
        if not running or stopped():
            return
        pause()


def table(followed: Sequence[Followed]) -> Table:
    """A line for each run."""
    from rich.table import Table
    from rich.text import Text

    found = Table("run", "", "step", "loss", "held out", "tokens/s", "left", box=None, pad_edge=False)
    for each in followed:
        if not each.has_begun:
            found.add_row(each.run.name, "no step yet")
            continue
        s = each.status()
        held_out = "" if s.valid_bits_per_byte is None else f"{s.valid_bits_per_byte:.3f} bits/byte"
        left = "" if s.seconds_left is None else clock(s.seconds_left)
        share = Text(f"{s.progress:4.0%}", "bold")
        found.add_row(
            each.run.name,
            share,
            f"{s.step:,}",
            f"{s.loss:.3f}",
            held_out,
            f"{s.tokens_per_second:,.0f}",
            left,
        )
    return found
