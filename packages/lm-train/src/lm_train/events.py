"""`events.jsonl`: what happened to a run, one JSON object a line, for programs that watch it (docs/run-folder.md lists them).

A line is a note: where it cannot be written (a full disk, a folder that is gone) the run goes on, and the next line that can be says how
many are missing. Lines are only ever added, also when a run is resumed from before them.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ENDS = ("ended", "rank-silent")
"""The events after which a process writes no more; a run whose last event is another one was killed, or is at work."""


class Events:
    """Appends to the file at `path`, whole lines, from any thread."""

    def __init__(self, path: Path, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.path, self._clock = path, clock
        self._missing = 0
        self._lock = threading.Lock()

    def tell(self, event: str, **facts: Any) -> None:
        """Add a line. A number that is not finite becomes a word. Raises nothing for a disk that does not take it."""
        with self._lock:
            missing = {"missing": self._missing} if self._missing else {}
            time = self._clock().isoformat(timespec="milliseconds")
            row = {"time": time, "event": event, **{k: _plain(v) for k, v in facts.items()}, **missing}
            try:
                with self.path.open("a", encoding="utf-8", newline="\n") as file:
                    file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            except OSError:
                self._missing += 1
            else:
                self._missing = 0


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value - value != 0:  # an infinity, or no number
        return str(value)
    return str(value) if isinstance(value, Path) else value
