"""What a checkpoint holds besides the model: optimizer state and random state as safetensors, the counters as JSON.

    state/shard-00001-model-00001-of-00001.safetensors   written and read through torch's distributed checkpoint
    state/state.json                                     counters, the plan, and optimizer state that is no tensor

No pickle is written or read: torch's usual storage keeps its metadata in one, its safetensors storage does not.
docs/checkpoint-format.md lists the tensor names.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from lm_core.manifest import FileEntry

from lm_train.loss_scale import LossScale
from lm_train.optimizers import Optimizers
from lm_train.run_errors import CheckpointError

FORMAT_VERSION = 1
_SMOOTHING = 0.9  # share of the old mean in the smoothed loss
OptimizerState = tuple[dict[str, torch.Tensor], dict[str, Any]]  # tensors, and what is none
_GROUP_NUMBERS = ("step", "s", "largest_rate")  # of schedule-free AdamW
_ALONE = ".*torch.distributed is disabled, unavailable or uninitialized.*"
_OF_ITSELF = "TypedStorage is deprecated"  # torch 2.10 says it of its own checkpoint writer


@dataclass
class RunState:
    """The counters of a run after `step` steps; with weights, optimizer and data they decide all that follows."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    """Training time: in steps, not in evaluation, sampling or saving."""
    smoothed_loss: float | None = None
    """Exponential mean of the loss, nats per token."""
    total_steps: int | None = None
    """The plan, once it is made."""
    skipped: int = 0
    """Steps whose loss or gradient was not finite."""
    skipped_in_a_row: int = 0
    last_good_step: int = 0
    evaluation_due: bool = False
    """A stop came before the evaluation of this step was done."""
    sample_due: bool = False
    lowest_loss: float | None = None
    """The lowest held-out loss on the way, nats per token, and the step it was at."""
    lowest_step: int | None = None
    metrics_rows: int | None = None
    """Rows of metrics.jsonl that are told once and for all: a resumed run writes those after them again."""
    samples_rows: int | None = None

    def learnt(self, loss: float) -> None:
        """The step has updated the weights, by a batch of this loss."""
        old = self.smoothed_loss
        self.smoothed_loss = loss if old is None else _SMOOTHING * old + (1 - _SMOOTHING) * loss
        self.skipped_in_a_row, self.last_good_step = 0, self.step

    def lowest(self, held_out: float) -> bool:
        """Whether this step's held-out loss is the lowest so far; remembers it if so."""
        if not math.isfinite(held_out) or (self.lowest_loss is not None and held_out >= self.lowest_loss):
            return False
        self.lowest_loss, self.lowest_step = held_out, self.step
        return True


@dataclass(frozen=True)
class KeptState:
    """Optimizer and random state by the names they have in a checkpoint: tensors on the CPU, and what is no tensor."""

    tensors: dict[str, torch.Tensor]
    numbers: dict[str, Any]


def kept_state(held: OptimizerState) -> KeptState:
    """What has to be kept: `optimizer_state`, and torch's random state; the tensors are the live ones where they are on the CPU."""
    return KeptState(held[0] | _random_state(), held[1])


def write_state(
    folder: Path, state: RunState, kept: KeptState, *, seed: int, world_size: int = 1
) -> dict[str, FileEntry]:
    """Write `folder/state/`, and give the files of tensors by their names in `folder`. The caller seals the folder around it."""
    from torch.distributed.checkpoint.api import CheckpointException
    from torch.distributed.checkpoint.state_dict_saver import save

    from lm_train.state_writer import StateWriter

    target = folder / "state"
    target.mkdir()
    writer = StateWriter(target)
    # For good, and not inside catch_warnings, which is not for threads.
    warnings.filterwarnings("ignore", _ALONE, UserWarning)
    warnings.filterwarnings("ignore", _OF_ITSELF, UserWarning)
    try:
        save(kept.tensors, storage_writer=writer, no_dist=True)
    except CheckpointException as error:  # a BaseException that hides what went wrong, by rank
        raise next(iter(error.failures.values()))[0] from None
    write_record(folder, state, kept.numbers, seed=seed, world_size=world_size)
    return {f"state/{name}": entry for name, entry in writer.written.items()}


def write_record(
    folder: Path, state: RunState, optimizer: dict[str, Any], *, seed: int, world_size: int
) -> None:
    """Write the counters, and of the optimizer what is no tensor, as `folder/state/state.json`."""
    record = {
        "format_version": FORMAT_VERSION,
        "seed": seed,
        "world_size": world_size,
        **asdict(state),
        "optimizer": optimizer,
    }
    (folder / "state" / "state.json").write_text(
        json.dumps(record, indent=2) + "\n", encoding="utf-8", newline="\n"
    )


def read_state(folder: Path, optimizers: Optimizers) -> RunState:
    """Put back what `write_state` wrote. Raises CheckpointError where it does not fit the optimizers."""
    from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata
    from torch.distributed.checkpoint.state_dict_loader import load

    source = folder / "state"
    record = read_record(folder)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", _ALONE, UserWarning)
        reader = HuggingFaceStorageReader(str(source))
        kinds = reader.read_metadata().state_dict_metadata
        tensors = {
            name: torch.empty(kind.size, dtype=kind.properties.dtype)
            for name, kind in kinds.items()
            if isinstance(kind, TensorStorageMetadata)  # safetensors holds nothing else
        }
        load(tensors, storage_reader=HuggingFaceStorageReader(str(source)), no_dist=True)
    _restore_random_state(tensors, source)
    restore_optimizers(optimizers, tensors, record["optimizer"], source)
    known = {field.name for field in fields(RunState)}
    return RunState(**{key: value for key, value in record.items() if key in known})


def read_record(folder: Path) -> dict[str, Any]:
    """`state.json` as it stands. Raises CheckpointError for one that this version cannot read."""
    path = folder / "state" / "state.json"
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{folder}: no state/state.json: a model folder, not a checkpoint to continue from; --init-from begins with its weights"
        ) from None
    if record.get("format_version") != FORMAT_VERSION:
        raise CheckpointError(
            f"{path}: format version {record.get('format_version')}, this lm-train reads {FORMAT_VERSION}; use the lm-train that wrote it"
        )
    return record


def optimizer_state(
    optimizers: Optimizers,
    *,
    full: Callable[[torch.Tensor], torch.Tensor] = lambda tensor: tensor,
    keep: bool = True,
) -> OptimizerState:
    """Tensors (on the CPU) and numbers of the state, named `<optimizer>/<parameter>/<key>`.

    While the model holds an average (`optimizers.resting()`), also the weights that are trained: `weights/<parameter>/own`.
    `full` makes a whole tensor of one that is spread over ranks; with `keep` false it is called, and its result let go.
    """
    names: dict[torch.Tensor, str] = {
        parameter: name for name, parameter in optimizers.model.named_parameters()
    }
    tensors: dict[str, torch.Tensor] = {}
    numbers: dict[str, Any] = {}
    for part in optimizers.parts:
        for parameter, state in part.optimizer.state.items():
            for key, value in state.items():
                name = f"{part.name}/{names[parameter]}/{key}"
                if isinstance(value, torch.Tensor):
                    gathered = full(value)
                    if keep:
                        tensors[name] = _kept(gathered)
                else:
                    numbers[name] = value
        if part.name == "schedule-free":
            for place, group in enumerate(part.optimizer.param_groups):
                numbers |= {f"{part.name}/{place}/{key}": group[key] for key in _GROUP_NUMBERS}
    if optimizers.ema is not None:
        numbers["ema/all/step"] = optimizers.ema.step
        for name in names.values():
            tensors[f"ema/{name}/average"] = _kept(optimizers.ema.state_dict()[f"average.{name}"])
    if optimizers.scale is not None:
        numbers |= {f"loss-scale/all/{key}": value for key, value in asdict(optimizers.scale).items()}
    tensors |= {f"weights/{name}/own": _kept(own) for name, own in optimizers.own.items()}
    return tensors, numbers


def _kept(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().cpu().contiguous()


def restore_optimizers(
    optimizers: Optimizers, tensors: dict[str, torch.Tensor], numbers: dict[str, Any], source: Path | str
) -> None:
    """Put back what `optimizer_state` gave. Raises CheckpointError where it does not fit."""
    parameters = dict(optimizers.model.named_parameters())
    parts = {part.name: part for part in optimizers.parts}
    averages: dict[str, torch.Tensor] = {}
    scale: dict[str, Any] = {}
    for name, value in [*tensors.items(), *numbers.items()]:
        if name.startswith("rng/"):
            continue
        part_name, parameter_name, key = name.split("/")
        if part_name == "ema" and optimizers.ema is not None:
            averages[f"average.{parameter_name}" if key == "average" else key] = torch.as_tensor(value)
            continue
        if part_name == "loss-scale":
            scale[key] = value
            continue
        if part_name == "weights" and parameter_name in parameters:
            parameters[parameter_name].data.copy_(value)
            continue
        if part_name == "schedule-free" and parameter_name.isdigit() and part_name in parts:
            parts[part_name].optimizer.param_groups[int(parameter_name)][key] = value
            continue
        if part_name not in parts or parameter_name not in parameters:
            have = ", ".join(parts)
            raise CheckpointError(
                f"{source}: state of {part_name} for {parameter_name}, but this run has {have}; use the config.toml that is in its folder"
            )
        parameter = parameters[parameter_name]
        if isinstance(value, torch.Tensor) and value.ndim:
            value = value.to(parameter.device)
        parts[part_name].optimizer.state[parameter][key] = value
    if optimizers.ema is not None and averages:
        optimizers.ema.load_state_dict(averages)
    if optimizers.scale is not None and scale:
        optimizers.scale = LossScale(**scale)


def _random_state() -> dict[str, torch.Tensor]:
    state = {"rng/cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["rng/cuda"] = torch.cuda.get_rng_state()
    return state


def _restore_random_state(tensors: dict[str, torch.Tensor], source: Path) -> None:
    if "rng/cpu" not in tensors:
        raise CheckpointError(f"{source}: no random state in it; continue from another checkpoint of the run")
    torch.set_rng_state(tensors["rng/cpu"])
    if "rng/cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["rng/cuda"])
