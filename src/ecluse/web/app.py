"""Put the web application together: pages, API, health, protection."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from ecluse import __version__
from ecluse.runtime import Runtime
from ecluse.web import api, health, pages
from ecluse.web.errors import add_error_handlers
from ecluse.web.security import Protection

STATIC: Final = Path(__file__).parent / "static"
DESCRIPTION: Final = """
Upload a table, train a model on it, score another table with it, download the result.

Make a token on your account page and send it as `Authorization: Bearer ecluse_…`. Every error answers with
`{"error": {"code", "message", "reference"}}`.
"""


def make_app(runtime: Runtime) -> FastAPI:
    """The application over what `runtime` holds open. Whoever opened the runtime closes it."""
    app = FastAPI(title="Écluse", version=__version__, description=DESCRIPTION, docs_url=None, redoc_url=None)
    app.state.runtime = runtime
    metrics = health.Metrics()
    app.include_router(api.router)
    app.include_router(pages.router, include_in_schema=False)
    app.include_router(health.router)
    app.add_api_route("/metrics", health.metrics_endpoint(metrics), include_in_schema=False)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_middleware(Protection, public_url=runtime.settings.public_url)
    app.add_middleware(health.Measure, metrics=metrics)
    add_error_handlers(app)
    return app
