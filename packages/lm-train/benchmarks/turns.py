"""Programs that take turns: each runs in a thread of its own, and only the one whose turn it is runs."""

import threading
from collections import deque
from collections.abc import Callable, Mapping


class Turns:
    """Who may run. A program calls `pass_on` to give the turn to the next one, which returns when it has it again."""

    def __init__(self, names: list[str]) -> None:
        self._order = deque(names)
        self._changed = threading.Condition()
        self._fault: BaseException | None = None

    def wait(self, name: str) -> None:
        """Until it is its turn."""
        with self._changed:
            self._changed.wait_for(lambda: self._fault or self._order[0] == name)
            if self._fault:
                raise SystemExit(1)  # the fault itself is raised in the main thread

    def pass_on(self, name: str) -> None:
        with self._changed:
            self._order.rotate(-1)
            self._changed.notify_all()
        self.wait(name)

    def leave(self, name: str, fault: BaseException | None = None) -> None:
        """It has ended; with a fault, so do all others."""
        with self._changed:
            self._order.remove(name)
            self._fault = self._fault or fault
            self._changed.notify_all()

    def run(self, programs: Mapping[str, Callable[[], None]]) -> None:
        """All of them to their ends: the first in this thread, the only one that may handle signals. Raises the first fault."""
        (first, begin), *others = programs.items()
        threads = [
            threading.Thread(target=self._one, args=(name, program), daemon=True) for name, program in others
        ]
        for thread in threads:
            thread.start()
        self._one(first, begin)
        for thread in threads:
            thread.join()
        if self._fault:
            raise self._fault

    def _one(self, name: str, program: Callable[[], None]) -> None:
        fault: BaseException | None = None
        try:
            self.wait(name)
            program()
        except BaseException as error:
            fault = error
        self.leave(name, fault)
