"""Tell an orchestrator whether this process lives and is ready, and Prometheus what it does."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import FunctionType
from typing import Final

from fastapi import APIRouter, Request, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ecluse.application import failures
from ecluse.disks import look_at, what_is_wrong
from ecluse.errors import DiskUnusable, DocumentsMissing, EcluseError
from ecluse.runtime import Runtime
from ecluse.web.security import runtime_of

router = APIRouter(tags=["health"])
logger = logging.getLogger(__name__)


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

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            route = _handler(scope)
            self._metrics.requests.labels(scope["method"], route, str(status)).inc()
            self._metrics.seconds.labels(scope["method"], route).observe(time.perf_counter() - began)


@router.get("/livez")
async def livez() -> dict[str, str]:
    """This process answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(request: Request) -> Response:
    """Say whether each part answers and each disk that is written to has room; 503 names the one that does not.

    Applications that cannot be used are named; they take nothing else down.
    """
    parts = await readiness_of(request).look(runtime_of(request))
    ready = all(state == "ok" for state in parts.values())
    body: dict[str, object] = {"status": "ok" if ready else "unavailable", "parts": parts}
    if broken := failures():  # the rest answers without them; `ecluse doctor` and the log say why
        body["left_out"] = sorted({part.name for part in broken})
        # Which parts; not why: the text of an error may hold anything, and this is answered to anyone.
        body["left_out_parts"] = sorted(f"{part.name}: {part.source}" for part in broken)
    return JSONResponse(body, 200 if ready else 503)


#: Seconds that each part has to answer. An orchestrator that asks waits longer: tell it so (`timeoutSeconds`).
ANSWERS_WITHIN: Final = 4.0
#: The state of a part that has not answered by then.
NO_ANSWER: Final = "no_answer"


def _check_disks(runtime: Runtime) -> None:
    for disk in look_at(runtime.settings.local_places()):
        if disk.trouble is not None:
            raise DiskUnusable(disk.trouble)


def _check_store(runtime: Runtime) -> None:
    for store in runtime.stores.hurried().distinct():
        store.exists(".ready")


def _check_catalog(runtime: Runtime) -> None:
    with runtime.catalog.read() as transaction:
        transaction.connection()


def _check_jobs(runtime: Runtime) -> None:
    runtime.jobs.active(limit=1)


def _check_documents(runtime: Runtime) -> None:
    with suppress(DocumentsMissing):  # it answers, and has none yet: who needs them is told how
        runtime.documents.check()


CHECKS: Final[dict[str, Callable[[Runtime], None]]] = {
    "disks": _check_disks,
    "store": _check_store,
    "catalog": _check_catalog,
    "jobs": _check_jobs,
    "documents": _check_documents,
}


class Readiness:
    """Ask every part beside the others, and none again while it still owes an answer.

    A part that hangs keeps one thread of this process, however often it is asked for; not one of those that answer
    requests, so that all of those may hang too.
    """

    def __init__(self, checks: Mapping[str, Callable[[Runtime], None]] = CHECKS) -> None:
        self._checks = checks
        self._asked: dict[str, asyncio.Future[str]] = {}
        self._said: dict[str, str] = {}

    async def look(self, runtime: Runtime, within: float = ANSWERS_WITHIN) -> dict[str, str]:
        """`ok`, the code of an error, or `no_answer`, by part."""
        asked = {name: self._ask(name, runtime) for name in self._checks}
        await asyncio.wait(asked.values(), timeout=within)
        states = {name: answer.result() if answer.done() else NO_ANSWER for name, answer in asked.items()}
        for name, state in states.items():
            if state == NO_ANSWER:
                self._say(name, f"no answer within {within:.0f} s")
        return states

    def _ask(self, name: str, runtime: Runtime) -> asyncio.Future[str]:
        loop = asyncio.get_running_loop()
        owed = self._asked.get(name)
        if owed is None or owed.done() or owed.get_loop() is not loop:
            self._asked[name] = answer = loop.create_future()
            threading.Thread(
                target=self._answer,
                args=(name, runtime, answer, loop),
                name=f"readiness of {name}",
                daemon=True,
            ).start()
        return self._asked[name]

    def _answer(
        self, name: str, runtime: Runtime, answer: asyncio.Future[str], loop: asyncio.AbstractEventLoop
    ) -> None:
        state = self._state(name, runtime)
        with suppress(RuntimeError):  # the process stops: its loop is closed
            loop.call_soon_threadsafe(answer.set_result, state)

    def _state(self, name: str, runtime: Runtime) -> str:
        try:
            self._checks[name](runtime)
        except EcluseError as error:
            self._say(name, str(error))
            return error.code
        except Exception as error:
            reason = what_is_wrong(error)
            if reason is None:
                logger.exception("Whether %s is ready is not known", name)
                return "fault"
            self._say(name, reason)
            return DiskUnusable.code
        if self._said.pop(name, None) is not None:
            logger.warning("Ready again: %s", name)
        return "ok"

    def _say(self, name: str, reason: str) -> None:
        """Once, not with every look."""
        if self._said.get(name) != reason:
            self._said[name] = reason
            logger.warning("Not ready: %s: %s", name, reason)


def readiness_of(request: Request) -> Readiness:
    """Return what this process asks its parts with."""
    readiness = request.app.state.readiness
    assert isinstance(readiness, Readiness)  # noqa: S101 (set where the app is made)
    return readiness


def metrics_endpoint(metrics: Metrics) -> Callable[[], Response]:
    def endpoint() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return endpoint
