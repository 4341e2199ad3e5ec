"""`LM_NVTX=coarse|fine|verbose`: names on the time line of NVIDIA's Nsight Systems, as in `LM_NVTX=fine nsys profile -t cuda,nvtx train ...`.

    coarse    step, evaluate, sample, save
    fine      and the parts of a step: read, forward, backward, clip, update
    verbose   and every module's forward pass, by its name in the model

Without the variable nothing is marked, and no module has a hook. Only rank 0 marks.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Protocol

from torch import nn

from lm_train.errors import ConfigError
from lm_train.profiling import Ranges, no_ranges

LEVELS = ("coarse", "fine", "verbose")
_COARSE = frozenset({"step", "evaluate", "sample", "save"})


class Nvtx(Protocol):
    """What is used of `torch.cuda.nvtx`."""

    def range_push(self, msg: str) -> object: ...
    def range_pop(self) -> object: ...


def nvtx_level(environment: Mapping[str, str] = os.environ) -> str | None:
    """What `LM_NVTX` asks for; None: nothing. Raises ConfigError for a level that there is not."""
    level = environment.get("LM_NVTX") or None
    if level is not None and level not in LEVELS:
        raise ConfigError(f"LM_NVTX must be one of {', '.join(LEVELS)}, got {level}")
    return level


def marking(level: str | None, nvtx: Nvtx, model: nn.Module) -> Ranges:
    """Ranges that mark what `level` says; with "verbose" the model's modules mark themselves from now on."""
    if level is None:
        return no_ranges

    @contextlib.contextmanager
    def marked(part: str) -> Iterator[None]:
        nvtx.range_push(part)
        try:
            yield
        finally:
            nvtx.range_pop()

    if level == "verbose":
        _mark_modules(model, nvtx)
    return lambda part: marked(part) if level != "coarse" or part in _COARSE else no_ranges(part)


def both(one: Ranges, other: Ranges) -> Ranges:
    """Ranges of two kinds at once."""
    if one is no_ranges or other is no_ranges:
        return other if one is no_ranges else one

    @contextlib.contextmanager
    def ranges(part: str) -> Iterator[None]:
        with one(part), other(part):
            yield

    return ranges


def _mark_modules(model: nn.Module, nvtx: Nvtx) -> None:
    def marked(name: str, module: nn.Module) -> None:
        def push(module: nn.Module, inputs: object) -> None:
            nvtx.range_push(name)

        def pop(module: nn.Module, inputs: object, output: object) -> None:
            nvtx.range_pop()

        module.register_forward_pre_hook(push)
        module.register_forward_hook(pop, always_call=True)

    for name, module in model.named_modules():
        if name:
            marked(name, module)
