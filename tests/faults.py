"""Stand between a client and a store and break what passes: by plan, or at a seeded rate.

    with fault_proxy(server.endpoint, seed=7) as proxy:
        store = open_store(...)                              # over proxy.environment("prefix")
        proxy.plan(Fault.LOST, when=kind("PutObject"))       # the next one
        proxy.plan(Fault.SLOW_DOWN, when=kind("UploadPart"), after=2, times=3)
        proxy.rate(0.02)                                     # every request, one in fifty

Requests pass byte for byte, the Host header too, so that a signature made for the proxy's address holds at
the server, which checks it against the Host it is sent. Each request has a connection of its own to the
server; the client keeps its own open between requests as long as nothing broke.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from tests.servers import store_environment
from tests.support.wait import next_round, slow_in_loop

_PIECE: Final = 64 * 1024
_HEAD_LIMIT: Final = 256 * 1024


class Fault(Enum):
    """What can happen to one request."""

    LATENCY = "it is forwarded late"
    RESET = "the connection is reset; the server sees nothing"
    RESET_IN_REQUEST = "the connection is reset when half of the request is forwarded"
    SLOW_DOWN = "503 SlowDown; the server sees nothing"
    TOO_MANY = "429; the server sees nothing"
    CONFLICT = "409 ConditionalRequestConflict; the server sees nothing"
    ERROR = "500; the server sees nothing"
    TRUNCATE = "the server did it; its answer ends in the middle"
    RESET_IN_RESPONSE = "the server did it; the connection is reset in the middle of its answer"
    LOST = "the server did it; the connection closes without an answer"
    LOST_ERROR = "the server did it; a 500 stands in for its answer"
    CORRUPT = "one byte of the answer's body is another"
    HOLD_REQUEST = "halfway through the request's body, the plan's action runs; then it goes on"
    HOLD_RESPONSE = "halfway through the answer's body, the plan's action runs; then it goes on"


#: What a network or a busy server does by itself: all but what needs a plan, or breaks what no one can see.
NATURAL: Final = tuple(f for f in Fault if f not in (Fault.CORRUPT, Fault.HOLD_REQUEST, Fault.HOLD_RESPONSE))
#: The server never sees the request, or not whole.
UNSEEN: Final = (
    Fault.RESET,
    Fault.RESET_IN_REQUEST,
    Fault.SLOW_DOWN,
    Fault.TOO_MANY,
    Fault.CONFLICT,
    Fault.ERROR,
)

_ANSWERS: Final = {
    Fault.SLOW_DOWN: (503, "Service Unavailable", "SlowDown"),
    Fault.TOO_MANY: (429, "Too Many Requests", "TooManyRequests"),
    Fault.CONFLICT: (409, "Conflict", "ConditionalRequestConflict"),
    Fault.ERROR: (500, "Internal Server Error", "InternalError"),
    Fault.LOST_ERROR: (500, "Internal Server Error", "InternalError"),
}


@dataclass
class Request:
    """One request as it passed. `status` is what the server answered; None where it was not asked or silent.

    `sent` and `received` are bytes of bodies, forwarded to the server and read from it.
    """

    number: int
    method: str
    target: str
    headers: dict[str, str]
    fault: Fault | None = None
    status: int | None = None
    sent: int = 0
    received: int = 0

    @property
    def path(self) -> str:
        return unquote(urlsplit(self.target).path)

    @property
    def query(self) -> dict[str, str]:
        found = parse_qs(urlsplit(self.target).query, keep_blank_values=True)
        return {name: values[0] for name, values in found.items()}

    @property
    def key(self) -> str:
        """The object's key: the path without the bucket."""
        return self.path.lstrip("/").partition("/")[2]

    @property
    def has_body(self) -> bool:
        return self.headers.get("content-length", "0") != "0" or "transfer-encoding" in self.headers

    @property
    def kind(self) -> str:
        """The S3 operation, such as `UploadPart`."""
        copied = "x-amz-copy-source" in self.headers
        if "uploadId" in self.query:
            part = "UploadPartCopy" if copied else "UploadPart"
            names = {"PUT": part, "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload"}
        elif not self.key:
            names = {
                "GET": "ListObjects",
                "POST": "DeleteObjects",
                "PUT": "CreateBucket",
                "HEAD": "HeadBucket",
            }
            names |= {"GET": "ListMultipartUploads"} if "uploads" in self.query else {}
        else:
            put = "CopyObject" if copied else "PutObject"
            names = {"GET": "GetObject", "HEAD": "HeadObject", "DELETE": "DeleteObject", "PUT": put}
            names["POST"] = "CreateMultipartUpload"
        return names.get(self.method, self.method)


When = Callable[[Request], bool]


def kind(*names: str) -> When:
    """Requests of these S3 operations."""
    return lambda request: request.kind in names


@dataclass
class Plan:
    """A fault for the requests that `when` accepts: `after` are spared, then `times` are hit."""

    fault: Fault
    when: When
    after: int
    times: int
    delay: float
    action: Callable[[], object] | None
    hits: list[Request] = field(default_factory=list)

    def takes(self, request: Request) -> bool:
        if len(self.hits) >= self.times or not self.when(request):
            return False
        self.after -= 1
        return self.after < 0


class FaultProxy:
    """A running proxy. Every method may be called from any thread."""

    def __init__(self, upstream: str, seed: int) -> None:
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._seed = seed
        self._lock = threading.RLock()  # a plan may ask what has passed
        self._plans: list[Plan] = []
        self._requests: list[Request] = []
        self._rate: tuple[float, Sequence[Fault]] = (0.0, ())
        self.endpoint = ""

    @property
    def requests(self) -> list[Request]:
        """What has passed so far, in the order of arrival; those under way are among them."""
        with self._lock:
            return list(self._requests)

    def environment(self, prefix: str = "") -> dict[str, str]:
        """The environment that points Écluse at the bucket of the tests, through this proxy."""
        return store_environment(self.endpoint, prefix)

    def plan(
        self,
        fault: Fault,
        *,
        when: When = lambda request: True,
        after: int = 0,
        times: int = 1,
        delay: float = 0.05,
        action: Callable[[], object] | None = None,
    ) -> Plan:
        """Break `times` requests of those that `when` accepts, once `after` have passed; earlier plans first.

        `delay` (s) is for `LATENCY`. `action` runs where the fault is: before a reset, when half of a body has
        passed, when the server has answered and the answer is about to be lost.
        """
        plan = Plan(fault, when, after, times, delay, action)
        with self._lock:
            self._plans.append(plan)
        return plan

    def rate(self, probability: float, faults: Sequence[Fault] = NATURAL) -> None:
        """Break each request that no plan takes with `probability`; which, and how, follows from the seed."""
        with self._lock:
            self._rate = (probability, faults)

    def clear(self) -> None:
        """Let everything pass from now on, and forget what has passed."""
        with self._lock:
            self._plans.clear()
            self._requests.clear()
            self._rate = (0.0, ())

    async def serve(self, started: Callable[[], None], stop: asyncio.Event) -> None:
        """Pass requests until `stop` is set."""
        tasks: set[asyncio.Task[None]] = set()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._converse(reader, writer))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=_HEAD_LIMIT)
        self.endpoint = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        started()
        await stop.wait()
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await next_round()  # closed connections are let go in the loop's next round

    def _arrived(self, head: bytes) -> tuple[Request, Plan | None]:
        """Record a request, and what shall happen to it."""
        first, headers = _parsed(head)
        with self._lock:
            request = Request(len(self._requests), *first.split(" ")[:2], headers)
            self._requests.append(request)
            plan = next((p for p in self._plans if p.takes(request)), None) or self._drawn(request)
            if plan:
                plan.hits.append(request)
                request.fault = plan.fault
        return request, plan

    def _drawn(self, request: Request) -> Plan | None:
        probability, faults = self._rate
        draw = random.Random(f"{self._seed}:{request.number}")
        if not faults or draw.random() >= probability:
            return None
        return Plan(draw.choice(faults), lambda _: True, 0, 1, 0.05, None)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass the requests of one client connection, until something breaks or the client has no more."""
        writer.transport.set_write_buffer_limits(0)  # drained means: with the kernel
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError):
            _reset(writer)
        except asyncio.CancelledError:
            _reset(writer)
            raise
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Pass one request and its answer; whether the connection is good for another."""
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return False
        request, plan = self._arrived(head)
        fault = request.fault
        if fault is Fault.RESET:
            await _reach(plan)
            raise ConnectionResetError
        if fault in (Fault.SLOW_DOWN, Fault.TOO_MANY, Fault.CONFLICT, Fault.ERROR):
            return await _answer_instead(request, fault, reader, writer)
        if fault is Fault.LATENCY and plan:
            await slow_in_loop(plan.delay)
        far_reader, far_writer = await asyncio.open_connection(*self._upstream, limit=_HEAD_LIMIT)
        far_writer.transport.set_write_buffer_limits(0)
        sending = asyncio.create_task(_send(request, plan, head, reader, far_writer))
        try:
            complete = await _answer(request, plan, far_reader, writer)
            return complete and sending.done() and not sending.cancelled() and sending.exception() is None
        finally:
            sending.cancel()
            far_writer.close()
            await asyncio.gather(sending, return_exceptions=True)


@contextmanager
def fault_proxy(upstream: str, *, seed: int = 0) -> Iterator[FaultProxy]:
    """A proxy before the server at `upstream`, in a thread of its own; gone when the block ends."""
    proxy = FaultProxy(upstream, seed)
    ready = threading.Event()
    stop: list[Callable[[], object]] = []

    async def main() -> None:
        ended, loop = asyncio.Event(), asyncio.get_running_loop()
        stop.append(lambda: loop.call_soon_threadsafe(ended.set))
        await proxy.serve(ready.set, ended)

    thread = threading.Thread(target=lambda: asyncio.run(main()), name="fault-proxy", daemon=True)
    thread.start()
    if not ready.wait(60):
        raise TimeoutError("the proxy did not start within 10 s")
    try:
        yield proxy
    finally:
        stop[0]()
        thread.join(10)


async def _send(
    request: Request,
    plan: Plan | None,
    head: bytes,
    reader: asyncio.StreamReader,
    far_writer: asyncio.StreamWriter,
) -> None:
    """Forward a request. Where that breaks, the server's connection breaks with it, so that no one waits."""
    half = int(request.headers.get("content-length", 0)) // 2
    waits = request.fault in (Fault.RESET_IN_REQUEST, Fault.HOLD_REQUEST)
    try:
        if request.fault is Fault.RESET_IN_REQUEST and not request.has_body:
            far_writer.write(head[: len(head) // 2])
            await _reach(plan)
        far_writer.write(head)
        async for piece in _body(reader, request.headers, half):
            if waits and request.sent >= half:
                waits = False
                await _reach(plan)
            far_writer.write(piece)
            await far_writer.drain()
            request.sent += len(piece)
        await far_writer.drain()
    except BaseException:
        _reset(far_writer)
        raise


async def _reach(plan: Plan | None) -> None:
    """Do where the fault is what the plan says."""
    if plan and plan.fault is Fault.RESET_IN_REQUEST:
        await slow_in_loop(0.01)  # let the other side read what it was sent; a reset takes it back
        raise ConnectionResetError
    if plan and plan.action:
        await asyncio.get_running_loop().run_in_executor(None, plan.action)


async def _answer(
    request: Request, plan: Plan | None, far_reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    """Pass the server's answer, whole or broken as the plan says; whether the client got it whole."""
    while True:
        head = await far_reader.readuntil(b"\r\n\r\n")
        first, headers = _parsed(head)
        status = int(first.split(" ")[1])
        if status >= 200:
            break
        writer.write(head)  # 100 Continue: the client waits for it before it sends its body
    request.status = status
    silent = request.method == "HEAD" or status in (204, 304)
    length = 0 if silent else int(headers.get("content-length", 0))
    framing = {"content-length": "0"} if silent else {"content-length": "all"} | headers
    body = _counted(request, _body(far_reader, framing, length // 2))
    fault = request.fault
    if fault in (Fault.LOST, Fault.LOST_ERROR, Fault.TRUNCATE, Fault.RESET_IN_RESPONSE, Fault.CORRUPT):
        whole = b"".join([piece async for piece in body])
        await _reach(plan)
        return await _break(fault, head, whole, request, writer)
    writer.write(head)
    waits = fault is Fault.HOLD_RESPONSE
    async for piece in body:
        if waits and request.received > length // 2:
            waits = False
            await _reach(plan)
        writer.write(piece)
        await writer.drain()
    await writer.drain()
    return framing["content-length"] != "all" or "transfer-encoding" in headers


async def _break(
    fault: Fault, head: bytes, body: bytes, request: Request, writer: asyncio.StreamWriter
) -> bool:
    if fault is Fault.LOST_ERROR:
        writer.write(_error_answer(fault, request))
        await writer.drain()
        return True
    if fault is Fault.CORRUPT:
        middle = len(body) // 2
        writer.write(head + body[:middle] + bytes([body[middle] ^ 1]) + body[middle + 1 :] if body else head)
        await writer.drain()
        return True
    if fault is not Fault.LOST:
        writer.write(head + body[: len(body) // 2] if body else head[: len(head) // 2])
        await writer.drain()
    if fault is Fault.RESET_IN_RESPONSE:
        await slow_in_loop(0.01)  # let the client read what it was sent; a reset takes it back
        raise ConnectionResetError
    return False


async def _answer_instead(
    request: Request, fault: Fault, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    """Answer for the server, which is not asked."""
    if request.headers.get("expect", "").lower() == "100-continue":
        writer.write(_error_answer(fault, request))
        await writer.drain()
        return False
    async for _ in _body(reader, request.headers, 0):
        pass
    writer.write(_error_answer(fault, request))
    await writer.drain()
    return True


def _error_answer(fault: Fault, request: Request) -> bytes:
    status, reason, code = _ANSWERS[fault]
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>planned</Message></Error>'
    head = (
        f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return (head + ("" if request.method == "HEAD" else body)).encode()


async def _body(reader: asyncio.StreamReader, headers: dict[str, str], stop_at: int) -> AsyncIterator[bytes]:
    """A body's raw bytes by the framing of its headers; one piece ends at `stop_at`. "all": until it closes."""
    if "chunked" in headers.get("transfer-encoding", ""):
        async for piece in _chunked(reader):
            yield piece
        return
    length = headers.get("content-length", "0")
    if length == "all":
        while piece := await reader.read(_PIECE):
            yield piece
        return
    total, done = int(length), 0
    while done < total:
        edge = stop_at if done < stop_at else total
        piece = await reader.read(min(_PIECE, edge - done))
        if not piece:
            raise asyncio.IncompleteReadError(b"", total - done)
        done += len(piece)
        yield piece


async def _chunked(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Chunks with their framing, to the end of the trailers."""
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        if size:
            yield line + await reader.readexactly(size + 2)
            continue
        yield line
        while line != b"\r\n":
            line = await reader.readuntil(b"\r\n")
            yield line
        return


async def _counted(request: Request, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for piece in body:
        request.received += len(piece)
        yield piece


def _parsed(head: bytes) -> tuple[str, dict[str, str]]:
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return first, {name.strip().lower(): value.strip() for name, value in pairs}


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset instead of an orderly end."""
    with suppress(OSError):
        writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
    writer.transport.abort()
