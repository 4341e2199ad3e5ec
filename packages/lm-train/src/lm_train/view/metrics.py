"""Where numbers go while a run learns: `metrics.jsonl` always, standard output and other programs (trackers.py) where asked.

A row is one flat JSON object; docs/run-folder.md lists the keys and their units. A logger is anything with `log(row)` and `close()`.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Protocol, TextIO

Row = dict[str, float | int | str | None]


class Logger(Protocol):
    def log(self, row: Row) -> None: ...
    def close(self) -> None: ...


class JsonLines:
    """One JSON object a line, flushed line by line, so that a killed run leaves all but at most a torn last line."""

    def __init__(self, path: Path) -> None:
        self.rows = len(read_lines(path))
        self._file: TextIO = path.open("a", encoding="utf-8", newline="\n")

    def log(self, row: Row) -> None:
        self._file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
        self._file.flush()
        self.rows += 1

    def close(self) -> None:
        self._file.close()


class ConsoleJson:
    """The rows of metrics.jsonl on a stream as well, for whoever collects a program's output; a reader that went away stops nothing."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def log(self, row: Row) -> None:
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(row, ensure_ascii=False, allow_nan=False), file=self._stream, flush=True)

    def close(self) -> None:
        pass


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file; a torn last line (a killed run) is left out. A missing file has none."""
    if not path.is_file():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def drop_after(path: Path, step: int, count: int | None = None) -> int:
    """Remove rows whose step is past `step`, and all but the first `count`, for a resumed run computes them again; gives their number."""
    rows = read_lines(path)
    kept = [row for row in rows[:count] if row.get("step", 0) <= step]
    if path.is_file():
        aside = path.with_name(path.name + ".tmp")
        aside.write_text(
            "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in kept),
            encoding="utf-8",
            newline="\n",
        )
        os.replace(aside, path)
    return len(rows) - len(kept)


class Loggers:
    """Several loggers as one."""

    def __init__(self, loggers: Iterable[Logger]) -> None:
        self._loggers = list(loggers)

    def log(self, row: Row) -> None:
        for logger in self._loggers:
            logger.log(row)

    def close(self) -> None:
        for logger in self._loggers:
            logger.close()
