"""The server around the application: sockets, connections that are slow or too many, signals, a graceful end."""

import asyncio
import contextlib
import ipaddress
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from lm_generate.errors import SettingError
from lm_generate.serving.app import make_app
from lm_generate.serving.limits import Limits
from lm_generate.serving.problems import Problem
from lm_generate.serving.reply import dumps
from lm_generate.serving.service import Service

LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_access(host: str, token: str | None) -> None:
    """Raises `SettingError` for a server that anybody on a network could use."""
    if not is_loopback(host) and not token:
        raise SettingError(
            f"host {host} can be reached from other machines, so a token is wanted: put one into the environment as "
            "LM_GENERATE_TOKEN, or into a file named by --token-file"
        )


def bind(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one. Raises `SettingError` where that cannot be."""
    if not 0 <= port < 2**16:
        raise SettingError(f"port must be from 0 (a free one) to 65535, got {port}")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise SettingError(
            f"cannot listen on {host} port {port} ({error}): give another --port, or 0 for a free one"
        ) from error


def protocol(limits: Limits) -> type[H11Protocol]:
    """uvicorn's HTTP/1.1 with two more bounds: time for the headers, and a number of connections."""

    class Bounded(H11Protocol):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self.app_state = {**self.app_state, "abort": self._abort}
            self._late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > limits.connections:
                problem = Problem(
                    503, f"{limits.connections} connections are open, which is all that is allowed"
                )
                self._refuse("503 Service Unavailable", problem)
                return
            transport.get_extra_info("socket").setsockopt(
                socket.SOL_SOCKET, socket.SO_SNDBUF, limits.send_bytes
            )
            self._expect_headers()

        def data_received(self, data: bytes) -> None:
            if self._late is None and self._between_requests():
                self._expect_headers()
            super().data_received(data)
            if not self._between_requests():
                self._headers_came()

        def connection_lost(self, error: Exception | None) -> None:
            self._headers_came()
            super().connection_lost(error)

        def send_400_response(self, msg: str) -> None:
            self._refuse("400 Bad Request", Problem(400, msg))

        def _between_requests(self) -> bool:
            return self.cycle is None or bool(self.cycle.response_complete)

        def _expect_headers(self) -> None:
            self._late = self.loop.call_later(limits.header_seconds, self._abort)

        def _headers_came(self) -> None:
            if self._late is not None:
                self._late.cancel()
                self._late = None

        def _refuse(self, status: str, problem: Problem) -> None:
            body = dumps(problem.body())
            head = (
                f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n"
                "connection: close\r\n\r\n"
            )
            self.transport.write(head.encode("ascii") + body)
            self.transport.close()

        def _abort(self) -> None:
            self.transport.abort()

    return Bounded


class Server(uvicorn.Server):
    """Ends by itself on SIGINT and SIGTERM: no new connections, `grace_seconds` for requests under way, then they are
    told. A second signal ends them at once."""

    def __init__(self, config: uvicorn.Config, service: Service) -> None:
        super().__init__(config)
        self.service = service
        self.on_ready: Callable[[], None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.service.start()
        await super().startup(sockets)
        if self.on_ready is not None:
            self.on_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self.service.stopping = True
        loop = asyncio.get_running_loop()
        cut = loop.call_later(self.service.limits.grace_seconds, self.service.cut)
        try:
            await super().shutdown(sockets)
        finally:
            cut.cancel()
            await asyncio.to_thread(self.service.stop)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, but the signal is not raised once more at the end: to be stopped is how a
        server ends. Outside the main thread `should_exit` ends it."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {sort: signal.signal(sort, self.handle_exit) for sort in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for sort, handler in before.items():
                signal.signal(sort, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            self.service.cut()
            self.force_exit = True
        self.should_exit = True


def make_server(service: Service, host: str, *, token: str | None = None) -> Server:
    """The server for a socket that is bound to `host`; `run(sockets=[...])` blocks until it is stopped."""
    limits = service.limits
    config = uvicorn.Config(
        make_app(service, token=token, hosts=(*LOOPBACK_NAMES, host) if is_loopback(host) else None),
        http=protocol(limits),
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",  # faults are logged by the application; a client's mistakes are answered
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=max(1, round(limits.idle_seconds)),
        timeout_graceful_shutdown=int(limits.grace_seconds) + 5,
        h11_max_incomplete_event_size=limits.header_bytes,
    )
    return Server(config, service)
