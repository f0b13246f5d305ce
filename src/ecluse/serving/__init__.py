"""Serve an application over HTTP, with bounds on what strangers may hold open and on whose word counts.

The server is uvicorn with httptools, which has no limit of its own on the time or size of a request that arrives, and
believes whoever connects from this machine. `connections` bounds the one, `forwarded` the other.
"""

from __future__ import annotations

import asyncio
import resource
import socket
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, Final

import uvicorn

from ecluse.addresses import Proxies
from ecluse.serving.connections import Bounds, Doors
from ecluse.serving.forwarded import Forwarded

#: The limit of open files to ask the system for.
OPEN_FILES: Final = 65_536
#: Open files reserved for everything but connections: databases, stores, files that are sent.
OTHER_FILES: Final = 256
#: New connections that the system queues, and that are accepted at once.
BACKLOG: Final = 512
STOP_SECONDS: Final = 3


def serve(app: Any, listener: socket.socket, announce: Callable[[], None], *, proxies: Proxies) -> None:
    """Serve until the process is interrupted; `announce` is called once it answers."""
    make_server(app, announce, proxies=proxies, bounds=Bounds(most=most_connections())).run([listener])


def make_server(
    app: Any, announce: Callable[[], None], *, proxies: Proxies, bounds: Bounds
) -> uvicorn.Server:
    """Return the server of an application, which is not started yet."""

    class Server(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            announce()

        async def main_loop(self) -> None:
            """Keep the date of the answers, once a second and not ten times, until a signal says to stop."""
            self._stopping, self._loop, tenths = asyncio.Event(), asyncio.get_running_loop(), 0
            while not await self.on_tick(tenths):
                with suppress(TimeoutError):  # a second has passed: tick
                    await asyncio.wait_for(self._stopping.wait(), 1.0)
                tenths = (tenths + 10) % 864_000

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            super().handle_exit(sig, frame)
            with suppress(AttributeError, RuntimeError):  # it has not begun, or has ended
                self._loop.call_soon_threadsafe(self._stopping.set)

    return Server(
        uvicorn.Config(
            Forwarded(app, proxies),
            http=Doors(bounds, proxies).protocol,  # type: ignore[arg-type]  # it is called as the class would be
            log_config=None,  # the log of the process, see `ecluse.logs`
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=STOP_SECONDS,
            timeout_keep_alive=bounds.idle_seconds,
            backlog=BACKLOG,
            proxy_headers=False,
        )
    )


def most_connections() -> int:
    """Return how many connections this process may hold, once it may open as many files as the machine lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < limit:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        soft = limit
    if soft == resource.RLIM_INFINITY:
        return Bounds.most
    return max(min(Bounds.most, soft - BACKLOG - OTHER_FILES), min(64, soft // 4))
