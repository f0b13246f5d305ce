"""Stand between a client and a server and let through so many bytes a second, of all connections together."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

_PIECE = 16 * 1024


@dataclass
class SlowLine:
    """Where to connect, and what passed: bytes, and the most connections that were open at once."""

    port: int = 0
    passed: int = 0
    open: int = 0
    most_open: int = 0
    stopped: bool = False

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def slow_line(host: str, port: int, bytes_per_second: float) -> Iterator[SlowLine]:
    """A line to a server that carries so many bytes a second towards it; answers come back at once.

    While `stopped` it carries nothing either way, and its ends stay open.
    """
    line = SlowLine()
    loop = asyncio.new_event_loop()
    ready = threading.Event()
    ended = asyncio.Event()

    async def serve() -> None:
        turn = asyncio.Lock()
        carrying = set[asyncio.Task[Any]]()
        free_at = 0.0

        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, slow: bool) -> None:
            nonlocal free_at
            with suppress(OSError, asyncio.IncompleteReadError):
                while piece := await reader.read(_PIECE):
                    while line.stopped:
                        await asyncio.sleep(0.05)
                    if slow:
                        async with (
                            turn
                        ):  # the line carries one piece at a time, of whichever connection is next
                            now = time.monotonic()
                            free_at = max(free_at, now) + len(piece) / bytes_per_second
                            line.passed += len(piece)
                            await asyncio.sleep(free_at - now)
                    writer.write(piece)
                    await writer.drain()
            writer.close()

        async def connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if task := asyncio.current_task():
                carrying.add(task)
            line.open += 1
            line.most_open = max(line.most_open, line.open)
            there, back = await asyncio.open_connection(host, port, limit=_PIECE)
            try:
                await asyncio.gather(carry(reader, back, slow=True), carry(there, writer, slow=False))
            except asyncio.CancelledError:
                back.transport.abort()
            finally:
                writer.transport.abort()
                line.open -= 1

        listener = socket.socket()
        # What the system holds of a body has left its sender, who would think it sent.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * _PIECE)
        listener.bind(("127.0.0.1", 0))
        async with await asyncio.start_server(connect, sock=listener, limit=_PIECE):
            line.port = listener.getsockname()[1]
            ready.set()
            await ended.wait()
            for one in carrying:
                one.cancel()

    thread = threading.Thread(target=_run, args=(loop, serve()), daemon=True)
    thread.start()
    assert ready.wait(60)
    try:
        yield line
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(10)


def _run(loop: asyncio.AbstractEventLoop, serve: Coroutine[Any, Any, None]) -> None:
    serving = loop.create_task(serve)
    try:
        loop.run_until_complete(serving)
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0.05))
        loop.close()
