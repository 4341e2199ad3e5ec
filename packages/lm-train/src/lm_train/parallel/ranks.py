"""The processes that train one model together: who they are, and the few ways in which they talk.

Rank 0 leads. It alone reads settings, prepares data, decides (by its clock, its signals, its disk), writes and prints; it runs the same
loop as a run on one process. Before anything that takes all ranks it gives an order, and the others, who do nothing but wait for orders
(follow.py), do their part of it:

    rank 0                                  the others
    with ranks.order(Order.STEP, 7, 0.5):   order, numbers = ranks.hear()
        ...its rows of the batch...             ...their rows of the batch...

So no two ranks can disagree about what comes next, and a run on one process pays for none of it: `Ranks()` is alone, and its methods
return what they were given. Who starts the processes (torchrun, Slurm) tells them apart by the variables RANK, WORLD_SIZE, LOCAL_RANK,
MASTER_ADDR and MASTER_PORT.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from enum import IntEnum

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from lm_train.errors import ConfigError
from lm_train.parallel.flight import record_collectives
from lm_train.parallel.heartbeat import Heart
from lm_train.parallel.launcher import launched, local_rank, restarts
from lm_train.run_errors import RankLostError
from lm_train.signals import Stop

_FOR_EVER = timedelta(days=30)  # what bounds a wait is the heart, which knows who is silent
_TO_MEET = timedelta(minutes=5)  # until every process must have come
_NUMBERS = 4  # of an order, its kind included


class Order(IntEnum):
    """What rank 0 can ask of all ranks, with the numbers that it sends along."""

    BEGIN = 0  # a text follows: the run
    STEP = 1  # step, factor of the learning rates
    EVALUATE = 2  # windows
    SAVE = 3  # step
    FORWARD = 4  # one forward pass of rank 0's own, for which it needs the others' weights
    END = 5  # a text follows: how it ended


class Ranks:
    """`world` processes, of which this one is number `rank`; alone unless told otherwise."""

    def __init__(
        self,
        rank: int = 0,
        world: int = 1,
        heart: Heart | None = None,
        stop: Stop | None = None,
        group: dist.ProcessGroup | None = None,
    ) -> None:
        self.rank, self.world, self.heart, self.group = rank, world, heart, group
        self._stop = stop
        self.lockstep = False
        """Whether every forward pass takes all ranks, as of a model that is spread over them."""
        self._ordered = (
            False  # an order is being carried out: another one now would meet ranks that do not listen
        )

    @property
    def alone(self) -> bool:
        return self.world == 1

    def rows(self, batch: int) -> tuple[int, int]:
        """First and last + 1 row of this rank in a batch of so many."""
        share = batch // self.world
        return self.rank * share, (self.rank + 1) * share

    def check_divides(self, batch: int) -> None:
        """Raises ConfigError where the ranks cannot have equally many rows of a batch, naming the numbers that can."""
        if batch % self.world:
            sizes = ", ".join(str(n) for n in range(1, batch + 1) if batch % n == 0)
            near = -(-batch // self.world) * self.world
            raise ConfigError(
                f"--batch {batch} cannot be shared equally by {self.world} processes; start {sizes} of them, or take --batch {near}"
            )

    @contextlib.contextmanager
    def order(self, order: Order, *numbers: float) -> Iterator[None]:
        """Rank 0: ask all ranks to do `order`; the block is its own part of it."""
        if self.alone:
            yield
            return
        self._ordered = True
        message = torch.zeros(_NUMBERS, dtype=torch.float64)
        message[: 1 + len(numbers)] = torch.tensor([float(order), *numbers], dtype=torch.float64)
        self.together(lambda: dist.broadcast(message, 0, self.group))
        yield
        self._ordered = False  # not after an error, which leaves the others in the middle of it

    def forward(self) -> contextlib.AbstractContextManager[None]:
        """Rank 0: the block is a forward pass of its own; where that takes all ranks, the others join in."""
        return self.order(Order.FORWARD) if self.lockstep else contextlib.nullcontext()

    def hear(self) -> tuple[Order, list[float]]:
        """The others: wait for rank 0's next order, and give it with its numbers."""
        message = torch.zeros(_NUMBERS, dtype=torch.float64)
        self.together(lambda: dist.broadcast(message, 0, self.group))
        kind, *numbers = message.tolist()
        return Order(int(kind)), numbers

    def text(self, text: str = "") -> str:
        """Rank 0's text, on every rank."""
        data = torch.frombuffer(bytearray(text.encode() or b"\0"), dtype=torch.uint8)
        length = torch.tensor(len(text.encode()))
        self.together(lambda: dist.broadcast(length, 0, self.group))
        if self.rank:
            data = torch.empty(max(1, int(length)), dtype=torch.uint8)
        self.together(lambda: dist.broadcast(data, 0, self.group))
        return bytes(data[: int(length)].tolist()).decode()

    def copy_from_0_(self, tensor: torch.Tensor) -> None:
        """Overwrite the tensor by rank 0's."""
        if not self.alone:
            self.together(lambda: dist.broadcast(tensor, 0, self.group))

    def sum_(self, tensor: torch.Tensor) -> None:
        """Add the tensor up over all ranks, in place."""
        if not self.alone:
            self.together(lambda: dist.all_reduce(tensor, group=self.group))

    def total(self, number: float) -> float:
        """The sum of all ranks' numbers, in float64."""
        tensor = torch.tensor(number, dtype=torch.float64)
        self.sum_(tensor)
        return tensor.item()

    def any(self, flag: bool) -> bool:
        """Whether it is so on any rank."""
        return flag if self.alone else self.total(float(flag)) > 0

    def gather(self, number: int) -> list[int]:
        """Every rank's number, by rank."""
        slots = torch.zeros(self.world, dtype=torch.int64)
        slots[self.rank] = number
        self.sum_(slots)
        return [int(slot) for slot in slots]

    def stop_asked(self) -> bool:
        """Whether this process has been asked to stop."""
        return self._stop is not None and self._stop.asked()

    def patience(self) -> contextlib.AbstractContextManager[object]:
        """While the block runs this rank may make no visible progress: it prepares, saves or writes a sample."""
        return contextlib.nullcontext() if self.heart is None else self.heart.patience()

    def end(self, text: str) -> None:
        """Rank 0: send the others home, where they still listen."""
        if not self.alone and not self._ordered:
            with self.order(Order.END):
                self.text(text)

    def together(self, operation: Callable[[], object]) -> None:
        """Run what takes all ranks. Raises RankLostError where one of them is gone."""
        assert self.heart is not None, "several ranks have a heart"
        with self.heart.waiting():
            try:
                operation()
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:
                reason = str(error).strip().splitlines()[0][:200]
                raise RankLostError(
                    f"rank {self.rank}: another process of this run has ended or cannot be reached ({reason}); "
                    "start it again with --resume to go on from the newest checkpoint"
                ) from None


@contextlib.contextmanager
def joined(stop: Stop) -> Iterator[Ranks]:
    """All processes of this run, met; alone where it is the only one. Leaves the others orderly where the block ends so."""
    if not launched():
        yield Ranks()
        return
    backend = "gloo"
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank())
        backend = "cpu:gloo,cuda:nccl"
    store, rank, world = next(iter(rendezvous("env://", timeout=_TO_MEET)))
    # What processes of an earlier start have left in the launcher's store must not be taken for these ones' addresses.
    store = dist.PrefixStore(f"lm-train/{restarts()}", store)  # type: ignore[attr-defined]
    heart = Heart(store.clone(), rank, world)
    record_collectives()
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=_TO_MEET)
    group: dist.ProcessGroup = dist.new_group(timeout=_FOR_EVER)  # type: ignore[assignment]  # all are members
    heart.start()
    ranks = Ranks(rank, world, heart, stop, group)
    try:
        yield ranks
    except RankLostError:
        raise
    except BaseException as error:
        if rank == 0:
            with contextlib.suppress(RankLostError):
                ranks.end(f"failed: {error}")
        raise
    else:
        dist.destroy_process_group()
    finally:
        heart.stop()
