"""Answer `/livez`, `/readyz` and `/metrics` in a process that serves nothing else, and say who may read figures."""

from __future__ import annotations

import asyncio
import hmac
import logging
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from ecluse.addresses import NO_PROXIES, read_address
from ecluse.runtime import Runtime
from ecluse.serving import make_server
from ecluse.serving.connections import Bounds
from ecluse.vitals.instruments import Page
from ecluse.vitals.readiness import Readiness

logger = logging.getLogger(__name__)
#: A thread that has not come round for so long stands still. Long: a statement may wait minutes for a lock, and whoever
#: ends a worker ends its jobs.
LIVE_WITHIN: Final = 300.0
#: Headers by which a proxy says that it passes something on.
_PASSED_ON: Final = ("forwarded", "x-forwarded-for", "x-real-ip", "via")
_REFUSAL: Final = (
    "Figures are read with the token that ECLUSE_METRICS_TOKEN sets (Authorization: Bearer …). Without one they are "
    "read from this machine or a private network alone, and through no proxy.\n"
)


def may_read(request: Request, token: str | None) -> bool:
    """Return whether who asks runs this, and may read figures and reasons.

    With a token: who sends it. Without: who asks from this machine or a private network, unless a proxy passes the
    request on, behind which anyone may stand.
    """
    if token is not None:
        sent = request.headers.get("authorization", "")
        return hmac.compare_digest(sent.encode(), f"Bearer {token}".encode())
    if any(name in request.headers for name in _PASSED_ON) or request.client is None:
        return False
    address = read_address(request.client.host)
    return address is not None and (address.is_private or address.is_loopback)


def refusal() -> Response:
    """Say to who may not read figures how they are read."""
    return PlainTextResponse(_REFUSAL, 403)


def readiness_answer(
    states: Mapping[str, str], reasons: Mapping[str, str] | None, **more: object
) -> Response:
    """Answer with each part's state; `reasons` are for operators alone."""
    ready = all(state == "ok" for state in states.values())
    body: dict[str, object] = {"status": "ok" if ready else "unavailable", "parts": states, **more}
    if reasons:
        body["reasons"] = reasons
    return JSONResponse(body, 200 if ready else 503)


class Doors:
    """The application of a worker's address."""

    def __init__(
        self,
        runtime: Runtime,
        readiness: Readiness,
        page: Page,
        silent_for: Callable[[], Mapping[str, float]],
    ) -> None:
        """`silent_for`: for how many seconds each thread that the process lives by has not come round."""
        self._runtime = runtime
        self._readiness = readiness
        self._page = page
        self._silent_for = silent_for
        self._doors = {"/livez": self._live, "/readyz": self._ready, "/metrics": self._metrics}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope)
        door = self._doors.get(request.url.path)
        if door is None:
            response: Response = PlainTextResponse("Here are /livez, /readyz and /metrics.\n", 404)
        elif request.method not in ("GET", "HEAD"):
            response = PlainTextResponse("", 405, {"allow": "GET, HEAD"})
        else:
            response = await door(request)
        response.headers["cache-control"] = "no-store"
        await response(scope, receive, send)

    async def _live(self, _: Request) -> Response:
        still = sorted(name for name, seconds in self._silent_for().items() if seconds > LIVE_WITHIN)
        if still:
            return JSONResponse({"status": "stands_still", "parts": still}, 503)
        return JSONResponse({"status": "ok"})

    async def _ready(self, request: Request) -> Response:
        states = await self._readiness.look(self._runtime)
        reads = may_read(request, self._runtime.settings.metrics_token)
        return readiness_answer(states, self._readiness.reasons() if reads else None)

    async def _metrics(self, request: Request) -> Response:
        if not may_read(request, self._runtime.settings.metrics_token):
            return refusal()
        content = await asyncio.to_thread(self._page.write)
        return Response(content, media_type=self._page.content_type)


@contextmanager
def serve_beside(app: Doors, listener: socket.socket) -> Iterator[None]:
    """Serve in a thread beside what this process is for, until the block ends."""
    ready = threading.Event()
    bounds = Bounds(most_of_one=16, most_unfinished=32, most=64)
    server = make_server(app, ready.set, proxies=NO_PROXIES, bounds=bounds)
    thread = threading.Thread(target=lambda: server.run([listener]), name="vitals", daemon=True)
    thread.start()
    ready.wait(10)
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(5)
