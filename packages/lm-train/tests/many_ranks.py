"""Several ranks in one test: children forked from the test's process, which has imported torch already, joined as torchrun joins its own."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import lm_train.loop
import lm_train.run
import torch
from lm_train import cli
from torch.distributed import TCPStore

LIMIT = 120.0  # seconds: bounds a hang, and says nothing of speed


@dataclass(frozen=True)
class Ended:
    """How a rank ended: its exit code (or minus its signal), and what it printed."""

    code: int
    out: str
    err: str


class Launch:
    """Ranks that run `lm_train ARGUMENTS`. `prepare(rank)` is called in each of them first, to patch what a test must see or break."""

    def __init__(
        self,
        world: int,
        arguments: Sequence[str],
        folder: Path,
        prepare: Callable[[int], None] = lambda rank: None,
        environment: Mapping[str, str] = {},
    ) -> None:
        self.world, self.folder = world, folder
        folder.mkdir(parents=True, exist_ok=True)
        self._store = TCPStore(
            "127.0.0.1", 0, is_master=True, wait_for_workers=False
        )  # as the launcher's agent has
        self._environment = {
            "WORLD_SIZE": str(world),
            "LOCAL_WORLD_SIZE": str(world),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(self._store.port),
            "TORCHELASTIC_USE_AGENT_STORE": "True",
            **environment,
        }
        self.pids = [self._fork(rank, list(arguments), prepare) for rank in range(world)]

    def _fork(self, rank: int, arguments: list[str], prepare: Callable[[int], None]) -> int:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # a fork of a process with threads; these children use none of them
            pid = os.fork()
        if pid:
            return pid
        code = 70
        try:
            for number, name in ((1, "out"), (2, "err")):
                target = os.open(self.folder / f"{name}-{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
                os.dup2(target, number)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
            os.environ.update(self._environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
            torch.set_num_threads(1)
            lm_train.run.write_report = lambda run: run.report
            prepare(rank)
            code = cli.run(arguments)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)

    def wait(self) -> list[Ended]:
        """How each rank ended; whoever is left after `LIMIT` seconds is killed."""
        codes: dict[int, int] = {}
        deadline = time.monotonic() + LIMIT
        while len(codes) < self.world and time.monotonic() < deadline:
            for rank, pid in enumerate(self.pids):
                if rank not in codes and (done := os.waitpid(pid, os.WNOHANG))[0]:
                    codes[rank] = os.waitstatus_to_exitcode(done[1])
            time.sleep(0.005)
        for rank in range(self.world):
            if rank not in codes:
                os.kill(self.pids[rank], signal.SIGKILL)
                codes[rank] = os.waitstatus_to_exitcode(os.waitpid(self.pids[rank], 0)[1])
        return [
            Ended(codes[rank], self._text("out", rank), self._text("err", rank)) for rank in range(self.world)
        ]

    def _text(self, name: str, rank: int) -> str:
        return (self.folder / f"{name}-{rank}").read_text(errors="replace")


def run_ranks(
    world: int,
    arguments: Sequence[str],
    folder: Path,
    prepare: Callable[[int], None] = lambda rank: None,
    environment: Mapping[str, str] = {},
) -> list[Ended]:
    """Run `lm_train ARGUMENTS` on `world` ranks to its end."""
    return Launch(world, arguments, folder, prepare, environment).wait()


def at_step(step: int, action: Callable[[], None]) -> None:
    """Do `action` in this process when it has computed the batch of a step (from 1), before anything of it is exchanged."""
    import lm_train.step as module

    original = module.train_step
    calls: list[int] = []
    original_run = module.run_step

    def counted(learner, number, factor):
        calls.append(number + 1)
        return original_run(learner, number, factor)

    def acting(*args, **kwargs):
        if calls and calls[-1] == step:
            action()
        return original(*args, **kwargs)

    module.train_step = acting
    import lm_train.follow

    lm_train.follow.run_step = lm_train.loop.run_step = counted
