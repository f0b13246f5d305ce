"""A full disk is named as the disk, whatever meets it, and keeps no one from reading."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text as sql

from ecluse import backups
from ecluse.accounts import SESSION_COOKIE
from ecluse.apps.fraud.actions.main import add_sample
from ecluse.catalog.tables import now
from ecluse.disks import LEAST_FREE, look_at, usable
from ecluse.errors import CatalogDamaged, DiskUnusable, StoreUnwritable
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.web.app import make_app
from tests.apps.plants.tiny import photo, publish_tiny

#: Room for the home and what a test stores, and little to fill.
SIZE = 96 * 1024**2


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of `SIZE` bytes; skipped where no one may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", disk], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"this machine lets no one mount a disk: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def fill(disk: Path) -> None:
    """Leave no byte free."""
    with (disk / "filler").open("ab", buffering=0) as file:
        for size in (1024**2, 4096, 1):
            with pytest.raises(OSError, match="No space left"):
                while True:
                    file.write(bytes(size))


def empty(disk: Path) -> None:
    (disk / "filler").unlink()


@pytest.fixture
def runtime(small_disk: Path) -> Iterator[Runtime]:
    with Runtime.open(Settings.from_environment({}, home=small_disk / "home")) as opened:
        yield opened


def as_if_a_minute_had_passed(runtime: Runtime) -> None:
    """Let the last uses of all tokens and sessions lie in the past."""
    then = (now() - timedelta(hours=1)).replace(tzinfo=None, microsecond=0)
    with runtime.catalog.write() as transaction:
        for table in ("api_tokens", "sessions"):
            transaction.execute(sql(f"UPDATE {table} SET last_used_at = :then"), {"then": str(then)})


def token_of(runtime: Runtime) -> str:
    return runtime.accounts.create_token(runtime.accounts.local_administrator().id, "tests")[0]


def ask(app: FastAPI, method: str, address: str, **sent: Any) -> httpx.Response:
    async def send() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://a") as client:
            return await client.request(method, address, **sent)

    return asyncio.run(send())


def test_who_asks_is_known_while_the_disk_is_full_and_that_is_logged_once(
    runtime: Runtime, small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    user, token = runtime.accounts.local_administrator(), token_of(runtime)
    session, second = (runtime.accounts.open_session(user.id) for _ in range(2))
    as_if_a_minute_had_passed(runtime)
    fill(small_disk)
    with caplog.at_level(logging.WARNING):
        assert runtime.accounts.who_has_token(token) is not None
        for secret in (session, second):
            assert runtime.accounts.who_has_session(secret) is not None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "is full: 0.0 MB free" in caplog.text
    empty(small_disk)
    runtime.accounts._last_uses._tried_at.clear()
    assert runtime.accounts.who_has_token(token) is not None
    (row,) = runtime.accounts.tokens(user.id)
    assert row.last_used_at is not None
    assert row.last_used_at.year > 2020


def test_who_asks_does_not_wait_for_who_writes(runtime: Runtime) -> None:
    token = token_of(runtime)
    as_if_a_minute_had_passed(runtime)
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        with runtime.catalog.write():
            held.set()
            free.wait(60)

    writer = threading.Thread(target=hold)
    writer.start()
    try:
        assert held.wait(60)
        assert runtime.accounts.who_has_token(token) is not None
        assert writer.is_alive()
    finally:
        free.set()
        writer.join()


def test_a_damaged_catalog_is_said_to_who_only_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Runtime.open(Settings.from_environment({}, home=tmp_path)) as runtime:
        token = token_of(runtime)
        as_if_a_minute_had_passed(runtime)
        found = runtime.accounts.tokens(runtime.accounts.local_administrator().id)[0]

        def damaged(*_: object) -> None:
            raise CatalogDamaged("catalog.db is damaged.")

        with pytest.raises(CatalogDamaged):
            runtime.accounts._last_uses.note(found.id, found.last_used_at, damaged)
        assert runtime.accounts.who_has_token(token) is not None, "tried less than a minute ago"


def test_readiness_says_which_disk_is_full_and_pages_are_read_meanwhile(
    runtime: Runtime, small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    headers = {"authorization": f"Bearer {token_of(runtime)}"}
    session = runtime.accounts.open_session(runtime.accounts.local_administrator().id)
    person = {"cookie": f"{SESSION_COOKIE}={session}", "accept": "text/html"}
    as_if_a_minute_had_passed(runtime)
    app = make_app(runtime)
    assert ask(app, "GET", "/readyz").json()["parts"]["disks"] == "ok"
    fill(small_disk)
    answer = ask(app, "GET", "/readyz")
    assert (answer.status_code, answer.json()["parts"]["disks"]) == (503, "disk_unusable")
    assert answer.json()["parts"]["catalog"] == answer.json()["parts"]["store"] == "ok"
    assert f"The disk that holds {small_disk / 'home'} is full: 0.0 MB free" in caplog.text
    for page in ("/api/datasets", "/api/models", "/fraud", "/plants", "/account", "/jobs", "/storage"):
        answer = ask(app, "GET", page, headers=headers if page.startswith("/api/") else person)
        assert answer.status_code == 200, (page, answer.text)
    table = {"file": ("a.csv", b"a,b\n1,2\n")}
    sent = ask(app, "POST", "/api/upload", files=table, headers=headers)
    assert sent.status_code == 503
    assert sent.json()["error"]["code"] in ("catalog_unwritable", "store_unwritable")  # both are on it
    assert "A disk of this Écluse is full" in sent.json()["error"]["message"]
    empty(small_disk)
    assert ask(app, "GET", "/readyz").json()["parts"]["disks"] == "ok"
    assert ask(app, "POST", "/api/upload", files=table, headers=headers).status_code == 201


def test_what_was_read_before_the_disk_was_full_is_read_while_it_is(
    runtime: Runtime, small_disk: Path
) -> None:
    user = runtime.accounts.local_administrator()
    headers = {
        "authorization": f"Bearer {token_of(runtime)}",
        "cookie": f"ecluse_session={runtime.accounts.open_session(user.id)}",
        "accept": "text/html",
    }
    add_sample(runtime, user.id)
    app = make_app(runtime)
    addresses = sorted(address for address, ways in app.openapi()["paths"].items() if "get" in ways)
    pages = [
        "/",
        "/fraud",
        "/plants",
        "/city",
        "/models",
        "/runs",
        "/jobs",
        "/storage",
        "/account",
        "/fraud/references",
    ]

    async def read() -> dict[str, int]:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://a", headers=headers) as client:
            found = {}
            for address in [*addresses, *pages]:
                if "{" not in address and address != "/readyz":
                    found[address] = (await client.get(address)).status_code
            return found

    before = asyncio.run(read())
    assert len(before) > 20
    assert [address for address, status in before.items() if status >= 500] == []
    as_if_a_minute_had_passed(runtime)
    runtime.accounts._last_uses._tried_at.clear()
    fill(small_disk)
    assert asyncio.run(read()) == before


def test_a_full_disk_is_said_to_be_one_by_what_writes(runtime: Runtime, small_disk: Path) -> None:
    def to_catalog() -> None:
        with runtime.catalog.write() as transaction:
            transaction.execute(sql("CREATE TABLE filler AS SELECT zeroblob(900000) AS data"))

    def to_cache() -> None:
        runtime.cache.link(runtime.data, "there", stored.sha256, stored.size, small_disk / "linked")

    def to_scratch() -> None:
        with runtime.scratch() as folder, usable(folder):
            (folder / "file").write_bytes(bytes(10_000))

    stored = runtime.data.put("there", bytes(100_000))
    writes: dict[str, Callable[[], object]] = {
        "catalog": to_catalog,
        "store": lambda: runtime.data.put("a", bytes(100_000)),
        "documents": lambda: runtime.documents.put("kind", "key", {"text": "x" * 200_000}),
        "scratch": to_scratch,
        "cache": to_cache,
    }
    said = r"is full: 0\.\d MB free\. Free some room|has no room for 100,000 bytes, \d+ are free\. Free some"
    fill(small_disk)
    for part, write in writes.items():
        with pytest.raises(DiskUnusable, match=said) as caught:
            write()
        assert caught.value.status in (503, 507), part
    assert runtime.cache.read(runtime.data, "there", stored.sha256) == bytes(100_000)


def test_a_full_disk_answers_503_to_what_comes_and_507_where_a_model_finds_no_room(
    runtime: Runtime, small_disk: Path, tmp_path: Path
) -> None:
    publish_tiny(runtime, runtime.accounts.local_administrator().id, tmp_path / "tiny")
    headers, app = {"authorization": f"Bearer {token_of(runtime)}"}, make_app(runtime)
    fill(small_disk)
    sent = {
        "/api/plants/predict": ("a.jpg", photo()),
        "/api/upload": ("a.csv", b"a,b\n1,2\n" * 100_000),
    }
    answers = {to: ask(app, "POST", to, headers=headers, files={"file": sent[to]}) for to in sent}
    codes = {to: (answer.status_code, answer.json()["error"]["code"]) for to, answer in answers.items()}
    assert codes == {
        "/api/plants/predict": (507, "disk_full"),
        "/api/upload": (503, "catalog_unwritable"),
    }
    described = {to: app.openapi()["paths"][to]["post"]["responses"] for to in sent}
    assert "no room for a model" in described["/api/plants/predict"]["507"]["description"]
    assert "their disk is full" in described["/api/upload"]["503"]["description"]


def test_disks_are_looked_at_once_each_and_by_what_is_free(small_disk: Path, tmp_path: Path) -> None:
    places = {
        "home": small_disk / "home",
        "cache": small_disk / "home" / "cache",
        "store": tmp_path / "store",
    }
    disks = {disk.uses: disk for disk in look_at(places)}
    assert set(disks) == {("home", "cache"), ("store",)}
    assert disks["home", "cache"].trouble is None
    (small_disk / "filler").write_bytes(bytes(SIZE - LEAST_FREE + 1))
    (almost,) = look_at({"home": small_disk / "home"})
    assert almost.free < LEAST_FREE
    assert "is full" in str(almost.trouble)


def test_a_disk_that_takes_no_more_files_is_not_said_to_have_no_bytes(tmp_path: Path) -> None:
    disk = tmp_path / "few"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={2 * LEAST_FREE},nr_inodes=3", "tmpfs", disk],
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("this machine lets no one mount a disk")
    try:
        (disk / "a").touch()
        (disk / "b").touch()
        (found,) = look_at({"home": disk})
        assert found.free > LEAST_FREE
        assert "inodes are used up" in str(found.trouble)
    finally:
        subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_place_for_backups_that_is_full_is_to_be_given_room_and_no_cache_cleared(
    tmp_path: Path, small_disk: Path
) -> None:
    place = (small_disk / "backups").as_uri()
    with Runtime.open(Settings.from_environment({}, home=tmp_path / "home")) as home:
        with backups.open_place(home, place, make=True) as here:
            backups.create(home, here)
        fill(small_disk)
        with (
            pytest.raises(
                StoreUnwritable, match=f"has no room for the backup.*prune --from {place}"
            ) as caught,
            backups.open_place(home, place, make=True) as here,
        ):
            backups.create(home, here)
    assert "cache" not in str(caught.value)
