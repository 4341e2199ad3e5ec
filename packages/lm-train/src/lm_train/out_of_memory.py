"""What to say when memory runs out: the setting, and the value of it that fits.

Weights, gradients and optimizer take what they take; activations grow with the windows that are computed at once (`micro_batch`), which
changes no step's result. lm-core's count of activations says how many windows fit into nine tenths of the memory there is.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from lm_core import ModelConfig
from lm_core.counts import activation_bytes, parameter_count
from lm_core.memory import machine_memory

from lm_train.config import TrainConfig
from lm_train.device import Device

_USABLE = 0.9  # of the memory: the rest is lost between allocations


def ran_out(error: BaseException) -> bool:
    """Whether an error of torch or Python says that memory ran out."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in words or "can't allocate memory" in words


def device_memory(device: Device) -> int | None:
    """Bytes of the memory that a run computes in, where that is known."""
    if device.kind == "cuda":
        return int(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory)
    return machine_memory() if device.kind == "cpu" else None


def advice(
    config: TrainConfig,
    shape: ModelConfig,
    state_bytes: int,
    device: Device,
    memory: int | None,
    world: int = 1,
) -> str:
    """One line: the flag and its value. `state_bytes`: what the optimizers keep; `memory`: bytes there are; None: not known."""
    width = 4 if device.dtype == torch.float32 else 2
    held = 8 * parameter_count(shape) + state_bytes

    def need(recompute: bool) -> Callable[[int], int]:
        return lambda rows: held + activation_bytes(shape, rows, shape.context, width, recompute=recompute)

    rows = min(config.micro_batch or config.batch, config.batch // world)
    if memory is None:
        return _unknown(config, rows)
    room = int(_USABLE * memory)
    for recompute in (False, True) if not config.recompute else (True,):
        most = rows
        if (
            recompute == config.recompute
        ):  # so many have failed; where they should have fitted, others use the memory too
            most = rows // 2 if need(recompute)(rows) <= room else rows - 1
        fits = fitting_rows(need(recompute), room, most)
        if fits:
            flags = f"--micro-batch {fits}" + (" --recompute" if recompute and not config.recompute else "")
            return (
                f"out of memory with {rows} windows at once: {flags} needs about {need(recompute)(fits) / 1e9:.1f} of the "
                f"{memory / 1e9:.1f} GB here, and takes the same steps"
            )
    return (
        f"out of memory: weights, gradients and optimizer alone take {held / 1e9:.1f} of the {memory / 1e9:.1f} GB here; choose a smaller "
        "model (--model.d-model, --model.n-layers), or spread it over more GPUs (--scale.sharding full)"
    )


def fitting_rows(need: Callable[[int], int], memory: int, most: int) -> int:
    """The largest number up to `most` whose need fits into the memory; 0 where not even one does."""
    return next((rows for rows in range(most, 0, -1) if need(rows) <= memory), 0)


def _unknown(config: TrainConfig, rows: int) -> str:
    if rows > 1:
        return f"out of memory with {rows} windows at once: try --micro-batch {rows // 2}, which takes the same steps"
    return "out of memory: try --recompute, a shorter --model.context, or a smaller --model.d-model"
