"""Tell an orchestrator whether this process lives and is ready, and Prometheus what it does."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import FunctionType
from typing import Final

from fastapi import APIRouter, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
)
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ecluse.errors import EcluseError
from ecluse.runtime import Runtime
from ecluse.web.security import RuntimeDep

router = APIRouter(tags=["health"])


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
        self.plants_images = Counter(
            "ecluse_plants_images", "Images looked at", ("result",), registry=self.registry
        )
        self.plants_seconds = Histogram(
            "ecluse_plants_image_seconds",
            "Time to decode an image and to classify it",
            buckets=(0.005, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
            registry=self.registry,
        )
        self.plants_loaded = Gauge(
            "ecluse_plants_models_loaded", "Models of images in memory", registry=self.registry
        )


def _handler(scope: Scope) -> str:
    """The function that answered, such as `api.models.list_models`."""
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
def readyz(runtime: RuntimeDep) -> Response:
    """The store, the catalog and the job engine answer; 503 says which does not."""
    parts = {name: _state(check, runtime) for name, check in CHECKS.items()}
    ready = all(state == "ok" for state in parts.values())
    return JSONResponse({"status": "ok" if ready else "unavailable", "parts": parts}, 200 if ready else 503)


def _check_store(runtime: Runtime) -> None:
    for store in runtime.stores.hurried().distinct():
        store.exists(".ready")


def _check_catalog(runtime: Runtime) -> None:
    with runtime.catalog.read() as transaction:
        transaction.connection()


def _check_jobs(runtime: Runtime) -> None:
    runtime.jobs.check()


CHECKS: Final[dict[str, Callable[[Runtime], None]]] = {
    "store": _check_store,
    "catalog": _check_catalog,
    "jobs": _check_jobs,
}


def _state(check: Callable[[Runtime], None], runtime: Runtime) -> str:
    try:
        check(runtime)
    except EcluseError as error:
        return error.code
    return "ok"


def metrics_endpoint(metrics: Metrics) -> Callable[[], Response]:
    def endpoint() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return endpoint
