"""The routes, who may ask, and errors as JSON.

GET  /                  the page                     POST /v1/completions    OpenAI's completions
GET  /v1/models         what can be asked for        POST /v1/score          how surprised a model is
GET  /health            200, or 503 at the end       GET  /metrics           for Prometheus
GET  /openapi.json      this interface, described
"""

import contextlib
import hmac
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from lm_generate.serving.completions import Completion
from lm_generate.serving.fields import parse_object
from lm_generate.serving.openapi import description
from lm_generate.serving.page import page, page_headers
from lm_generate.serving.problems import Problem, told
from lm_generate.serving.reply import dumps
from lm_generate.serving.request import COMPLETION_FIELDS, SCORE_FIELDS, read_completion, read_score
from lm_generate.serving.scores import score
from lm_generate.serving.service import Service
from lm_generate.serving.transport import ClientGoneError, EventStream, Incoming, read_body, unless_gone

log = logging.getLogger(__name__)
OPEN_TO_ALL = ("/", "/health")
PATHS = ("/", "/health", "/metrics", "/openapi.json", "/v1/models", "/v1/completions", "/v1/score")


def make_app(service: Service, *, token: str | None = None, hosts: Sequence[str] | None = None) -> ASGIApp:
    """The ASGI application.

    `token`: without it in `Authorization: Bearer ...` only the page and /health answer. `hosts`: names by which the server
    may be called; None: any. A page of another site cannot reach a server on loopback under a name of its own
    (DNS rebinding), nor send it JSON: no answer allows other origins.
    """
    app = Starlette(
        routes=[
            Route("/", show_page),
            Route("/health", health),
            Route("/metrics", metrics),
            Route("/openapi.json", describe),
            Route("/v1/models", list_models),
            Route("/v1/models/{name:path}", show_model),
            Route("/v1/completions", complete, methods=["POST"]),
            Route("/v1/score", score_text, methods=["POST"]),
        ],
        exception_handlers={Problem: on_problem, HTTPException: on_http_error},
    )
    app.state.service = service
    return Gate(app, service, token, hosts)


class Gate:
    """In front of all routes: who may ask, what is counted, and that every fault is answered."""

    def __init__(
        self, app: ASGIApp, service: Service, token: str | None, hosts: Sequence[str] | None
    ) -> None:
        self.app, self.service, self.token, self.hosts = app, service, token, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        status, incoming = 0, Incoming(receive)

        async def watched(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if status >= 400:
                    await incoming.discard(self.service.limits)
            await send(message)

        try:
            problem = self._refused(scope)
            if problem is None:
                await self.app(scope, incoming, watched)
            else:
                await answer(problem)(scope, incoming, watched)
        except ClientGoneError:
            self.service.metrics.left += 1
            status = status or 499
        except Exception:
            log.exception("%s %s failed", scope["method"], scope["path"])
            if not status:
                await answer(Problem(500, "the server failed; its log has the reason"))(
                    scope, incoming, watched
                )
        path = scope["path"] if scope["path"] in PATHS else "other"  # else every name tried would be kept
        self.service.metrics.answers[path, status] += 1

    def _refused(self, scope: Scope) -> Problem | None:
        headers = Headers(scope=scope)
        if self.hosts is not None:
            host = headers.get("host", "").rpartition("@")[2]
            name = host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
            if name.lower() not in self.hosts:
                return Problem(
                    403, f"this server is called {' or '.join(self.hosts)}, not {name[:100]!r} (header Host)"
                )
        if self.token is not None and scope["path"] not in OPEN_TO_ALL:
            given = headers.get("authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(given.encode("utf-8"), self.token.encode("utf-8")):
                return Problem(
                    401,
                    "this server wants its token: send the header Authorization: Bearer TOKEN",
                    code="invalid_api_key",
                )
        return None


async def complete(request: Request) -> Response:
    service: Service = request.app.state.service
    body = parse_object(await read_body(request, service.limits))
    async with contextlib.AsyncExitStack() as held:
        held.enter_context(told(COMPLETION_FIELDS))
        wanted = read_completion(body, service.limits)
        held.enter_context(service.place())
        model = await held.enter_async_context(service.shelf.use(wanted.model))
        completion = Completion(service, model, wanted)
        await completion.prepare()
        held.callback(service.tell, completion.record)
        if wanted.stream:
            return EventStream(completion.events(), held.pop_all(), service.limits)
        return reply_json(await unless_gone(request.receive, completion.whole()))


async def score_text(request: Request) -> Response:
    service: Service = request.app.state.service
    body = parse_object(await read_body(request, service.limits))
    with told(SCORE_FIELDS):
        wanted = read_score(body, service.limits)
    with told(), service.place():
        async with service.shelf.use(wanted.model) as model:
            return reply_json(await unless_gone(request.receive, score(service, model, wanted)))


async def list_models(request: Request) -> Response:
    service: Service = request.app.state.service
    models = [described(service, *item) for item in service.shelf.folders().items()]
    return reply_json({"object": "list", "data": models})


async def show_model(request: Request) -> Response:
    service: Service = request.app.state.service
    name = request.path_params["name"]
    folder = service.shelf.folders().get(name)
    if folder is None:
        raise Problem(404, f"there is no model {name[:100]!r}", param="model", code="model_not_found")
    return reply_json(described(service, name, folder))


def described(service: Service, name: str, folder: Path) -> dict[str, Any]:
    try:
        created = int((folder / "config.json").stat().st_mtime)
    except OSError:  # a checkpoint that its run has just pruned
        created = 0
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "lm-generate",
        "loaded": name in service.shelf.loaded,
    }


async def health(request: Request) -> Response:
    service: Service = request.app.state.service
    well = service.worker.alive and not service.stopping
    status = "ok" if well else "stopping" if service.stopping else "failed"
    return reply_json({"status": status}, 200 if well else 503)


async def metrics(request: Request) -> Response:
    service: Service = request.app.state.service
    worker = service.worker
    text = service.metrics.text(
        {
            "requests_now": ("Requests being answered", service.requests),
            "rows_running": ("Texts being written", worker.running),
            "rows_waiting": ("Texts waiting for a slot", worker.waiting),
            "slots": ("Texts that can be written at once, for each model", worker.slots),
            "models_loaded": ("Models in memory", len(service.shelf.loaded)),
        }
    )
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


async def describe(request: Request) -> Response:
    service: Service = request.app.state.service
    return reply_json(description(service.limits))


async def show_page(request: Request) -> Response:
    return Response(page(), media_type="text/html", headers=page_headers())


async def on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return answer(error)


async def on_http_error(request: Request, error: Exception) -> Response:
    """No such path, or another method than the path has."""
    assert isinstance(error, HTTPException)
    what = f"{request.method} {request.url.path[:200]}"
    told = {404: f"there is no {what}", 405: f"{what} is not answered: the path has other methods"}
    response = answer(Problem(error.status_code, told.get(error.status_code, str(error.detail))))
    response.headers.update(error.headers or {})
    return response


def answer(problem: Problem) -> Response:
    return Response(dumps(problem.body()), problem.status, problem.headers(), "application/json")


def reply_json(body: dict[str, Any], status: int = 200) -> Response:
    return Response(dumps(body), status, media_type="application/json")
