"""What arrives in part ends, by time and by number; what moves goes on; and only named proxies are believed."""

from __future__ import annotations

import resource
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from ecluse.addresses import NO_PROXIES, SENDER_IS_KNOWN, Proxies, block_of
from ecluse.cli.serve import listen
from ecluse.serving import make_server
from ecluse.serving.connections import Bounds
from tests.support.wait import slow_for, wait_in_loop, wait_until

pytestmark = pytest.mark.nightly

#: Times so short that a test need not wait, and far apart where one is to come before another.
QUICK = Bounds(head_seconds=0.5, body_seconds=0.5, answer_seconds=0.5, rest_seconds=0.5, window_bytes=10)
PATIENT = Bounds(head_seconds=600, body_seconds=600, answer_seconds=600, rest_seconds=600)
LOOPBACK = Proxies.parse("127.0.0.1")
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Echo:
    """Says who asks. /known knows its sender; /deaf does not take its body until `let_go`; /long answers 64 MB."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.answered = threading.Event()
        self.received = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"]
        if path in ("/known", "/deaf"):
            scope["state"][SENDER_IS_KNOWN] = True
        if path == "/deaf":
            await wait_in_loop(self.let_go.is_set, "leave to go on")
        while scope["method"] == "POST" and path != "/early":
            message = await receive()
            self.received += len(message.get("body", b""))
            if message["type"] == "http.disconnect":
                return
            if not message["more_body"]:
                break
        pieces = 1024 if path == "/long" else 1
        piece = bytes(65536) if path == "/long" else f"{scope['client'][0]} {scope['scheme']}".encode()
        headers = [(b"content-length", str(pieces * len(piece)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for number in range(pieces):
            await send({"type": "http.response.body", "body": piece, "more_body": number + 1 < pieces})
        self.answered.set()


@contextmanager
def serving(
    bounds: Bounds, proxies: Proxies = NO_PROXIES
) -> Iterator[tuple[Echo, Callable[[], socket.socket]]]:
    """A server in a thread, and what connects to it."""
    app, started, opened = Echo(), threading.Event(), []
    with listen("127.0.0.1", 0) as listener:
        server = make_server(app, started.set, proxies=proxies, bounds=bounds)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        assert started.wait(60)
        port = listener.getsockname()[1]

        def connect() -> socket.socket:
            opened.append(socket.create_connection(("127.0.0.1", port), timeout=60))
            return opened[-1]

        try:
            yield app, connect
        finally:
            for connection in opened:
                connection.close()
            server.should_exit = True
            thread.join()


def is_answered(connect: Callable[[], socket.socket], request: bytes = GET) -> bool:
    with connect() as connection:
        connection.sendall(request)
        return connection.recv(65536).startswith(b"HTTP/1.1 200")


def everything_of(connection: socket.socket) -> bytes:
    """What is said until the connection ends, gently or not."""
    said = b""
    try:
        while piece := connection.recv(65536):
            said += piece
    except ConnectionError:
        pass
    return said


def drip_until_ended(connection: socket.socket, piece: bytes = b"a") -> bytes:
    """Send a little again and again, until the other side has had enough; what it said."""
    said = []

    def is_over() -> bool:
        if select.select([connection], [], [], 0.05)[0]:
            said.append(everything_of(connection))
            return True
        try:
            connection.sendall(piece)
        except ConnectionError:
            said.append(b"")
        return bool(said)

    wait_until(is_over, "an end of the connection")
    return said[0]


@pytest.mark.parametrize("begun", [b"", b"GET / HTTP/1.1\r\nX-Slow: "])
def test_a_head_that_does_not_end_is_not_waited_for(begun: bytes) -> None:
    with serving(QUICK) as (_, connect):
        connection = connect()
        connection.sendall(begun)
        assert drip_until_ended(connection, b"a" if begun else b"\r\n").startswith(b"HTTP/1.1 408")
        assert is_answered(connect)


def test_a_connection_between_requests_ends_whatever_it_says() -> None:
    with serving(QUICK) as (_, connect):
        connection = connect()
        connection.sendall(GET)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        assert b"200" not in drip_until_ended(connection, b"\r\n")


def test_the_body_of_a_stranger_is_waited_for_once() -> None:
    with serving(QUICK) as (app, connect):
        connection = connect()
        connection.sendall(b"POST / HTTP/1.1\r\nContent-Length: 900\r\n\r\n")
        assert drip_until_ended(connection, b"a" * 5).startswith(b"HTTP/1.1 408")
        assert app.received < 900


def test_what_a_known_sender_sends_goes_on_while_it_moves_and_ends_when_it_stalls() -> None:
    with serving(QUICK) as (app, connect):
        connection = connect()
        connection.sendall(b"POST /known HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n")
        for _ in range(int(4 * QUICK.body_seconds / 0.02)):
            connection.sendall(b"a" * 20)
            assert not select.select([connection], [], [], 0.02)[0]
        assert everything_of(connection).startswith(b"HTTP/1.1 408")
        assert app.received > 0


def test_what_waits_for_us_is_held_against_no_one() -> None:
    """A store that is slow to take an upload lets its bytes wait: the sender can do nothing about it."""
    with serving(QUICK) as (app, connect):
        body = b"a" * 200_000
        connection = connect()
        connection.sendall(b"POST /deaf HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body))
        sender = threading.Thread(target=connection.sendall, args=(body,))
        sender.start()
        assert not select.select([connection], [], [], 4 * QUICK.body_seconds)[0]
        app.let_go.set()
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        sender.join()
        assert app.received == len(body)


def test_what_is_still_sent_after_its_answer_ends() -> None:
    with serving(QUICK) as (_, connect):
        connection = connect()
        connection.sendall(b"POST /early HTTP/1.1\r\nContent-Length: 1000000000\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        drip_until_ended(connection, b"a" * 100)


def test_an_answer_that_is_not_read_ends() -> None:
    with serving(QUICK) as (app, connect):
        connection = connect()
        connection.sendall(b"GET /long HTTP/1.1\r\n\r\n")
        assert app.answered.wait(60), "the server waits for who does not read"
        assert len(everything_of(connection)) < 64 * 2**20


def test_an_answer_that_is_read_slowly_arrives_whole() -> None:
    with serving(QUICK) as (_, connect):
        connection = connect()
        connection.sendall(b"GET /long HTTP/1.1\r\nConnection: close\r\n\r\n")
        size, slow = 0, int(4 * QUICK.answer_seconds / 0.05)
        while piece := connection.recv(2**20):
            size += len(piece)
            if slow:
                slow -= 1
                slow_for(0.05)
        assert not slow
        assert size > 64 * 2**20


@pytest.mark.parametrize(
    "header", [b"X: %s\r\n" % (b"a" * 1000), b"a" * 1000], ids=["many", "one without end"]
)
def test_a_head_has_a_largest_size(header: bytes) -> None:
    with serving(PATIENT) as (_, connect):
        connection = connect()
        connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX-First: ")
        said = drip_until_ended(connection, header * 100)
        assert said == b"" or said.startswith(b"HTTP/1.1 431")
        assert is_answered(connect, b"GET / HTTP/1.1\r\nX: %s\r\n\r\n" % (b"a" * 30_000))


def test_requests_sent_ahead_without_end_are_cut() -> None:
    with serving(PATIENT) as (app, connect):
        connection = connect()
        connection.sendall(b"POST /deaf HTTP/1.1\r\nContent-Length: 0\r\n\r\n" + GET * 100)
        assert everything_of(connection) == b""
        app.let_go.set()


def test_of_1500_half_sent_requests_of_one_address_few_are_kept_and_others_are_answered() -> None:
    _expect_files(4_000)
    with serving(replace(PATIENT, most_of_one=50)) as (_, connect):
        opened = []
        for number in range(1_500):
            opened.append(connect())
            opened[-1].sendall(b"GET / HTTP/1.1\r\nX-Number: %d" % number)
        assert is_answered(connect)
        wait_until(lambda: _count_open(opened) <= 50, "an end of the oldest")
        assert is_answered(connect)
        assert _count_open(opened[-40:]) == 40  # the newest may be slow, the oldest are not coming any more


def test_a_named_proxy_has_many_visitors_but_all_have_a_bound() -> None:
    with serving(replace(PATIENT, most_of_one=2, most_unfinished=20), LOOPBACK) as (_, connect):
        opened = [connect() for _ in range(15)]
        assert is_answered(connect)
        assert _count_open(opened) == 15
        opened += [connect() for _ in range(30)]
        assert is_answered(connect)
        wait_until(lambda: _count_open(opened) <= 20, "an end of the oldest")


def test_connections_have_a_bound_and_a_new_one_takes_the_place_of_one_that_asks_nothing() -> None:
    with serving(replace(PATIENT, most=5, idle_seconds=600)) as (_, connect):
        idle = [connect() for _ in range(5)]
        for connection in idle:
            connection.sendall(GET)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        assert is_answered(connect)
        wait_until(lambda: _count_open(idle) < 5, "an end of one that asks nothing")


@pytest.mark.parametrize(
    ("peer", "proxies", "hops", "visitor"),
    [
        ("127.0.0.1", "", ["192.0.2.7"], "127.0.0.1"),  # nobody is believed unless named
        ("127.0.0.1", "10.0.0.1", ["192.0.2.7"], "127.0.0.1"),
        ("127.0.0.1", "127.0.0.1", ["192.0.2.7"], "192.0.2.7"),
        ("127.0.0.1", "127.0.0.1", [], "127.0.0.1"),
        (
            "127.0.0.1",
            "127.0.0.1",
            ["8.8.8.8", "192.0.2.7"],
            "192.0.2.7",
        ),  # the first is the visitor's own word
        ("127.0.0.1", "127.0.0.1, 10.0.0.0/8", ["8.8.8.8", "192.0.2.7", "10.1.2.3"], "192.0.2.7"),
        ("10.1.2.3", "10.0.0.0/8", ["10.9.9.9", "10.8.8.8"], "10.9.9.9"),
        ("10.1.2.3", "10.0.0.5/8", ["192.0.2.7:4711"], "192.0.2.7"),
        ("::1", "::1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("::ffff:10.1.2.3", "10.0.0.0/8", ["192.0.2.7"], "192.0.2.7"),
        ("10.1.2.3", "10.0.0.0/8", ["192.0.2.7", "unknown"], "10.1.2.3"),
        ("10.1.2.3", "10.0.0.0/8", ["192.0.2.7", "unknown", "10.4.4.4"], "10.4.4.4"),
        ("172.18.0.1", "*", ["8.8.8.8", "192.0.2.7"], "192.0.2.7"),
    ],
)
def test_the_visitor_is_the_nearest_hop_that_no_named_proxy_is(
    peer: str, proxies: str, hops: list[str], visitor: str
) -> None:
    assert Proxies.parse(proxies).visitor(peer, hops) == visitor


@pytest.mark.parametrize(
    ("proxies", "said"), [(NO_PROXIES, b"127.0.0.1 http"), (LOOPBACK, b"192.0.2.7 https")]
)
def test_a_connection_from_this_machine_is_believed_only_where_it_is_named(
    proxies: Proxies, said: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    request = (
        b"GET / HTTP/1.1\r\nX-Forwarded-For: 8.8.8.8\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n"
        b"X-Real-IP: 9.9.9.9\r\nForwarded: for=9.9.9.9;proto=ftp\r\nConnection: close\r\n\r\n"
    )
    with serving(PATIENT, proxies) as (_, connect):
        connection = connect()
        connection.sendall(request)
        assert everything_of(connection).endswith(b"\r\n\r\n" + said)
    assert ("ECLUSE_TRUSTED_PROXIES=127.0.0.1" in caplog.text) == (proxies is NO_PROXIES)


def test_who_has_one_address_of_an_ipv6_block_has_them_all() -> None:
    assert block_of("2001:db8:1:2::3") == block_of("2001:db8:1:2:ffff::") != block_of("2001:db8:1:3::3")
    assert block_of("::ffff:192.0.2.7") == block_of("192.0.2.7") == "192.0.2.7"
    assert block_of("testclient") == "testclient"


def _count_open(opened: list[socket.socket]) -> int:
    """How many of these the other side has not ended."""
    poll = select.poll()
    for connection in opened:
        poll.register(connection, select.POLLIN)
    return len(opened) - len(poll.poll(0))


def _expect_files(number: int) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < number:
        pytest.skip(f"this machine lets a process open {hard} files, and {number} are needed")
    if soft != resource.RLIM_INFINITY and soft < number:
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
