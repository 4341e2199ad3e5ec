"""`--compile`: the blocks through torch.compile. Training steps run compiled; scoring and sampling, whose shapes differ, run as they are."""

from __future__ import annotations

import contextlib
import shutil

import torch
from lm_core import Transformer

from lm_train.errors import ConfigError

_COMPILERS = ("c++", "g++", "clang++")


def check_compiler(flag: str, kind: str) -> None:
    """Raises ConfigError where torch.compile has nothing to compile with."""
    if kind == "cpu" and not any(map(shutil.which, _COMPILERS)):
        raise ConfigError(f"{flag}: needs a C++ compiler on a CPU; install g++ or clang, or leave it out")


def compile_blocks(
    model: Transformer, inputs: torch.Tensor, targets: torch.Tensor, documents: torch.Tensor | None = None
) -> None:
    """Compile every block in place for batches of this shape, here and now; changes neither weights nor random numbers."""
    for block in model.blocks:
        block.compile()
    devices = [inputs.device] if inputs.is_cuda else []
    with torch.random.fork_rng(devices=devices):
        model.loss(inputs, targets, documents=documents).backward()  # type: ignore[no-untyped-call]
    model.zero_grad(set_to_none=True)


def uncompiled(model: Transformer) -> contextlib.AbstractContextManager[object]:
    """Inside the block a compiled model runs as if it were not."""
    if all(block._compiled_call_impl is None for block in model.blocks):
        return contextlib.nullcontext()  # set_stance would import the compiler, which takes seconds
    return torch.compiler.set_stance("force_eager")  # type: ignore[no-any-return]
