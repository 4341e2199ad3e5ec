"""`--profile`: where the time of some steps goes, as a table of a step's parts and a trace of every operation.

    runs/<name>/profile/trace.json    for https://ui.perfetto.dev or chrome://tracing
    runs/<name>/profile/table.txt     the parts of a step, and the dearest operations
    runs/<name>/profile/memory.txt    on a GPU: what its allocator holds, by kind
    runs/<name>/profile/memory.json   on a GPU: every block of it, and who asked for it

Profiled are five steps after the first ten. Without the option `ranges` is a function that does nothing.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

Ranges = Callable[[str], contextlib.AbstractContextManager[object]]
FIRST_STEP, STEPS = 10, 5
PARTS = ("read", "forward", "backward", "clip", "update")
_OPERATIONS = 20  # rows of the second table
_MEMORY_EVENTS = 100_000
_NOTHING: contextlib.AbstractContextManager[object] = contextlib.nullcontext()


def no_ranges(part: str) -> contextlib.AbstractContextManager[object]:
    """Marks nothing."""
    return _NOTHING


def ranges(part: str) -> contextlib.AbstractContextManager[object]:
    """Marks a part of a step for the profiler."""
    found: contextlib.AbstractContextManager[object] = torch.profiler.record_function(part)
    return found


class StepProfiler:
    """Profiles steps 10 to 14 of a process (counted from where it began); `say` gets the table's lines once it is done."""

    def __init__(self, folder: Path, say: Callable[[str], None], memory: MemoryRecord | None = None) -> None:
        self.folder, self.say, self.memory = folder, say, memory
        self._seen = 0
        self._profile: torch.profiler.profile | None = None

    @contextlib.contextmanager
    def step(self) -> Iterator[None]:
        """Around each step."""
        if self._seen == FIRST_STEP:
            # There is one cycle only; without acc_events torch 2.10 warns of others.
            self._profile = torch.profiler.profile(acc_events=True)
            self._profile.start()
            if self.memory is not None:
                self.memory.start()
        yield
        self._seen += 1
        if self._profile is not None and self._seen == FIRST_STEP + STEPS:
            self.close()

    def close(self) -> None:
        """Write what has been profiled, also of fewer steps where the run ends early."""
        if self._profile is None:
            return
        profile, self._profile = self._profile, None
        profile.stop()
        steps = self._seen - FIRST_STEP
        self.folder.mkdir(exist_ok=True)
        profile.export_chrome_trace(str(self.folder / "trace.json"))
        lines = part_lines(profile, max(1, steps))
        operations = profile.key_averages().table(sort_by="self_cpu_time_total", row_limit=_OPERATIONS)
        (self.folder / "table.txt").write_text("\n".join([*lines, "", operations]), encoding="utf-8")
        others = [] if self.memory is None else self.memory.write(self.folder)
        for line in [
            *lines,
            f"profile    {', '.join([str(self.folder / 'trace.json'), 'table.txt', *others])}",
        ]:
            self.say(line)


class MemoryRecord:
    """What a GPU's allocator does between `start` and `write`; `memory` is `torch.cuda.memory`.

    As JSON: torch's own snapshot file is a pickle, which no package here writes.
    """

    def __init__(self, memory: Any) -> None:
        self._memory = memory

    def start(self) -> None:
        self._memory._record_memory_history(max_entries=_MEMORY_EVENTS)

    def write(self, folder: Path) -> list[str]:
        """Write both files; gives their names."""
        (folder / "memory.txt").write_text(self._memory.memory_summary(), encoding="utf-8")
        snapshot = json.dumps(self._memory._snapshot(), default=str)
        (folder / "memory.json").write_text(snapshot, encoding="utf-8")
        self._memory._record_memory_history(enabled=None)
        return ["memory.txt", "memory.json"]


def part_lines(profile: torch.profiler.profile, steps: int) -> list[str]:
    """Milliseconds a step of each of its parts, by the CPU's clock; where a GPU computes, what it was busy with too."""
    averages = {event.key: event for event in profile.key_averages()}
    found = [(part, averages[part]) for part in PARTS if part in averages]
    whole = sum(event.cpu_time_total for _, event in found) or 1.0
    lines = [f"a step     {whole / steps / 1000:.2f} ms in its parts, mean of {steps} steps"]
    for part, event in found:
        gpu = (
            f"   {event.device_time_total / steps / 1000:9.2f} ms on the GPU"
            if event.device_time_total
            else ""
        )
        lines.append(
            f"  {part:8} {event.cpu_time_total / steps / 1000:9.2f} ms  {event.cpu_time_total / whole:6.1%}{gpu}"
        )
    return lines
