"""Many uploads at once into a slow store are all stored: a few at a time, each person in turn, none refused."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
from fastapi import Request

from ecluse.errors import Overloaded, StoreUnavailable
from ecluse.settings import Settings
from ecluse.storage import open_store
from ecluse.web.admission import AT_ONCE, Admission
from tests.application import running
from tests.servers import ObjectServer, store_environment
from tests.support.slow_line import slow_line
from tests.support.wait import next_round, wait_in_loop


class Sender:
    """An upload of pieces that come when the test says so."""

    def __init__(self, admission: Admission, user_id: str, name: str = "", pieces: int = 1) -> None:
        self.coming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        headers = [(b"upload-id", name.encode())] if name else []
        scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
        self.request = Request(scope, self.coming.get)
        self.admission, self.user_id, self.pieces = admission, user_id, pieces
        self.read = 0
        self.stored = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    def send(self) -> Sender:
        for number in range(self.pieces):
            self.coming.put_nowait(
                {"type": "http.request", "body": b"x" * 100, "more_body": number < self.pieces - 1}
            )
        return self

    def begin(self) -> Sender:
        self.task = asyncio.create_task(self.run())
        return self

    async def run(self) -> None:
        async with self.admission.arriving(self.request, self.user_id) as admitted:
            for _ in range(self.pieces):
                await admitted.receive()
                self.read += 1
            await self.stored.wait()


async def settle() -> None:
    for _ in range(20):
        await next_round()


def in_loop(test: Callable[[], Any]) -> None:
    asyncio.run(test())


def test_turns_go_from_person_to_person() -> None:
    async def run() -> None:
        admission = Admission(at_once=1)
        of_one = [Sender(admission, "one", f"a{n}").send().begin() for n in range(3)]
        await settle()
        other = Sender(admission, "other", "b").send().begin()
        await settle()
        assert [sender.read for sender in (*of_one, other)] == [1, 0, 0, 0]
        assert [admission.ahead_of("one", f"a{n}") for n in range(3)] == [0, 1, 3]
        assert admission.ahead_of("other", "b") == 2
        assert admission.ahead_of("other", "a0") is None, "that is someone else's"
        of_one[0].stored.set()
        await settle()
        of_one[1].stored.set()
        await settle()
        assert other.read == 1, "before the third of the other person"
        for sender in (*of_one, other):
            sender.stored.set()
        await asyncio.gather(*(sender.task for sender in (*of_one, other) if sender.task))
        assert admission.ahead_of("one", "a0") is None

    in_loop(run)


def test_a_sender_that_is_late_lets_others_go_first_and_goes_on_later() -> None:
    async def run() -> None:
        admission = Admission(at_once=1, late=0.1)
        late = Sender(admission, "one", pieces=2)
        late.coming.put_nowait({"type": "http.request", "body": b"x", "more_body": True})
        late.begin()
        await settle()
        quick = Sender(admission, "other").send().begin()
        await wait_in_loop(lambda: quick.read == 1, "a piece that is read")
        late.coming.put_nowait({"type": "http.request", "body": b"x", "more_body": False})
        await settle()
        quick.stored.set()
        late.stored.set()
        await asyncio.gather(*(sender.task for sender in (late, quick) if sender.task))
        assert late.read == 2

    in_loop(run)


def test_one_that_breaks_off_gives_its_turn_back_and_leaves_the_queue() -> None:
    async def run() -> None:
        admission = Admission(at_once=1)
        first, second, third = (Sender(admission, "one").send().begin() for _ in range(3))
        await settle()
        for sender in (second, first):
            assert sender.task is not None
            sender.task.cancel()
        await settle()
        assert (second.read, third.read) == (0, 1)
        third.stored.set()
        assert third.task is not None
        await third.task
        assert not admission.someone_waits

    in_loop(run)


def test_only_so_many_may_wait() -> None:
    async def run() -> None:
        admission = Admission(at_once=1, most_waiting=1)
        begun = [Sender(admission, "one").send().begin() for _ in range(2)]
        await settle()
        with pytest.raises(Overloaded):
            await Sender(admission, "one").send().run()
        for sender in begun:
            sender.stored.set()
        await asyncio.gather(*(sender.task for sender in begun if sender.task))

    in_loop(run)


#: The first part of each, 8 MiB, sent beside those of all others, takes longer than a store has to answer (12 s).
FILES, BYTES, SPEED = 20, 9_000_000, 12e6


@pytest.mark.nightly
def test_twenty_uploads_at_once_into_a_slow_store_are_all_stored(
    object_server: ObjectServer, tmp_path: Any
) -> None:
    there = urlsplit(object_server.endpoint)
    with slow_line(there.hostname or "", there.port or 0, SPEED) as line:
        environ = store_environment(line.endpoint, "slow")
        with running(tmp_path / "home", environ) as application, application.client() as client:
            client.timeout = httpx.Timeout(120)
            data = b"a,b\n" + b"1234567,7654321\n" * (BYTES // 16)
            server = psutil.Process(application.process.pid)
            before, highest, ended = server.memory_info().rss, 0, threading.Event()
            said: list[str] = []

            def watch() -> None:
                nonlocal highest
                for number in itertools.cycle(range(FILES)):  # each of them: any may come first
                    if ended.wait(0.1):
                        return
                    highest = max(highest, server.memory_info().rss)
                    answer = client.get(f"/api/uploads/{number}")
                    said.append(answer.json().get("state", "") if answer.status_code == 200 else "")

            def upload(number: int) -> int:
                name = {"file": (f"{number}.csv", data)}
                page = number % 2
                headers = {"upload-id": str(number), "accept": "application/json"}
                where = "/fraud/upload" if page else "/api/upload"
                return client.post(where, files=name, headers=headers).status_code

            watcher = threading.Thread(target=watch)
            watcher.start()
            with ThreadPoolExecutor(FILES) as senders:
                statuses = list(senders.map(upload, range(FILES)))
            ended.set()
            watcher.join()
            assert statuses == [201] * FILES
            assert len(client.get("/api/datasets", params={"per_page": 50}).json()) == FILES
            assert "waiting" in said
            # A person's process: four uploads in hand, not twenty.
            assert highest - before < AT_ONCE * 40e6


@pytest.mark.nightly
def test_a_store_that_is_slow_is_waited_for_and_one_that_stops_is_not(object_server: ObjectServer) -> None:
    there = urlsplit(object_server.endpoint)

    async def chunks() -> AsyncIterator[bytes]:
        yield bytes(400_000)

    with slow_line(there.hostname or "", there.port or 0, 100_000.0) as line:
        settings = Settings.from_environment(store_environment(line.endpoint, "stopped"))
        store = open_store(settings.store_url, settings.access, patience=timedelta(seconds=1))
        stored = asyncio.run(store.put_stream_async("slow", chunks()))
        assert stored.size == 400_000
        line.stopped = True
        with pytest.raises(StoreUnavailable, match="does not answer"):
            asyncio.run(store.put_stream_async("silent", chunks()))
        line.stopped = False
