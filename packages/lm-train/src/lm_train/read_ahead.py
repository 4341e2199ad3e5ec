"""The next batch is read while the current one is computed: a thread that is one step ahead."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

T = TypeVar("T")


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
