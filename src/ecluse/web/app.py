"""Put the web application together: pages, API, health, protection."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
from functools import cache
from pathlib import Path
from typing import Any, Final

from anyio import to_thread
from fastapi import FastAPI, Response
from fastapi.staticfiles import StaticFiles
from fastapi.telemetry import TelemetryConfig
from starlette.datastructures import Headers
from starlette.staticfiles import NotModifiedResponse
from starlette.types import ASGIApp, Scope

from ecluse import __version__, work
from ecluse.application import applications, folders, guarded, parts
from ecluse.inference import InferenceMetrics, ServedModels
from ecluse.runtime import Runtime
from ecluse.vitals import Readiness, expect
from ecluse.web import api, health, oauth, open_inference, pages
from ecluse.web.admission import Admission
from ecluse.web.declarations import Declarations
from ecluse.web.errors import (
    add_error_handlers,
    answer_error,
    declare_errors,
    refuse_cross_site,
    refuse_large_body,
)
from ecluse.web.lately import Lately
from ecluse.web.outages import Outages
from ecluse.web.security import BodyLimit, Protection
from ecluse.web.shortcut import Shortcut
from ecluse.web.templating import static_file, static_url

STATIC: Final = Path(__file__).parent / "static"
#: Endings of the files that text compresses well: images and fonts are compressed already.
COMPRESSED: Final = frozenset({".js", ".mjs", ".css", ".svg"})
#: What the framework would say of requests by itself holds their addresses; `ecluse.tracing` follows them.
NOTHING_SAID: Final[TelemetryConfig] = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
}
DESCRIPTION: Final = """
Upload a table, train a model on it, score another table with it, download the result.

Make a token on your account page and send it as `Authorization: Bearer ecluse_…`. Every error answers with
`{"error": {"code", "message", "reference"}}`.
"""


def make_app(runtime: Runtime, *, listens_here: bool = False) -> FastAPI:
    """Make the application over what `runtime` holds open. Whoever opened the runtime closes it.

    `listens_here`: this machine alone reaches it, so that who asks may be who runs it.
    """
    app = _Application(
        title="Écluse",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        telemetry=NOTHING_SAID,
        openapi_tags=[
            {"name": tag, "description": text}
            for application in applications()
            for tag, text in application.tags.items()
        ],
    )
    app.state.runtime = runtime
    app.state.listens_here = listens_here
    app.state.exposed = False  # whoever listens for it says so: `security.is_exposed`
    app.state.metrics = health.Metrics()
    app.state.inference_metrics = InferenceMetrics(app.state.metrics.registry)
    app.state.inference = ServedModels(runtime, app.state.inference_metrics)
    app.state.lately = Lately(runtime)
    app.state.admission = Admission()
    app.state.readiness = Readiness()
    app.state.outages = Outages(runtime)
    for application, hold in parts("web"):
        with guarded(application, "web"):
            hold(app)
    every = Declarations()
    for declared in (
        api.make_router(),
        pages.make_router(),
        open_inference.router,
        oauth.router,
        health.router,
    ):
        every.take_in(declared)
    app.router.routes.extend(every.routes)
    expect(work.kinds())
    answer = health.metrics_endpoint(runtime, app.state.metrics)
    app.add_api_route("/metrics", answer, include_in_schema=False)
    app.mount("/static", _Static(directory=STATIC), name="static")
    add_error_handlers(app)
    app.add_middleware(Shortcut)
    return app


class _Application(FastAPI):
    def openapi(self) -> dict[str, Any]:
        """Describe the API, with the errors that operations answer by their nature; made once."""
        if self.openapi_schema is None:
            declare_errors(super().openapi())
        return super().openapi()

    def build_middleware_stack(self) -> ASGIApp:
        """Build the framework's stack, measured and protected from outside.

        What `add_middleware` adds stands inside the framework's own handler of faults, whose answer it would
        not see.
        """
        public_url = self.state.runtime.settings.public_url
        limited = BodyLimit(super().build_middleware_stack(), refuse_large_body, answer_error)
        protected = Protection(limited, refuse_cross_site, public_url)
        return health.Measure(protected, self.state.metrics)


class _Static(StaticFiles):
    """The files of the pages, compressed for whoever reads that. Pages themselves are sent as they are: they hold
    secrets beside what a visitor wrote, and the length of such an answer would tell of them (BREACH)."""

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:
        """Find a file of the shell, or of the application that the path begins with; none outside their folders."""
        name, _, rest = path.partition("/")
        folder = folders("static").get(name) if rest else None
        if folder is None:
            return super().lookup_path(path)
        return StaticFiles(directory=folder).lookup_path(rest)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Answer with a static file; one asked for by its digest, as `static_url` writes it, may be kept for ever."""
        response = await super().get_response(path, scope)
        if Path(path).suffix in COMPRESSED and response.status_code in (200, 206, 304):
            response.headers["vary"] = "accept-encoding"
            asked = Headers(scope=scope)
            if "range" not in asked and _reads_gzip(asked.get("accept-encoding", "")):
                content, digest = await to_thread.run_sync(_compressed, str(static_file(path)))
                response = self._sent_compressed(content, digest, response, asked)
        address = f"/static/{path}?{scope['query_string'].decode('latin-1')}"
        if response.status_code in (200, 206, 304) and address == static_url(path):
            response.headers["cache-control"] = "public, max-age=31536000, immutable"
        return response

    def _sent_compressed(self, content: bytes, digest: str, plain: Response, asked: Headers) -> Response:
        headers = {
            "content-encoding": "gzip",
            "etag": f'"{digest}"',
            "vary": "accept-encoding",
            "last-modified": plain.headers.get("last-modified", ""),
        }
        response = Response(content, headers=headers, media_type=plain.headers.get("content-type"))
        return (
            NotModifiedResponse(response.headers)
            if self.is_not_modified(response.headers, asked)
            else response
        )


def _reads_gzip(accepted: str) -> bool:
    """Say whether an Accept-Encoding names gzip, and not with a weight of nought."""
    for choice in accepted.lower().split(","):
        coding, _, weight = choice.partition(";")
        if coding.strip() in ("gzip", "*"):
            return not re.fullmatch(r"\s*q=0(\.0*)?\s*", weight)
    return False


@cache
def _compressed(path: str) -> tuple[bytes, str]:
    """Compress a file and digest the result; done once, as files do not change while a process runs."""
    content = gzip.compress(Path(path).read_bytes(), 9, mtime=0)
    return content, hashlib.sha256(content).hexdigest()[:20]
