"""Runs a function on several ranks, children of this process: no second import of torch, which is most of such a test's time."""

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path

import torch.distributed as dist


def on_ranks(world: int, store: Path, work: Callable[[int], None]) -> None:
    """`work(rank)` on `world` ranks of a gloo group, all of which must end well. Unix only."""
    children = [_fork(rank, world, store, work) for rank in range(world)]
    codes = []
    while children:
        child, status = os.waitpid(-1, 0)
        if child in children:
            children.remove(child)
            codes.append(os.waitstatus_to_exitcode(status))
            if codes[-1]:  # the others would wait for it
                for other in children:
                    os.kill(other, signal.SIGKILL)
    assert codes == [0] * world, f"exit codes of the ranks: {codes}; what they said is above"


def _fork(rank: int, world: int, store: Path, work: Callable[[int], None]) -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # other threads are idle, and not used by a child
        child = os.fork()
    if child == 0:
        os._exit(_run(rank, world, store, work))
    return child


def _run(rank: int, world: int, store: Path, work: Callable[[int], None]) -> int:
    try:
        dist.init_process_group("gloo", store=dist.FileStore(str(store), world), rank=rank, world_size=world)
        work(rank)
        dist.destroy_process_group()
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
        return 1
    return 0
