"""Where and with what arithmetic a run computes, chosen with a reason that can be printed."""

from __future__ import annotations

import contextlib
import platform
from dataclasses import dataclass

import torch

from lm_train.errors import ConfigError
from lm_train.parallel.launcher import processes_here
from lm_train.processors import usable_cpus

_FLOAT16_UNITS = (7, 0)  # compute capability


@dataclass(frozen=True)
class Device:
    """A device, the dtype of its matrix products, its CPU threads, and why."""

    kind: str
    dtype: torch.dtype
    threads: int
    why: str

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """Inside the block matrix products run in `dtype`; weights and the loss stay float32."""
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.kind, dtype=self.dtype)

    @property
    def scaled(self) -> bool:
        """Whether the loss must be scaled, for gradients too small for the dtype (loss_scale.py)."""
        return self.dtype == torch.float16

    def __str__(self) -> str:
        name = torch.cuda.get_device_name() if self.kind == "cuda" else self.kind
        plural = "" if self.threads == 1 else "s"
        threads = f", {self.threads} thread{plural}" if self.kind == "cpu" else ""
        return f"{name}, {_short(self.dtype)}{threads} ({self.why})"


def choose_device(kind: str, dtype: str, threads: int | None) -> Device:
    """The device asked for, or the best there is; sets torch's thread count. Raises ConfigError for one that is not there."""
    reasons = []
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if kind == "auto":
        kind = next(name for name in ("cuda", "mps", "cpu") if present[name])
        reasons.append("no GPU found" if kind == "cpu" else "a GPU was found")
    elif not present[kind]:
        have = ", ".join(name for name, there in present.items() if there)
        raise ConfigError(
            f"--device {kind}: not available here (available: {have}); leave --device out to take the best"
        )
    if dtype == "auto":
        chosen = _fast_dtype(kind)
        safe = chosen == torch.float32
        reasons.append("float32 is the safe choice there" if safe else f"{_short(chosen)} is fast there")
        if kind == "cpu" and _cpu_has_matrix_units():
            reasons.append("its AMX units are used with --dtype bfloat16, which is faster")
    else:
        chosen = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[dtype]
        reasons.append("dtype as asked")
    count = threads or max(1, usable_cpus() // processes_here())
    torch.set_num_threads(count)
    return Device(kind, chosen, count, "; ".join(reasons))


def _fast_dtype(kind: str) -> torch.dtype:
    """bfloat16 where the GPU has units for it, float16 on older ones with units for that (Volta, Turing), else float32."""
    if kind != "cuda":
        return torch.float32
    if torch.cuda.is_bf16_supported(including_emulation=False):
        return torch.bfloat16
    return torch.float16 if torch.cuda.get_device_capability() >= _FLOAT16_UNITS else torch.float32


def _cpu_has_matrix_units() -> bool:
    """Whether this CPU multiplies matrices of bfloat16 by AMX: measured there, steps take 0.7 of the time (docs/performance.md)."""
    known = hasattr(torch.cpu, "get_capabilities")  # not in every torch that is supported
    return known and bool(torch.cpu.get_capabilities().get("amx_bf16"))


def _short(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def machine_card(device: Device) -> dict[str, str]:
    """What a run's record says of the machine it ran on."""
    return {
        "device": str(device),
        "processor": f"{_processor()}, {usable_cpus()} usable CPUs",
        "system": platform.platform(terse=True),
        "Python": platform.python_version(),
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            named = next(
                (line.partition(":")[2].strip() for line in file if line.startswith("model name")), ""
            )
    except OSError:  # not Linux
        named = ""
    return named or platform.processor() or platform.machine()
