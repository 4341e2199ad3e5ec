"""Bodies in and answers out, with a limit on the time and size of both; a client that goes away stops the work."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Coroutine
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from lm_generate.serving.limits import Limits
from lm_generate.serving.problems import Problem

Result = TypeVar("Result")


class ClientGoneError(Exception):
    """Nobody is left to answer."""


class Incoming:
    """A request's `receive`, which knows whether the body has ended."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self.ended = False

    async def __call__(self) -> Message:
        message = await self._receive()
        self.ended = self.ended or message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def discard(self, limits: Limits) -> None:
        """Reads on to the end of the body, within bounds. A connection that is closed while bytes lie unread is reset, and
        the answer that was already sent is lost with it (RFC 9112, section 9.6)."""
        left = limits.discard_bytes
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limits.discard_seconds):
                while not self.ended and left > 0:
                    left -= len((await self()).get("body", b""))


async def read_body(request: Request, limits: Limits) -> bytes:
    """The whole body. Raises `Problem`: 415 for no JSON, 413 where it is too large, 408 where it is too slow."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Problem(415, f"the body must be sent as content-type application/json, got {kind[:100]!r}")
    length = request.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length[:20]) > limits.body_bytes:
        raise too_large(limits)
    body = bytearray()
    try:
        async with asyncio.timeout(limits.body_seconds):
            while True:
                message = await request.receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                body += message.get("body", b"")
                if len(body) > limits.body_bytes:
                    raise too_large(limits)
                if not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        raise Problem(408, f"the body did not come within {limits.body_seconds:g} s") from None


def too_large(limits: Limits) -> Problem:
    return Problem(413, f"the body is larger than {limits.body_bytes} bytes, which is all that is read")


async def unless_gone(
    receive: Receive, work: Coroutine[Any, Any, Result], *signs: Coroutine[Any, Any, None]
) -> Result:
    """What `work` returns. It is cancelled, and ClientGoneError raised, when the client goes away before, or when one of
    `signs` returns, each of which waits for a reason to give the client up."""
    task = asyncio.ensure_future(work)
    others = [asyncio.ensure_future(sign) for sign in (disconnected(receive), *signs)]
    try:
        await asyncio.wait({task, *others}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGoneError
        return task.result()
    finally:
        for each in (task, *others):
            each.cancel()
        await asyncio.wait({task, *others})
        if not task.cancelled():
            task.exception()  # it was looked at; or nobody is left to tell


async def disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class EventStream(Response):
    """Server-sent events. `held` is closed when the last is sent, or the client is gone or does not read."""

    media_type = "text/event-stream"

    def __init__(
        self, events: AsyncGenerator[bytes, None], held: contextlib.AsyncExitStack, limits: Limits
    ) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self.events, self.held, self.limits = events, held, limits
        self._sending_since: float | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self.held:
            try:
                await unless_gone(receive, self._send_all(send), self._stalled())
            except ClientGoneError:
                abort = scope.get("state", {}).get("abort")
                if abort is not None:  # what waits in the socket would keep a closed connection for ever
                    abort()
                raise
            finally:
                await self.events.aclose()

    async def _stalled(self) -> None:
        """Returns once the reader has left the socket full for too long."""
        limit, loop = self.limits.send_seconds, asyncio.get_running_loop()
        while self._sending_since is None or loop.time() - self._sending_since < limit:
            await asyncio.sleep(limit / 4)

    async def _send_all(self, send: Send) -> None:
        headers = self.raw_headers
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        loop = asyncio.get_running_loop()
        async for event in self.events:
            self._sending_since = loop.time()
            await send({"type": "http.response.body", "body": event, "more_body": True})
            self._sending_since = None
        await send({"type": "http.response.body", "body": b"", "more_body": False})
