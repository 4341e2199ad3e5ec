"""One thread owns all models: between two passes over the weights requests join and leave, and nobody else computes.

    worker = Worker(slots, notify)        notify(deliveries) is called from the thread, once a round
    worker.submit(job); worker.cancel(job)                   from any thread; both take effect before the next pass

A round is one pass of each model that has rows, then one window of one text to score. So every row that has a slot gets
one token a round, whoever asked for it, and a long text to score holds nobody up for longer than one window.
"""

import logging
import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from lm_generate.engine import SHARED_BYTES, Engine
from lm_generate.errors import LmGenerateError
from lm_generate.explain import Explained, Seen
from lm_generate.generate import Batch, Row, Written
from lm_generate.prefix import PrefixStore
from lm_generate.results import Generation
from lm_generate.serving.surprise import TokenScore
from lm_generate.serving.turns import Turns
from lm_generate.stream import Text

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Piece:
    """One token of a row and the text that can now be shown. `account` where it was asked for."""

    row: int
    text: str
    token: Written
    account: Explained | None


@dataclass(frozen=True)
class Ended:
    """The last of a row: the text that was held back, and the whole."""

    row: int
    text: str
    result: Generation


@dataclass(frozen=True)
class Scored:
    """Some more tokens of a text that is scored; `last` ends it."""

    tokens: Sequence[TokenScore]
    last: bool


@dataclass(frozen=True)
class Failed:
    """The job is over."""

    error: Exception


def new_prefixes() -> PrefixStore:
    """What a model keeps of prompts that were read: a prompt that grows, or is asked for again, is read on from there."""
    return PrefixStore(SHARED_BYTES // 4, most=256)


Event = Piece | Ended | Scored | Failed


class WriteJob:
    """The rows of one request, each a `Text` of `engine`; `account` makes the account of a choice."""

    def __init__(
        self,
        engine: Engine,
        texts: Sequence[Text],
        seen: Sequence[list[Seen]] = (),
        account: Callable[[Seen], Explained] | None = None,
    ) -> None:
        self.engine, self.texts, self.seen, self.account = engine, tuple(texts), seen, account

    def explained(self, row: int) -> Explained | None:
        if self.account is None:
            return None
        return self.account(self.seen[row].pop())


class ScoreJob:
    """A text to score: `windows` computes a window at each `next`."""

    def __init__(self, windows: Iterator[Sequence[TokenScore]]) -> None:
        self.windows = windows


Job = WriteJob | ScoreJob
Delivery = tuple[Job, Event]


class Desk:
    """One model's batch, and the rows that wait for a slot in it."""

    def __init__(self, engine: Engine, slots: int) -> None:
        self.slots = slots
        self.turns: Turns[WriteJob, tuple[WriteJob, int]] = Turns()
        self.batch = Batch(engine.decode, slots=slots, prefixes=new_prefixes())
        self.writing: dict[Row, tuple[WriteJob, int]] = {}

    @property
    def busy(self) -> bool:
        return bool(self.writing) or len(self.turns) > 0

    def add(self, job: WriteJob) -> None:
        self.turns.add(job, [(job, row) for row in range(len(job.texts))])

    def drop(self, job: WriteJob) -> None:
        """Frees the slots of a job whose client has gone; its memory goes with the next pass."""
        self.turns.drop(job)
        for text in job.texts:
            text.row.done = True
            self.writing.pop(text.row, None)

    def step(self) -> list[Delivery]:
        while len(self.turns) and len(self.writing) < self.slots:
            job, index = self.turns.next()
            self.batch.add(job.texts[index].row)
            self.writing[job.texts[index].row] = job, index
        deliveries: list[Delivery] = []
        for row, token in self.batch.step():
            if row not in self.writing:  # its request has just failed
                continue
            job, index = self.writing[row]
            text = job.texts[index]
            try:
                if token is not None:
                    piece = text.push(token)
                    deliveries.append((job, Piece(index, piece, token, job.explained(index))))
                if row.done:
                    del self.writing[row]
                    deliveries.append((job, Ended(index, *text.finish())))
            except LmGenerateError as error:  # NaN in the weights, nothing left to choose
                self.drop(job)
                deliveries.append((job, Failed(error)))
        return deliveries


class Worker:
    """The thread. `running` and `waiting` are rows, for whoever wants to know."""

    def __init__(self, slots: int, notify: Callable[[list[Delivery]], None]) -> None:
        self.slots, self.notify = slots, notify
        self.running = self.waiting = self.passes = 0
        self._inbox: queue.SimpleQueue[tuple[Job, bool] | None] = queue.SimpleQueue()
        self._desks: weakref.WeakKeyDictionary[Engine, Desk] = weakref.WeakKeyDictionary()  # of loaded models
        self._scores: deque[ScoreJob] = deque()
        self._thread = threading.Thread(target=self._run, name="lm-generate worker", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def submit(self, job: Job) -> None:
        self._inbox.put((job, True))

    def cancel(self, job: Job) -> None:
        """Nothing more is computed for the job; one that is over is left alone."""
        self._inbox.put((job, False))

    def close(self) -> None:
        """Ends the thread after the pass under way."""
        self._inbox.put(None)
        self._thread.join()

    def _run(self) -> None:
        while self._take():
            deliveries: list[Delivery] = []
            for engine, desk in list(self._desks.items()):
                if desk.batch.busy or desk.busy:
                    deliveries += self._guard(engine, desk)
            deliveries += self._score()
            self.running = sum(len(desk.writing) for desk in self._desks.values())
            self.waiting = sum(len(desk.turns) for desk in self._desks.values())
            if deliveries:
                self.notify(deliveries)

    def _take(self) -> bool:
        """Lets jobs in and out; waits where there is nothing to do. False ends the thread."""
        while True:
            idle = not self._scores and not any(desk.busy or desk.batch.busy for desk in self._desks.values())
            try:
                item = self._inbox.get(block=idle)
            except queue.Empty:
                return True
            if item is None:
                return False
            job, joins = item
            if isinstance(job, ScoreJob):
                if joins:
                    self._scores.append(job)
                elif job in self._scores:
                    self._scores.remove(job)
            elif joins:
                if job.engine not in self._desks:
                    self._desks[job.engine] = Desk(job.engine, self.slots)
                self._desks[job.engine].add(job)
            elif job.engine in self._desks:
                self._desks[job.engine].drop(job)

    def _guard(self, engine: Engine, desk: Desk) -> list[Delivery]:
        """One pass. A fault (no memory, a bug) ends the rows that were in it, and no others."""
        try:
            self.passes += 1
            return desk.step()
        except Exception as error:
            log.exception("a pass failed; the requests in it were answered 500")
            lost = {job for job, _ in desk.writing.values()}
            for job in lost:
                desk.drop(job)
            desk.batch = Batch(engine.decode, slots=self.slots, prefixes=new_prefixes())
            return [(job, Failed(error)) for job in lost]

    def _score(self) -> list[Delivery]:
        """The next window of the text whose turn it is."""
        if not self._scores:
            return []
        job = self._scores.popleft()
        try:
            tokens = next(job.windows, None)
        except LmGenerateError as error:
            return [(job, Failed(error))]
        except Exception as error:
            log.exception("scoring failed; the request was answered 500")
            return [(job, Failed(error))]
        if tokens is None:
            return [(job, Scored((), last=True))]
        self._scores.append(job)
        return [(job, Scored(tokens, last=False))]
