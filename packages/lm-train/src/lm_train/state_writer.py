"""How torch's distributed checkpoint brings a rank's tensors to the disk here: the files of its safetensors storage, written as lm-core writes them.

torch's own storage makes one block of memory of the whole file first, and says nothing of what it wrote: 1 GB of state took four times as long.
What is in the file, and who reads it, is the same (a test reads each with the other).
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from lm_core.manifest import FileEntry
from lm_core.tensor_writer import write_safetensors
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.storage import WriteResult
from torch.futures import Future


class StateWriter(HuggingFaceStorageWriter):
    """Writes what this rank has to write into `folder`; `written` then has the entries of its files by name."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder), save_distributed=True)
        self.folder = folder
        self.written: dict[str, FileEntry] = {}

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        tensors: dict[str, torch.Tensor] = {}
        offsets = {}
        for item in plan.items:
            tensor, part = planner.resolve_data(item), item.tensor_data
            assert isinstance(tensor, torch.Tensor)  # what is none is in state.json
            assert part is not None
            tensors[item.index.fqn] = tensor
            offsets[item.index.fqn] = {"saved_offsets": part.chunk.offsets}  # in the whole tensor
        if tensors:
            name = f"shard-{plan.storage_data['shard_index']:05}-model-00001-of-00001.safetensors"
            metadata = {"DCP_SHARDING_INFO": json.dumps(offsets), "DCP_VERSION": "1.0", "format": "pt"}
            self.written[name] = write_safetensors(self.folder / name, tensors, metadata)
        done: Future[list[WriteResult]] = Future()
        done.set_result([])
        return done
