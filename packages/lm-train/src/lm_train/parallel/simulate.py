"""A run on thousands of ranks that fail and come back, played through without computing: is any sample lost or repeated?

Real are the order of the data (`Batches`, `Mixture`), each rank's rows of a batch, when a checkpoint is due, the checkpoint folders with
their seals, which of them are pruned, and which one is resumed from. Not real are time, and the training between reading and saving:
a checkpoint holds the counters only. What the weights would have been trained on is kept beside them, and proved at the end.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from lm_core.manifest import new_folder, read_manifest, seal_folder

from lm_train.batches import Batches, samples_of
from lm_train.checkpoint import checkpoint_path, checkpoints, newest_verified, prune
from lm_train.config import TrainConfig
from lm_train.due import Due
from lm_train.errors import ConfigError
from lm_train.mixture import Mixture
from lm_train.parallel.failures import Failure, largest_world
from lm_train.parallel.order_proof import Proof, Read, prove_order, rows_read
from lm_train.parallel.ranks import Ranks
from lm_train.state import RunState, read_record, write_record

_HOPELESS = 1000  # failures in a row without a new checkpoint


@dataclass(frozen=True, kw_only=True)
class Times:
    """Seconds of a step on all ranks, of a save, and from a failure to the next step."""

    step: float
    save: float
    restart: float


@dataclass
class Outcome:
    """What a simulated run came to. Seconds by what they were spent on; `worlds`: every number of ranks it ran on."""

    steps: int = 0
    repeated: int = 0
    failures: int = 0
    saves: int = 0
    damaged: int = 0
    useful: float = 0.0
    lost: float = 0.0
    saving: float = 0.0
    restarting: float = 0.0
    worlds: set[int] = field(default_factory=set)
    proof: Proof = field(default_factory=lambda: Proof(0, 0, 0.0))

    @property
    def seconds(self) -> float:
        return self.useful + self.lost + self.saving + self.restarting


def simulate(
    config: TrainConfig,
    batches: Batches | Mixture,
    world: int,
    steps: int,
    failures: Iterable[Failure],
    times: Times,
    progress: Callable[[int], None] = lambda step: None,
) -> Outcome:
    """Play the run through and prove its order. Raises OrderError; ConfigError where failures leave no time for a checkpoint.

    `world` ranks at the start; after each failure the largest number of those that are left that shares the batch. A step on fewer
    ranks takes longer in proportion.
    """
    with tempfile.TemporaryDirectory(prefix="lm-train-simulate-") as place:
        return _Simulation(config, batches, world, steps, iter(failures), times, Path(place)).run(progress)


class _Simulation:
    def __init__(
        self,
        config: TrainConfig,
        batches: Batches | Mixture,
        world: int,
        steps: int,
        failures: Iterator[Failure],
        times: Times,
        folder: Path,
    ) -> None:
        Ranks(0, world).check_divides(config.batch)
        self.config, self.batches, self.all, self.steps, self.times = config, batches, world, steps, times
        self.folder, self._failures = folder, failures
        self.now, self.world, self.out = 0.0, world, Outcome(steps=steps)
        self.read: list[Read] = []
        """What the weights that are in memory now have been trained on, a batch an entry, and what each took in seconds."""
        self.took: list[float] = []
        self.next = next(failures, None)

    def run(self, progress: Callable[[int], None]) -> Outcome:
        hopeless = 0
        while True:
            saves = self.out.saves
            if self._attempt(progress):
                break
            hopeless = 0 if self.out.saves > saves else hopeless + 1
            if hopeless == _HOPELESS:
                raise ConfigError(
                    f"{_HOPELESS} failures in a row, and no checkpoint between them: save more often (--checkpoint.every), or let failures be rarer"
                )
            self._break()
        self.out.useful = sum(self.took)
        self.out.proof = prove_order(self.read, self.batches, self.steps)
        return self.out

    def _attempt(self, progress: Callable[[int], None]) -> bool:
        """From the newest checkpoint on, until the next failure or the end; whether it is the end."""
        step = self._resume()
        c = self.config.checkpoint
        due = Due(c.every, minutes=c.minutes, progress=step / self.steps, clock=lambda: self.now)
        rows = [Ranks(rank, self.world).rows(self.config.batch) for rank in range(self.world)]
        self.out.worlds.add(self.world)
        while step < self.steps:
            seconds = self.times.step * self.all / self.world
            if self._fails_within(seconds):
                return False
            samples = [samples_of(step, *own, self.batches.batch_size) for own in rows]
            self.read.append(rows_read(self.batches, np.concatenate(samples)))
            self.took.append(seconds)
            self.now, step = self.now + seconds, step + 1
            progress(step)
            if due(step, step / self.steps) or step == self.steps:
                due.done()
                if self._fails_within(self.times.save):
                    (self.folder / f".tmp-step-{step:08}-deadbeef").mkdir(exist_ok=True)
                    return False
                self._save(step)
        return True

    def _fails_within(self, seconds: float) -> bool:
        return self.next is not None and self.next.seconds < self.now + seconds

    def _resume(self) -> int:
        """The step to go on from: of the newest checkpoint that is whole, 0 without any; the weights forget what came after it."""
        if checkpoints(self.folder):
            newest = newest_verified(self.folder, self._set_aside)
            step, manifest = int(read_record(newest)["step"]), read_manifest(newest)
            known = manifest.facts["batches"] if manifest else 0
        else:
            step = known = 0
        self.out.repeated += len(self.read) - known
        self.out.lost += sum(self.took[known:])
        del self.read[known:], self.took[known:]
        return step

    def _save(self, step: int) -> None:
        with new_folder(checkpoint_path(self.folder, step)) as unfinished:
            (unfinished / "state").mkdir()
            state = RunState(step=step, tokens=step * self.config.tokens_per_step)
            write_record(unfinished, state, {}, seed=self.config.seed, world_size=self.world)
            seal_folder(unfinished, kind="checkpoint", facts={"batches": len(self.read)})
        prune(self.folder, self.config.checkpoint.keep)
        self.now += self.times.save
        self.out.saving += self.times.save
        self.out.saves += 1

    def _break(self) -> None:
        """The failure that is next happens; afterwards the run begins again with the ranks that are left."""
        failure, self.next = self.next, next(self._failures, None)
        assert failure is not None, "an attempt ends at the end or at a failure"
        self.out.lost += max(0.0, failure.seconds - self.now)
        self.out.restarting += self.times.restart - max(0.0, self.now - failure.seconds)
        self.out.failures += 1
        self.now = failure.seconds + self.times.restart
        self.world = largest_world(self.config.batch, min(failure.ranks, self.all))
        if failure.damaged and (there := checkpoints(self.folder)):
            record = there[-1] / "state" / "state.json"
            record.write_bytes(record.read_bytes().replace(b"0", b"1", 1))

    def _set_aside(self, text: str) -> None:
        self.out.damaged += 1
