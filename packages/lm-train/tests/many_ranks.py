"""Several ranks in one test: children forked from the test's process, which has imported torch already, joined as torchrun joins its own."""

from __future__ import annotations

import faulthandler
import math
import os
import resource
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
import torch._dynamo  # what a run imports on its way: once here, not in every child
import torch.distributed.checkpoint.hf_storage
import torch.distributed.checkpoint.state_dict_loader
import torch.distributed.checkpoint.state_dict_saver
import torch.distributed.fsdp
import torch.distributed.tensor
from lm_train import cli
from lm_train.parallel.heartbeat import Heart
from torch.distributed import TCPStore

LIMIT = 60  # seconds of its own processor time until a rank that goes round in circles ends
HANGS = 600  # seconds until a rank that waits for ever prints its stacks and ends: far beyond what a loaded machine needs
GRACE = 60  # seconds that the other ranks have once one has failed, as a launcher gives them; they take one


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
            faulthandler.dump_traceback_later(HANGS, exit=True)
            end_after(LIMIT)
            lm_train.run.write_report = lambda run: run.report
            prepare(rank)
            code = cli.run(arguments)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)

    def wait(self) -> list[Ended]:
        """How each rank ended. Once one has failed, the others are killed after some seconds."""
        codes: dict[int, int] = {}
        failed_at = math.inf
        while len(codes) < self.world:
            for rank, pid in enumerate(self.pids):
                if rank not in codes and (done := os.waitpid(pid, os.WNOHANG))[0]:
                    codes[rank] = os.waitstatus_to_exitcode(done[1])
                    failed_at = min(failed_at, time.monotonic() if codes[rank] else math.inf)
                elif rank not in codes and time.monotonic() > failed_at + GRACE:
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.005)
        return [
            Ended(codes[rank], self._text("out", rank), self._text("err", rank)) for rank in range(self.world)
        ]

    def _text(self, name: str, rank: int) -> str:
        lines = (self.folder / f"{name}-{rank}").read_text(errors="replace").splitlines(keepends=True)
        # torch 2.10 has a line of its own on standard output
        return "".join(line for line in lines if not line.startswith("[Gloo] Rank"))


def end_after(seconds: int) -> None:
    """Let this process print its stacks and end once it has computed for so long: unlike a clock's, that time does not pass while others compute."""
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    faulthandler.register(signal.SIGXCPU, chain=True)


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
    import lm_train.parallel.follow

    lm_train.parallel.follow.run_step = lm_train.loop.run_step = counted


def with_patience(seconds: float, action: Callable[[], None]) -> Callable[[], None]:
    """`action`, before which this rank's heart is told to be patient for so long only: the steps before it may be slow."""
    hearts: list[Heart] = []
    sound = Heart.start

    def noted(self):
        hearts.append(self)
        sound(self)

    Heart.start = noted

    def impatient() -> None:
        assert hearts[0].seconds == 420.0, "what --scale.stall-minutes 7 says"
        hearts[0].seconds = seconds
        action()

    return impatient
