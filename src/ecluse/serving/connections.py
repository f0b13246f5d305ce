"""Bound what a connection may hold open: time, bytes and number of requests that have not arrived whole.

Time: a head has `head_seconds`. The body of a stranger has `body_seconds`. That of a person who signed in (a large
upload over a slow line) goes on for as long as bytes move: `window_bytes` in each window of `body_seconds`, of which
one may be missed. What waits for us (a slow store, a full buffer) is not held against anyone. An answer that is not
read ends, and so does what is still sent after its answer.

Number: `most_of_one` unfinished requests of one address, `most_unfinished` of all, `most` connections. Where there are
more, the unfinished one that has waited longest is closed and the new one let in: a whole request arrives at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from dataclasses import dataclass
from typing import Any, Final, Literal

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ecluse.addresses import SENDER_IS_KNOWN, Proxies, block_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Bounds:
    """The bounds of one process. A browser sends a head in one piece; 15 s are for lines that lose most of it."""

    head_seconds: float = 15.0
    head_bytes: int = 64 * 1024
    body_seconds: float = 30.0
    window_bytes: int = 3_000
    answer_seconds: float = 30.0
    rest_seconds: float = 30.0
    idle_seconds: int = 5
    most_of_one: int = 100
    most_unfinished: int = 500
    most: int = 2_000
    #: Requests that one connection may have sent before the first is answered.
    most_ahead: int = 16


TOO_LARGE: Final = b"431 Request Header Fields Too Large"
REFUSAL: Final = b"\r\ncontent-length: 0\r\nretry-after: 5\r\nconnection: close\r\n\r\n"
#: What a connection is about: its head arrives, its body does, it is answered, it is answered and its body still
#: arrives, or nothing is asked.
Phase = Literal["head", "body", "answer", "rest", "idle"]
_UNFINISHED: Final = ("head", "body", "rest")


class Doors:
    """The connections of one process."""

    def __init__(self, bounds: Bounds, proxies: Proxies) -> None:
        self.bounds = bounds
        self.proxies = proxies
        self.connections: dict[Connection, None] = {}  # in the order in which they were opened
        self.by_block: defaultdict[str, dict[Connection, None]] = defaultdict(dict)
        self._closed = 0
        self._said_at = float("-inf")

    def protocol(self, *arguments: Any, **named: Any) -> Connection:
        """Return what the server makes of a new connection."""
        return Connection(self, *arguments, **named)

    def enter(self, connection: Connection) -> bool:
        """Let a new connection in; whether there is room, which one that waits for longer may have to make."""
        block = connection.block
        self.connections[connection] = None
        if block:
            self.by_block[block][connection] = None
            if _count_unfinished(self.by_block[block]) > self.bounds.most_of_one:
                self._close_oldest(self.by_block[block])
        if len(self.connections) > self.bounds.most:
            return self._close_oldest(self.connections) or self._close_idle()
        most = self.bounds.most_unfinished
        if len(self.connections) > most and _count_unfinished(self.connections) > most:
            self._close_oldest(self.connections)
        return True

    def leave(self, connection: Connection) -> None:
        self.connections.pop(connection, None)
        others = self.by_block.get(connection.block)
        if others is not None:
            others.pop(connection, None)
            if not others:
                del self.by_block[connection.block]

    def _close_oldest(self, among: dict[Connection, None]) -> bool:
        """Close the unfinished request that has waited longest; False where there is none but the newest."""
        newest = next(reversed(among))
        for connection in among:
            if connection.is_unfinished and connection is not newest:
                connection.cut()
                self._note()
                return True
        return False

    def _close_idle(self) -> bool:
        for connection in self.connections:
            if connection.phase == "idle":
                connection.cut()
                return True
        return False

    def _note(self) -> None:
        """Say now and then that requests are closed for their number; a line for each would fill the log."""
        self._closed += 1
        if time.monotonic() - self._said_at > 60:
            logger.warning(
                "More requests arrive in part than are kept: %d were closed since this was last said.",
                self._closed,
            )
            self._said_at, self._closed = time.monotonic(), 0


def _count_unfinished(among: dict[Connection, None]) -> int:
    return sum(connection.is_unfinished for connection in among)


class Connection(HttpToolsProtocol):
    """The server's own protocol, with bounds. It is called from the event loop alone."""

    def __init__(self, doors: Doors, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._doors = doors
        self._bounds = doors.bounds
        self.block = ""
        self.phase: Phase = "head"
        self._timer: asyncio.TimerHandle | None = None
        self._is_whole = False  # the body of the newest request
        self._is_cut = False
        self._head_size = 0  # of the parts that are whole
        self._head_arrived = 0  # with the part that is not
        self._moved = 0  # bytes of the body in this window
        self._poor_windows = 0
        self._unread = 0  # bytes of the answer that waited to be read when it was last looked at

    @property
    def is_unfinished(self) -> bool:
        """Return whether a stranger's request has arrived in part."""
        return (
            self.phase in _UNFINISHED and not self._is_cut and not (self.phase == "body" and self._is_known())
        )

    # What the server's loop calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        peer = self.client[0] if self.client else ""
        # One proxy has many visitors.
        self.block = "" if not peer or self._doors.proxies.believes(peer) else block_of(peer)
        if self._doors.enter(self):
            self._begin("head")
        else:
            self._refuse(b"503 Service Unavailable")

    def connection_lost(self, exc: Exception | None) -> None:
        self._doors.leave(self)
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_cut:
            return
        self._moved += len(data)
        if self.phase == "idle":
            self._begin("head")
        self._head_arrived += len(data)
        super().data_received(data)
        if self.phase == "head" and self._head_arrived > self._bounds.head_bytes and not self._is_cut:
            self._refuse(TOO_LARGE)  # of a header that does not end the parser says nothing
        elif len(self.pipeline) > self._bounds.most_ahead:
            self.cut()

    # What the parser calls

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_size = 0
        self._is_whole = False
        if self.phase != "head" and not self._is_answering():
            self._begin("head")

    def on_url(self, url: bytes) -> None:
        self._grow_head(len(url))
        if not self._is_cut:
            super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._grow_head(len(name) + len(value))
        if not self._is_cut:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._is_cut:
            return
        was_answering = self._is_answering()
        super().on_headers_complete()
        if not was_answering:
            self._begin("body")

    def on_body(self, body: bytes) -> None:
        if not self._is_cut:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._is_cut:
            return
        super().on_message_complete()
        self._is_whole = True
        if self.phase == "body":
            self._begin("answer")
        elif self.phase == "rest":
            self._begin("idle")

    def on_response_complete(self) -> None:
        is_last = not self.pipeline
        super().on_response_complete()
        if not is_last:
            self._begin("answer" if self._is_whole else "body")
        else:
            self._begin("idle" if self._is_whole else "rest")

    # Ours

    def cut(self) -> None:
        """End it at once; what was not sent is not."""
        self._end()
        self.transport.abort()

    def _refuse(self, status: bytes) -> None:
        """Answer in one line, and end."""
        self._end()
        is_begun = self._is_answering() and self.cycle.response_started
        if is_begun or self.transport.is_closing() or self.transport.get_write_buffer_size():
            self.transport.abort()
            return
        self.transport.write(b"HTTP/1.1 " + status + REFUSAL)
        if self.transport.get_write_buffer_size():  # it reads nothing either
            self.transport.abort()
        else:
            self.transport.close()

    def _end(self) -> None:
        self._is_cut = True
        self._stop_timer()
        self._doors.leave(self)

    def _begin(self, phase: Phase) -> None:
        if self._is_cut:
            return
        self.phase = phase
        self._moved = self._poor_windows = self._unread = self._head_arrived = 0
        self._look_again()

    def _look_again(self) -> None:
        bounds = self._bounds
        seconds = {"head": bounds.head_seconds, "body": bounds.body_seconds, "rest": bounds.rest_seconds}
        self._stop_timer()
        self._timer = self.loop.call_later(seconds.get(self.phase, bounds.answer_seconds), self._look)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        """End the connection if its time has passed; else give it more."""
        if self.phase == "head":
            self._refuse(b"408 Request Timeout")
        elif self.phase == "rest":
            self.cut()
        elif self.phase == "body" and not self._may_go_on():
            self._refuse(b"408 Request Timeout")
        elif self.phase == "idle" and not self.transport.get_write_buffer_size():
            self.transport.close()
        elif self.phase in ("answer", "idle") and not self._is_read():
            self.cut()
        else:
            self._look_again()

    def _may_go_on(self) -> bool:
        """Return whether a body may arrive for another window."""
        moved, self._moved = self._moved, 0
        if self._waits_for_us():
            return True
        if not self._is_known():
            return False
        self._poor_windows = self._poor_windows + 1 if moved < self._bounds.window_bytes else 0
        return self._poor_windows < 2

    def _waits_for_us(self) -> bool:
        """Return whether the application has not taken yet what arrived, or has not asked for the body yet."""
        cycle = self.cycle
        return self.flow.read_paused or cycle.message_event.is_set() or cycle.waiting_for_100_continue

    def _is_read(self) -> bool:
        """Return whether something of the answer was read since it was last looked at, or nothing waits to be."""
        unread, self._unread = self._unread, self.transport.get_write_buffer_size()
        return self._unread == 0 or self._unread != unread

    def _is_known(self) -> bool:
        return self.cycle is not None and bool(self.cycle.scope["state"].get(SENDER_IS_KNOWN))

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _grow_head(self, size: int) -> None:
        self._head_size += size
        if self._head_size > self._bounds.head_bytes and not self._is_cut:
            self._refuse(TOO_LARGE)
