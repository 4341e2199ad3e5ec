"""A server of tiny models in a thread of this process, on a free port of loopback."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from lm_generate.engine import Engine
from lm_generate.serving.limits import Limits
from lm_generate.serving.server import bind, make_server
from lm_generate.serving.service import Service
from lm_generate.serving.shelf import Shelf
from tiny_engines import tiny_engine


@dataclass(frozen=True)
class Running:
    """A server that answers; `client` is for its address."""

    service: Service
    port: int
    client: httpx.Client

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def complete(self, prompt: Any, **fields: Any) -> dict[str, Any]:
        answer = self.client.post("/v1/completions", json={"prompt": prompt, **fields})
        assert answer.status_code == 200, answer.text
        return answer.json()

    def socket(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def gauge(self, name: str) -> float:
        lines = self.client.get("/metrics").text.splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"lm_generate_{name} "))


@contextlib.contextmanager
def serve(
    folder: Path,
    *names: str,
    load: Callable[[Path], Engine] = lambda _: tiny_engine(),
    token: str | None = None,
    limits: dict[str, Any] | None = None,
    record: Callable[[dict[str, Any]], None] | None = None,
) -> Iterator[Running]:
    """Serves `names`, each an empty folder: `load` makes the engines."""
    sources = []
    for name in names or ("tiny",):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "config.json").touch()
        sources.append(folder / name)
    bounds = Limits(**{"grace_seconds": 0.5, **(limits or {})})
    service = Service(Shelf(sources, load, most=bounds.loaded), bounds, record=record)
    server = make_server(service, "127.0.0.1", token=token)
    ready = threading.Event()
    server.on_ready = ready.set
    with bind("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            assert ready.wait(120)
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120, trust_env=False) as client:
                yield Running(service, port, client)
        finally:
            server.should_exit = True
            thread.join()
