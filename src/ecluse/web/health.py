"""Tell an orchestrator whether this process lives and is ready, and Prometheus what it does."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from types import FunctionType
from typing import Final

from fastapi import Request, Response
from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ecluse import logs, tracing
from ecluse.application import failures
from ecluse.runtime import Runtime
from ecluse.vitals import Figures, Page, Readiness, may_read
from ecluse.vitals.doors import readiness_answer, refusal
from ecluse.web.declarations import Declarations
from ecluse.web.security import runtime_of

router = Declarations(tags=["health"])
logger = logging.getLogger(__name__)
#: A line for each request.
access = logging.getLogger("ecluse.access")
REQUEST_ID: Final = b"x-request-id"
#: An id that whoever stands in front may give: a UUID, digits, a trace. No underscore, which each token of ours has.
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{7,63}")
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
#: What machines ask again and again.
_OF_MACHINES: Final = frozenset({"/livez", "/readyz", "/metrics"})


class Metrics:
    """What one process counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "handler")
        self.requests = Counter(
            "ecluse_http_requests", "HTTP requests", (*labels, "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "ecluse_http_request_duration_seconds", "Time to answer", labels, registry=self.registry
        )


def _handler(scope: Scope) -> str:
    """Name the function that answered, such as `api.models.list_models`."""
    endpoint = scope.get("endpoint")
    if not isinstance(endpoint, FunctionType):
        return "other"
    return f"{endpoint.__module__.removeprefix('ecluse.web.')}.{endpoint.__name__}"


class Measure:
    """Count every request by the function that answers it, never by its path: a path holds ids."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500
        request_id = _request_id(scope)

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = [*message.get("headers", ()), (REQUEST_ID, request_id.encode())]
                message = {**message, "headers": headers}
            await send(message)

        method = scope["method"] if scope["method"] in _METHODS else "other"
        with (
            logs.about(request=request_id),
            tracing.root(method, "server", None, {"ecluse.request": request_id}) as span,
        ):
            try:
                await self._app(scope, receive, noted)
            finally:
                seconds = time.perf_counter() - began
                handler = _handler(scope)
                route = _route_of(scope) or f"({handler})"
                about = {
                    "http.request.method": method,
                    "http.route": route,
                    "http.response.status_code": status,
                }
                span.note(about, name=f"{method} {route}")
                self._metrics.requests.labels(method, handler, str(status)).inc()
                self._metrics.seconds.labels(method, handler).observe(seconds)
                _note_access(scope, handler, status, seconds)


def _request_id(scope: Scope) -> str:
    """Return the id that whoever stands in front gave a request, or a new one."""
    sent = next((value for name, value in scope["headers"] if name == REQUEST_ID), b"").decode("latin-1")
    return sent if _ID.fullmatch(sent) else secrets.token_hex(8)


def _route_of(scope: Scope) -> str | None:
    """Return the address of the operation as it is declared, with that of the router which holds it."""
    # Where the framework keeps it; with `route` alone the router's part is lost. tests/test_logs.py holds it to that.
    context = scope.get("fastapi", {}).get("effective_route_context")
    return getattr(context or scope.get("route"), "path", None)


def _note_access(scope: Scope, handler: str, status: int, seconds: float) -> None:
    """Write a line about a request: the address as it is declared, as what is filled in may be a secret or personal."""
    route = _route_of(scope) or f"({handler})"
    quiet = route in _OF_MACHINES or (handler == "other" and status < 500)
    fields = {"method": scope["method"], "route": route, "status": status, "ms": round(1000 * seconds, 1)}
    access.log(
        logging.DEBUG if quiet else logging.INFO,
        "%s %s %s in %.0f ms",
        scope["method"],
        route,
        status,
        1000 * seconds,
        extra={"fields": fields},
    )


@router.get("/livez")
async def livez() -> dict[str, str]:
    """Answer, which says that this process lives."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """Say whether each part can be written and each disk has room; 503 names the one that does not.

    Why, is said to who may read `/metrics`. Applications that cannot be used are named; they take nothing else down.
    """
    readiness, runtime = readiness_of(request), runtime_of(request)
    states = await readiness.look(runtime)
    left_out: dict[str, object] = {}
    if broken := failures():  # the rest answers without them; `ecluse doctor` and the log say why
        left_out["left_out"] = sorted({part.name for part in broken})
        # Which parts; not why: the text of an error may hold anything, and this is answered to anyone.
        left_out["left_out_parts"] = sorted(f"{part.name}: {part.source}" for part in broken)
    reads = may_read(request, runtime.settings.metrics_token)
    return readiness_answer(states, readiness.reasons() if reads else None, **left_out)


def readiness_of(request: Request) -> Readiness:
    """Return what this process asks its parts with."""
    readiness = request.app.state.readiness
    assert isinstance(readiness, Readiness)  # noqa: S101 (set where the app is made)
    return readiness


def metrics_endpoint(runtime: Runtime, metrics: Metrics) -> Callable[[Request], Awaitable[Response]]:
    """Return what answers `/metrics`: to who may read it, with what is counted here and what the catalog says."""
    page = Page(metrics.registry, more=[Figures(runtime)])
    # Not of the threads that answer requests: all of those may wait for a database when this is read.
    thread = ThreadPoolExecutor(1, thread_name_prefix="metrics")

    async def endpoint(request: Request) -> Response:
        if not may_read(request, runtime.settings.metrics_token):
            return refusal()
        content = await asyncio.get_running_loop().run_in_executor(thread, page.write)
        return Response(content, media_type=page.content_type)

    return endpoint
