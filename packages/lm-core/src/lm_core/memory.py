"""Refusing a model that this machine cannot hold, before anything is allocated."""

import os
import sys

import torch

from lm_core.config import ModelConfig
from lm_core.counts import parameter_count
from lm_core.errors import ConfigError


def require_memory(config: ModelConfig, device: torch.device, bytes_per_parameter: int = 4) -> None:
    """Raises ConfigError when the weights alone are larger than the machine's memory.

    Only the CPU's is known beforehand; on another device its own allocator speaks, and "meta" needs none.
    """
    machine = machine_memory()
    needed = parameter_count(config) * bytes_per_parameter
    if device.type == "cpu" and machine is not None and needed > machine:
        raise ConfigError(
            f"a model of {parameter_count(config):,} parameters needs {needed / 2**30:,.1f} GiB for its weights, "
            f"this machine has {machine / 2**30:,.1f} GiB; choose smaller sizes"
        )


def machine_memory() -> int | None:
    """Bytes of physical memory, or None where the system does not tell."""
    if sys.platform == "win32":
        return None
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None
