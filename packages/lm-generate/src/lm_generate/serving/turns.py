"""Whose row is next: requests take turns, one row each, so a request of many rows does not hold up a request of one."""

from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Owner = TypeVar("Owner")


class Turns(Generic[Owner, Item]):
    """`add` a request's items; `next` gives them out, one of each request in turn, in the order of arrival."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[Owner, deque[Item]]] = deque()

    def __len__(self) -> int:
        return sum(len(items) for _, items in self._waiting)

    def add(self, owner: Owner, items: Sequence[Item]) -> None:
        if items:
            self._waiting.append((owner, deque(items)))

    def next(self) -> Item:
        """Raises IndexError where nothing waits."""
        owner, items = self._waiting.popleft()
        item = items.popleft()
        if items:
            self._waiting.append((owner, items))
        return item

    def drop(self, owner: Owner) -> None:
        """Forgets what a request still waits for."""
        self._waiting = deque((other, items) for other, items in self._waiting if other is not owner)
