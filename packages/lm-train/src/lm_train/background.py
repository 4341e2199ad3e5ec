"""Checkpoints written while training goes on: a copy is taken at once, a thread brings it to disk.

One write at a time: the next save waits for the one before. What went wrong in the thread is raised on the main thread, at the next step,
the next save or the end of the run, whichever comes first; the older checkpoints are then intact, as they are after a failed save
without it. Costs memory for a second copy of the weights and the optimizer's state, taken at once: the system gives memory at a tenth of
the rate at which it can be written again (3 s for 1.5 GB, then 0.15 s), and so the first save would stall as no later one.
"""

from __future__ import annotations

import ctypes
import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from lm_core import Transformer

from lm_train.state import KeptState

_ALIGNED = 64  # bytes; a tensor begins at a multiple, as fresh ones do


class Background:
    """A thread that writes checkpoints. `save` copies and returns; `check` and `wait` raise what the writing raised.

    `state_bytes` is what the optimizer's state will take; more than that is made room for when it comes.
    """

    def __init__(self, model: Transformer, state_bytes: int = 0) -> None:
        with torch.random.fork_rng(devices=[]):
            self._copy = Transformer(model.config).eval()
        self._buffers: dict[str, torch.Tensor] = {}
        self._memory = torch.empty(state_bytes, dtype=torch.uint8)
        self._taken = 0  # bytes of it
        self._touching = threading.Thread(target=_touch, args=(self._memory,), name="checkpoint memory")
        self._touching.start()
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def save(
        self, model: Transformer, kept: KeptState, write: Callable[[Transformer, KeptState], None]
    ) -> None:
        """Copy the model and the state, and call `write` with the copies in the background."""
        self.wait()
        self._touching.join()
        with torch.no_grad(), _one_thread():
            copied = KeptState(
                {name: self._copied(name, t) for name, t in kept.tensors.items()}, dict(kept.numbers)
            )
            for ours, theirs in zip(self._copy.parameters(), model.parameters(), strict=True):
                ours.copy_(theirs)

        def run() -> None:
            try:
                write(self._copy, copied)
            except BaseException as error:  # raised again by wait()
                self._error = error

        self._thread = threading.Thread(target=run, name="checkpoint writer")
        self._thread.start()

    def check(self) -> None:
        """Raise what a finished write raised; does not wait."""
        if self._thread is not None and not self._thread.is_alive():
            self.wait()

    def wait(self) -> None:
        """Until nothing is being written any more; raises what the writing raised."""
        self.join()
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def join(self) -> None:
        """Until nothing is being written any more, whatever came of it."""
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _copied(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """A copy in the buffer of that name, which stays in memory: fresh memory costs more time than the copying."""
        buffer = self._buffers.get(name)
        if buffer is None or buffer.shape != tensor.shape or buffer.dtype != tensor.dtype:
            buffer = self._buffers[name] = self._room(tensor)
        return buffer.copy_(tensor)

    def _room(self, tensor: torch.Tensor) -> torch.Tensor:
        """Memory of the tensor's shape and dtype: of what was taken beforehand, while it lasts."""
        size = tensor.numel() * tensor.element_size()
        if self._taken + size > len(self._memory):
            return torch.empty(tensor.shape, dtype=tensor.dtype)
        room = self._memory[self._taken : self._taken + size].view(tensor.dtype).view(tensor.shape)
        self._taken += math.ceil(size / _ALIGNED) * _ALIGNED
        return room


def _touch(memory: torch.Tensor) -> None:
    """Have the system give the memory now, beside what the interpreter does."""
    ctypes.memset(memory.data_ptr(), 0, len(memory))


@contextmanager
def _one_thread() -> Iterator[None]:
    """One thread copies as fast as the memory allows; several wait for each other at every tensor: on a busy machine 1.7 s for 0.5 s."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
