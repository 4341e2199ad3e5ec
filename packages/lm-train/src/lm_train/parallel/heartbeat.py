"""No silent process goes unnamed: every rank's heart beats, rank 0 listens to all of them, and all listen to rank 0.

A heart is a thread that tells the launcher's store, every few seconds, how far the main thread has come: how often it has begun or
ended something that takes all ranks, and whether it now waits for the others. From that follows who is to blame:

    a heart that is silent       its process was stopped, its machine hangs, or its network is gone
    no progress, not waiting     its main thread is stuck in something of its own
    no progress, all waiting     the ranks wait for each other: the network between them hangs

Whoever finds one writes the verdict into the store; then every heart prints it, dumps the stacks of its process to stderr, and ends the
process with code 1. Collectives alone would only time out, after many minutes and without a name. Time is the monotonic clock of the
process that judges, so clocks that jump or differ do no harm.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch.distributed import Store  # type: ignore[attr-defined]

from lm_train.parallel.flight import last_collectives

DEFAULT_SECONDS = 600.0
EXIT_STALLED = 1
_VERDICT = "lm-train/verdict"


@dataclass
class Pulse:
    """What one rank's heart said last, and when (by the listener's clock) each part of it last changed."""

    beats: int = -1
    progress: int = -1
    waiting: bool = False
    patient: bool = False
    beat_at: float = 0.0
    progress_at: float = 0.0

    def hear(self, text: str, now: float) -> None:
        beats, progress, waiting, patient = (int(word) for word in text.split())
        if beats != self.beats:
            self.beats, self.beat_at = beats, now
        if progress != self.progress or patient:
            self.progress, self.progress_at = progress, now
        self.waiting, self.patient = bool(waiting), bool(patient)


def judge(pulses: list[Pulse], now: float, seconds: float) -> str | None:
    """Who has been silent or stuck for `seconds`, in words; None: nobody."""
    silent = [rank for rank, pulse in enumerate(pulses) if now - pulse.beat_at > seconds]
    if silent:
        return f"{_named(silent)} silent for {seconds:g} s: the process was stopped, or its machine or network hangs"
    still = [rank for rank, pulse in enumerate(pulses) if now - pulse.progress_at > seconds]
    stuck = [rank for rank in still if not pulses[rank].waiting]
    if stuck:
        return f"{_named(stuck)} without progress for {seconds:g} s while the others wait"
    if len(still) == len(pulses):
        return (
            f"all {len(pulses)} ranks wait for each other for {seconds:g} s: the network between them hangs"
        )
    return None


class Heart:
    """The heart of one rank. The main thread marks its waits by `waiting()`; `start()` begins the beating."""

    def __init__(
        self,
        store: Store,
        rank: int,
        world: int,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.seconds = DEFAULT_SECONDS
        self.note: Callable[[str], None] | None = None
        """What else is told of the verdict before the process ends: rank 0's log file."""
        self._store, self.rank, self.world, self._clock = store, rank, world, clock
        self._progress, self._waiting, self._patient, self._beats = 0, False, 0, 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)
        self._watched = range(world) if rank == 0 else range(1)
        self._pulses = [Pulse() for _ in self._watched]

    def start(self) -> None:
        """Returns once the first beat is in the store, where the others may look for it."""
        now = self._clock()
        for pulse in self._pulses:
            pulse.beat_at = pulse.progress_at = now
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """The block takes all ranks."""
        self._progress, self._waiting = self._progress + 1, True
        yield
        self._progress, self._waiting = self._progress + 1, False

    @contextlib.contextmanager
    def patience(self) -> Iterator[None]:
        """Inside the block the process must live, and need not come further."""
        self._patient += 1
        try:
            yield
        finally:
            self._patient -= 1

    def _beat(self) -> None:
        self._beats += 1
        text = f"{self._beats} {self._progress} {int(self._waiting)} {int(self._patient > 0)}"
        self._store.set(_key(self.rank), text)

    def _run(self) -> None:
        while not self._ended.wait(min(5.0, self.seconds / 5)):
            try:
                self._beat()
                verdict = self._verdict()
            except RuntimeError as error:  # the store is gone, and its launcher with it
                if self._ended.is_set():
                    return
                verdict = f"the launcher's store cannot be reached ({str(error).splitlines()[0][:120]})"
            if verdict is not None and not self._ended.is_set():
                self._die(verdict)

    def _verdict(self) -> str | None:
        if self._store.check([_VERDICT]):
            return self._store.get(_VERDICT).decode()
        now = self._clock()
        known = [rank for rank in self._watched if self._store.check([_key(rank)])]
        for rank, text in zip(known, self._store.multi_get([_key(rank) for rank in known]), strict=True):
            self._pulses[rank].hear(text.decode(), now)
        verdict = judge(self._pulses, now, self.seconds) if self.rank == 0 else self._judge_rank_0(now)
        if verdict is not None:
            self._store.set(_VERDICT, verdict)
        return verdict

    def _judge_rank_0(self, now: float) -> str | None:
        """Of rank 0 the others only hear whether it lives; how far it comes it judges itself."""
        pulse = self._pulses[0]
        return judge([Pulse(beat_at=pulse.beat_at, progress_at=now)], now, self.seconds)

    def _die(self, verdict: str) -> None:
        print(
            f"rank {self.rank}: {verdict}; the run ends here. The stacks of rank {self.rank}:",
            file=sys.stderr,
            flush=True,
        )
        if self.note is not None:
            with contextlib.suppress(OSError):  # the process ends either way
                self.note(verdict)
        faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
        for line in last_collectives():
            print(f"rank {self.rank}, last collectives: {line}", file=sys.stderr, flush=True)
        os._exit(EXIT_STALLED)


def _key(rank: int) -> str:
    return f"lm-train/heart/{rank}"


def _named(ranks: list[int]) -> str:
    listed = ", ".join(str(rank) for rank in ranks[:8]) + (" and more" if len(ranks) > 8 else "")
    return f"rank {listed} has been" if len(ranks) == 1 else f"ranks {listed} have been"
