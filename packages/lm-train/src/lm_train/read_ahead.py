"""The next batch, or the next documents, are read while the current ones are worked on: a thread that is one step ahead.

The iterators come out of `with`, which ends their threads. A generator that ends threads of its own when it is collected would do so wherever
the collector happens to run: inside the start of another thread that is a deadlock (it was one: an error's traceback held such a generator).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")
Result = TypeVar("Result")


@contextmanager
def one_ahead(items: Iterator[T]) -> Iterator[Iterator[T]]:
    """Gives the same items; while one is worked on, the next is made in a thread. What making it raises is raised here, in its turn."""
    with ThreadPoolExecutor(1, thread_name_prefix="one-ahead") as thread:
        yield _made_ahead(thread, items)


def _made_ahead(thread: ThreadPoolExecutor, items: Iterator[T]) -> Iterator[T]:
    future = thread.submit(_next, items)
    while item := future.result():
        future = thread.submit(_next, items)
        yield item[0]


@contextmanager
def worked_ahead(work: Callable[[T], Result], items: Iterator[T], threads: int) -> Iterator[Iterator[Result]]:
    """Gives `work(item)` of each, in order; while one result is used, those of the next items are made, in so many threads."""
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="worked-ahead") as pool:
        try:
            yield _results(pool, work, items, threads, waiting)
        finally:
            for future in waiting:  # nobody wants them any more
                future.cancel()


def _results(
    pool: ThreadPoolExecutor,
    work: Callable[[T], Result],
    items: Iterator[T],
    threads: int,
    waiting: deque[Future[Result]],
) -> Iterator[Result]:
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > threads:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _next(items: Iterator[T]) -> tuple[T] | None:
    try:
        return (next(items),)
    except StopIteration:
        return None


class ReadAhead(Generic[T]):
    """`read(step)`, and then step + 1 in the background. `read` must be a pure function; its errors are raised by the call that asks for the step."""

    def __init__(self, read: Callable[[int], T]) -> None:
        self._read = read
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
        self._next: tuple[int, Future[T]] | None = None

    def __call__(self, step: int) -> T:
        expected, future = self._next or (None, None)
        found = future.result() if future is not None and expected == step else self._read(step)
        self._next = (step + 1, self._thread.submit(self._read, step + 1))
        return found

    def close(self) -> None:
        """End the thread; what it has read is dropped."""
        self._thread.shutdown(wait=True, cancel_futures=True)
        self._next = None
