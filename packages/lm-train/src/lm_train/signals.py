"""Stopping a run kindly: Ctrl-C, SIGTERM and SIGUSR1 (not on Windows) ask it to save and end; a second one ends it at once.

While a run prepares there is nothing to save, so the first signal raises `Stopped` where the program stands; inside
`with stop.deferred():` it only sets `stop.requested`, and the loop looks at that between steps and between windows.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS: tuple[signal.Signals, ...] = (signal.SIGINT, signal.SIGTERM)
if sys.platform != "win32":
    SIGNALS += (signal.SIGUSR1,)
_SHOW_CURSOR = b"\x1b[?25h\n"


class Stopped(BaseException):
    """A stop was asked for while nothing was running that could be saved. Not an Exception: no handler may swallow it."""


class Stop:
    """Whether a stop has been asked for, and by what: a signal (once `installed()`), the clock (once told `after()`), or a caller."""

    def __init__(self) -> None:
        self._requested: str | None = None
        self._deadline, self._limit = math.inf, ""
        self._deferred = False

    @property
    def requested(self) -> str | None:
        """What asked for the stop, in a word or two; None: nothing has."""
        if self._requested is None and time.monotonic() >= self._deadline:
            self._requested = self._limit
        return self._requested

    @requested.setter
    def requested(self, reason: str | None) -> None:
        self._requested = reason

    def asked(self) -> bool:
        """Whether anything has asked for the stop."""
        return self.requested is not None

    def after(self, minutes: float) -> None:
        """Ask for a stop once so many minutes have gone by from now."""
        self._deadline, self._limit = time.monotonic() + 60 * minutes, f"--max-minutes {minutes:g}"

    @contextmanager
    def installed(self) -> Iterator[Stop]:
        """Handle the signals inside the block; only possible in the main thread. Restores what was there before."""
        before = {number: signal.getsignal(number) for number in SIGNALS}
        for number in SIGNALS:
            signal.signal(number, self._handle)
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside the block a signal only sets `requested`."""
        self._deferred = True
        try:
            yield
        finally:
            self._deferred = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._requested is not None:
            if sys.stderr.isatty():
                os.write(2, _SHOW_CURSOR)
            os.write(2, b"second signal: ended at once, without saving\n")
            os._exit(1)
        self._requested = signal.Signals(number).name
        if not self._deferred:
            raise Stopped(self._requested)
