"""What a person sees while a run prepares and learns: a live view on a terminal, plain lines anywhere else.

Nothing here decides anything. `open_display()` picks; both kinds have the same five methods. rich is imported only for a terminal.
"""

from __future__ import annotations

import contextlib
import itertools
import math
import sys
import time
import unicodedata
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_BARS = "▁▂▃▄▅▆▇█"
_REFRESH = 0.2  # seconds between redraws
_SAMPLE_LINES = 16  # of a sample in the live view; fewer on a low terminal
_LINE_SECONDS = 60.0  # seconds without a plain line at most
_LINE_SHARE = 0.05  # share of the run between plain lines


@dataclass(frozen=True, kw_only=True)
class Status:
    """The state of a run at one moment. `total_steps` None: not planned yet. `loss` is smoothed, nats per token."""

    step: int
    total_steps: int | None
    progress: float
    seconds_left: float | None
    loss: float
    bits_per_byte: float
    valid_bits_per_byte: float | None
    lr: float
    tokens_per_second: float


class Display(Protocol):
    def say(self, text: str) -> None:
        """A line that stays."""

    def preparing(self, what: str, done: int, total: int) -> None:
        """How far a step of the preparation is; `total` 0: not known."""

    def training(self, status: Status) -> None:
        """How far the training is."""

    def sample(self, step: int, prompt: str, text: str) -> None:
        """What the model now writes."""

    def close(self) -> None:
        """Leave the screen as it is."""


def open_display() -> Display:
    """A live view where standard output is a terminal that can, else plain lines."""
    if sys.stdout.isatty():
        from rich.console import Console

        console = Console(highlight=False)
        if not console.is_dumb_terminal:
            return Live(console)
    return Plain(sys.stdout)


class Silent:
    """Shows nothing: for `train(config)` called from Python."""

    def say(self, text: str) -> None:
        pass

    def preparing(self, what: str, done: int, total: int) -> None:
        pass

    def training(self, status: Status) -> None:
        pass

    def sample(self, step: int, prompt: str, text: str) -> None:
        pass

    def close(self) -> None:
        pass


class Plain(Silent):
    """Plain lines: one every twentieth of the run, and at least one a minute."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._prepared = ("", -1.0)
        self._step = 0
        self._next_progress = 0.0
        self._last_line = -math.inf

    def say(self, text: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # whoever read the lines went away; the run goes on
            print(text, file=self._stream, flush=True)

    def preparing(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if what != self._prepared[0] or now - self._prepared[1] >= _LINE_SECONDS:
            self._prepared = (what, now)
            share = f" {done / total:.0%}" if total and done else ""
            self.say(f"{what}{share}")

    def training(self, status: Status) -> None:
        now = time.monotonic()
        if status.step < self._step:  # the next run of several
            self._next_progress = 0.0
        self._step = status.step
        if (
            status.progress < self._next_progress
            and status.progress < 1
            and now - self._last_line < _LINE_SECONDS
        ):
            return
        self._last_line = now
        self._next_progress = (math.floor(status.progress / _LINE_SHARE + 1e-9) + 1) * _LINE_SHARE
        left = f"  {clock(status.seconds_left)} left" if status.seconds_left is not None else ""
        self.say(f"{status.progress:4.0%}  step {status.step}  {numbers(status)}{left}")


class Live(Silent):
    """A bar, the numbers, a curve of the loss and a sample that rewrites itself."""

    def __init__(self, console: Console) -> None:
        from rich.live import Live as RichLive

        self._console = console
        self._live = RichLive(console=console, auto_refresh=False, transient=True)
        self._started = False
        self._status: Status | None = None
        self._sample: tuple[int, str, str] | None = None
        self._losses: deque[float] = deque(maxlen=4096)
        self._drawn = 0.0

    def say(self, text: str) -> None:
        from rich.text import Text

        self._console.print(Text(printable(text)))

    def preparing(self, what: str, done: int, total: int) -> None:
        from rich.text import Text

        if self._due() or (total and done >= total):
            line = Text(f"{what} ")
            if total:
                line.append_text(_bar(done / total, 30)).append(f" {done / total:4.0%}")
            self._draw(line)

    def training(self, status: Status) -> None:
        if self._status is not None and status.step < self._status.step:  # the next run of several
            self._losses.clear()
            self._sample = None
        self._status = status
        self._losses.append(status.loss)
        if self._due():
            self._draw(self._view())

    def sample(self, step: int, prompt: str, text: str) -> None:
        self._sample = (step, prompt, text)
        self._draw(self._view())

    def close(self) -> None:
        if self._started:
            self._live.stop()
            self._started = False

    def _due(self) -> bool:
        now = time.monotonic()
        if now - self._drawn < _REFRESH:
            return False
        self._drawn = now
        return True

    def _draw(self, view: RenderableType) -> None:
        if not self._started:
            self._live.start()
            self._started = True
        self._live.update(view, refresh=True)

    def _view(self) -> RenderableType:
        from rich.console import Group
        from rich.panel import Panel
        from rich.text import Text

        width = min(self._console.width, 100)
        parts: list[RenderableType] = []
        if self._status is not None:
            s = self._status
            total = f" of {s.total_steps:,}" if s.total_steps else ""
            left = f"  {clock(s.seconds_left)} left" if s.seconds_left is not None else ""
            bar = _bar(s.progress, max(10, width - 44))
            parts.append(bar.append(f" {s.progress:4.0%}  step {s.step:,}{total}{left}", "bold"))
            parts.append(Text(numbers(s)))
            parts.append(Text(sparkline(list(self._losses), width), "cyan"))
        if self._sample is not None:
            step, prompt, text = self._sample
            lines = max(1, min(_SAMPLE_LINES, self._console.height - 7))
            body = Text(printable(prompt), "bold", no_wrap=True, overflow="ellipsis")
            body.append(printable(text), "not bold")
            title = f"what it writes at step {step:,}"
            panel = Panel(
                body, title=title, title_align="left", border_style="dim", width=width, height=lines + 2
            )
            parts.append(panel)
        return Group(*parts)


def numbers(status: Status) -> str:
    """The figures of a status in one line."""
    held_out = (
        f"  held out {status.valid_bits_per_byte:.3f}" if status.valid_bits_per_byte is not None else ""
    )
    return (
        f"loss {status.loss:.3f}  {status.bits_per_byte:.3f} bits/byte{held_out}  "
        f"lr {status.lr:.2g}  {status.tokens_per_second:,.0f} tokens/s"
    )


def count(number: float) -> str:
    """1234567 -> "1.23 M"."""
    for size, unit in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g} {unit}"
    return f"{number:.0f}"


def clock(seconds: float) -> str:
    """75 -> "1:15", 3675 -> "1:01:15"."""
    whole = max(0, round(seconds))
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def printable(text: str) -> str:
    """The text without characters that command a terminal: a model may write any byte."""
    return "".join(
        c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs") else "\N{REPLACEMENT CHARACTER}"
        for c in text
    )


def sparkline(values: list[float], width: int) -> str:
    """The values, averaged into at most `width` columns, each a bar of eight heights."""
    if not values:
        return ""
    columns = min(width, len(values))
    edges = [round(i * len(values) / columns) for i in range(columns + 1)]
    means = [sum(values[a:b]) / (b - a) for a, b in itertools.pairwise(edges)]
    low, high = min(means), max(means)
    scale = (len(_BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(_BARS[round((mean - low) * scale)] for mean in means)


def _bar(share: float, width: int) -> Any:
    from rich.text import Text

    full = round(min(1.0, max(0.0, share)) * width)
    return Text("━" * full, "green").append("━" * (width - full), "bright_black")
