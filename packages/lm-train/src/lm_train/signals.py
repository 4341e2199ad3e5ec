"""Stopping a run kindly: Ctrl-C, SIGTERM and SIGUSR1 ask it to save and end; a second one ends it at once.

While a run prepares there is nothing to save, so the first signal raises `Stopped` where the program stands; inside
`with stop.deferred():` it only sets `stop.requested`, and the loop looks at that between steps and between windows.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
EXIT_STOPPED = 75  # EX_TEMPFAIL: stopped and resumable
_SHOW_CURSOR = b"\x1b[?25h\n"


class Stopped(BaseException):
    """A stop was asked for while nothing was running that could be saved. Not an Exception: no handler may swallow it."""


class Stop:
    """Whether a stop has been asked for, and by which signal. Without `installed()` it never is."""

    def __init__(self) -> None:
        self.requested: str | None = None
        self._deferred = False

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
        if self.requested is not None:
            if sys.stderr.isatty():
                os.write(2, _SHOW_CURSOR)
            os.write(2, b"second signal: ended at once, without saving\n")
            os._exit(1)
        self.requested = signal.Signals(number).name
        if not self._deferred:
            raise Stopped(self.requested)
