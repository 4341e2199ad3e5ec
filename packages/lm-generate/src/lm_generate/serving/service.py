"""What all requests share: the models, the worker and its mail, the limits, the figures, and the way to the end."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

from lm_generate.serving.limits import Limits
from lm_generate.serving.metrics import Metrics
from lm_generate.serving.problems import Problem
from lm_generate.serving.shelf import Shelf
from lm_generate.serving.worker import Delivery, Event, Failed, Job, Worker

Record = dict[str, Any]
STOPPING = "the server is being stopped: ask again when it is back"


class Inbox:
    """The events of one job that have come and were not yet looked at."""

    def __init__(self) -> None:
        self._events: deque[Event] = deque()
        self._fresh = asyncio.Event()

    def put(self, event: Event) -> None:
        self._events.append(event)
        self._fresh.set()

    async def take(self) -> list[Event]:
        """All that have come; waits for the first."""
        await self._fresh.wait()
        self._fresh.clear()
        events = list(self._events)
        self._events.clear()
        return events


class Service:
    """Made once; `start` and `stop` on the event loop. `record` is given one line for each request that is over."""

    def __init__(
        self, shelf: Shelf, limits: Limits, *, record: Callable[[Record], None] | None = None
    ) -> None:
        self.shelf, self.limits, self.record = shelf, limits, record
        self.metrics = Metrics()
        self.stopping = False
        self.requests = 0
        self._inboxes: dict[Job, Inbox] = {}
        self._worker: Worker | None = None

    @property
    def worker(self) -> Worker:
        assert self._worker is not None, "start() comes first"
        return self._worker

    def start(self) -> None:
        loop = asyncio.get_running_loop()

        def notify(deliveries: list[Delivery]) -> None:
            loop.call_soon_threadsafe(self._sort, deliveries)

        self._worker = Worker(self.limits.slots, notify)

    def _sort(self, deliveries: list[Delivery]) -> None:
        for job, event in deliveries:
            if job in self._inboxes:
                self._inboxes[job].put(event)

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """A place among the requests being answered. Raises `Problem` 429 where all are taken, 503 at the end."""
        if self.stopping:
            raise Problem(503, STOPPING, retry_after=5)
        if self.requests >= self.limits.requests:
            raise Problem(
                429,
                f"{self.requests} requests are being answered, which is all that is allowed: come again",
                code="rate_limit_exceeded",
                retry_after=1,
            )
        self.requests += 1
        try:
            yield
        finally:
            self.requests -= 1

    async def events(self, job: Job, deadline: float) -> AsyncGenerator[list[Event], None]:
        """Hands the job to the worker; what comes of it. Leaving early, for whatever reason, frees its slots.

        Raises what made the job fail, and `Problem` 504 at the deadline.
        """
        inbox = self._inboxes[job] = Inbox()
        late = asyncio.get_running_loop().call_at(deadline, inbox.put, Failed(self._too_long()))
        self.worker.submit(job)
        try:
            while True:
                events = await inbox.take()
                for event in events:
                    if isinstance(event, Failed):
                        raise event.error
                yield events
        finally:
            late.cancel()
            del self._inboxes[job]
            self.worker.cancel(job)

    def deadline(self) -> float:
        """The loop's time at which a request that begins now must be answered."""
        return asyncio.get_running_loop().time() + self.limits.request_seconds

    def _too_long(self) -> Problem:
        return Problem(
            504, f"the answer was not ready within {self.limits.request_seconds:g} s: ask for less"
        )

    def tell(self, make: Callable[[], Record]) -> None:
        """Hands the record of a request that is over to whoever keeps a log."""
        if self.record is not None:
            self.record(make())

    def cut(self) -> None:
        """Ends every request under way with an error that says why."""
        for inbox in self._inboxes.values():
            inbox.put(Failed(Problem(503, STOPPING, retry_after=5)))

    def stop(self) -> None:
        """Ends the worker; nothing may be under way any more."""
        self.worker.close()
