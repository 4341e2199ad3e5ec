"""torch's flight recorder: the last collectives that a rank began, told when the run ends because ranks are silent.

torch keeps the last ones in memory, of gloo and of NCCL. Here they are read as JSON (its own dump on a time-out is a pickle, and comes
only after NCCL's time-out, which the heart forestalls). Under NCCL it was not run here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, MutableMapping
from typing import Any

import torch

_KEPT, _TOLD = "2000", 3


def record_collectives(environment: MutableMapping[str, str] = os.environ) -> None:
    """Switch the recorder on unless the user has set it; before the process group is made."""
    if not {"TORCH_FR_BUFFER_SIZE", "TORCH_NCCL_TRACE_BUFFER_SIZE"} & environment.keys():
        environment["TORCH_FR_BUFFER_SIZE"] = _KEPT


def last_collectives() -> list[str]:
    """The last few of each backend, oldest first: "gloo:all_reduce 41 [[1000]] started". Empty where torch keeps none."""
    native: Any = torch._C._distributed_c10d
    dumps: dict[str, Callable[[], bytes]] = {
        "gloo": lambda: native._dump_fr_trace_json(True, False),
        "nccl": lambda: native._dump_nccl_trace_json(True, False),
    }
    found = []
    for dump in dumps.values():
        try:
            entries = json.loads(dump()).get("entries", [])
        except (AttributeError, RuntimeError, ValueError):  # a torch built without it
            continue
        found += [_line(entry) for entry in entries[-_TOLD:]]
    return found


def _line(entry: dict[str, Any]) -> str:
    sizes = str(entry.get("input_sizes"))[:80]
    return f"{entry.get('profiling_name')} {entry.get('collective_seq_id')} {sizes} {entry.get('state')}"
