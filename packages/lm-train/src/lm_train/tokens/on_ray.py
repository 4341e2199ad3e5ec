"""The workers of a Ray cluster as the engine of `prepare`: `pip install 'lm-train[ray]'`, on every machine.

    with RayEngine("auto") as engine:
        prepare("corpus/", "datasets/corpus", engine=engine)

This process reads the text, writes the dataset and hands out some megabytes at a time; the cluster's CPUs count and encode them. A worker
or a machine that dies has its texts done again by another. Ray itself sends Python's pickles between its processes (never into a file of ours), so
use it only in a network where every machine is trusted.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import socket
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

from lm_train.errors import ClusterError, ConfigError
from lm_train.tokens.tasks import Item, Result

_RETRIES = 20  # of one task, after a worker or a machine has died under it
_IN_FLIGHT = 2  # tasks for each CPU: one at work and one on its way


def _ray() -> Any:
    """The library, which is an extra: not every installation has it, or its types."""
    return importlib.import_module("ray")


def _knock(address: str) -> None:
    """Raises OSError where nobody listens at host:port: Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon:
        socket.create_connection((host, int(port)), timeout=10).close()


class RayEngine:
    """Joined to the cluster at `address` ("auto": the one that was started on this machine) while in its `with` block."""

    def __init__(self, address: str) -> None:
        if importlib.util.find_spec("ray") is None:
            raise ConfigError("--engine ray: ray is not installed; pip install 'lm-train[ray]'")
        self.address = address

    def __enter__(self) -> RayEngine:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
        try:
            _knock(self.address)
            _ray().init(address=self.address, log_to_driver=False, logging_level="error")
        except (OSError, RuntimeError, ValueError) as error:
            raise ConfigError(
                f"no Ray cluster at {self.address} ({str(error).splitlines()[0]}); start one with: ray start --head"
            ) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _ray().shutdown()

    def map(
        self,
        task: Callable[[bytes, list[str]], Result],
        shared: bytes,
        items: Iterator[Item],
        texts: Callable[[Item], list[str]],
    ) -> Iterator[tuple[Item, Result]]:
        """See `Engine`. Raises ClusterError where the cluster gives up; errors of a task itself as they are."""
        ray = _ray()
        remote: Any = ray.remote(num_cpus=1, max_retries=_RETRIES)(task)
        kept = ray.put(shared)
        most = max(2, _IN_FLIGHT * int(ray.cluster_resources().get("CPU", 1)))
        flying: deque[tuple[Item, Any]] = deque()
        try:
            for item in items:
                flying.append((item, remote.remote(kept, texts(item))))
                if len(flying) >= most:
                    yield self._landed(flying)
            while flying:
                yield self._landed(flying)
        finally:
            for _, reference in flying:
                ray.cancel(reference, force=False)

    def _landed(self, flying: deque[tuple[Item, Any]]) -> tuple[Item, Any]:
        ray = _ray()
        item, reference = flying.popleft()
        try:
            return item, ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:
            raise ClusterError(
                f"the Ray cluster at {self.address} gave up: {str(error).splitlines()[0]}"
            ) from None
