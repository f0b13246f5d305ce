"""A database or a store that falls silent is said to be away within seconds; one that works slowly is waited for."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text as sql

from ecluse import connections
from ecluse.catalog import Catalog
from ecluse.documents import open_documents
from ecluse.errors import CatalogUnavailable, CatalogUnwritable, DiskUnusable, DocumentsUnavailable
from ecluse.limits import ASKED, Limits
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.vitals import Readiness
from ecluse.web.app import make_app
from tests.servers import postgresql
from tests.test_rooms import ask


@pytest.fixture(scope="module")
def own_postgresql() -> Iterator[str]:
    """A server of its own: others would be stopped with it."""
    with postgresql() as url:
        yield url.replace("postgresql://", "postgresql+psycopg://", 1)


@contextmanager
def stopped(url: str) -> Iterator[None]:
    """The server and all its processes, stopped as a machine that hangs; they go on when the block ends."""
    with psycopg.connect(url.replace("+psycopg", "")) as connection:
        (postmaster,) = connection.execute("SELECT pg_read_file('postmaster.pid')").fetchone() or ("",)
    parent = int(postmaster.splitlines()[0])
    processes = [parent, *children(parent)]
    tell(processes, signal.SIGSTOP)
    try:
        yield
    finally:
        tell(processes, signal.SIGCONT)


def tell(processes: list[int], number: signal.Signals) -> None:
    for process in processes:
        with suppress(ProcessLookupError):  # one ended meanwhile: it served a connection that was closed
            os.kill(process, number)


def children(parent: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is silent for a second is asked: tests wait less than people."""
    monkeypatch.setattr(connections, "SILENCE", 1.0)


def test_a_statement_ends_when_its_server_is_stopped(own_postgresql: str, hurried: None) -> None:
    catalog = Catalog(own_postgresql)
    with catalog.read() as transaction:
        assert transaction.execute(sql("SELECT 1")).scalar() == 1
    with stopped(own_postgresql):
        for _ in range(2):  # by a connection that was open, and by a new one
            with pytest.raises(CatalogUnavailable), catalog.read() as transaction:
                transaction.execute(sql("SELECT 1"))
    connections_after = 0
    while not connections_after:
        try:
            with catalog.read() as transaction:
                connections_after = transaction.execute(sql("SELECT 1")).scalar_one()
        except CatalogUnavailable:  # said for a moment longer
            continue
    catalog.close()


def test_a_slow_statement_is_waited_for(own_postgresql: str, hurried: None) -> None:
    catalog = Catalog(own_postgresql)
    with catalog.read() as transaction:
        assert transaction.execute(sql("SELECT 7 FROM pg_sleep(2.5)")).scalar() == 7
    catalog.close()


def test_a_statement_and_a_lock_have_limits_and_migrations_have_none(own_postgresql: str) -> None:
    limits = Limits(statement=0.2, lock=0.1, idle=60, turn=1, answer=1)
    catalog = Catalog(own_postgresql, limits=limits)
    catalog.migrate()
    with pytest.raises(CatalogUnavailable, match="took longer than this may take"), catalog.read() as reading:
        reading.execute(sql("SELECT pg_sleep(5)"))
    with catalog.write() as first:
        first.execute(sql("LOCK TABLE users"))
        with (
            pytest.raises(CatalogUnavailable, match="kept what this needs locked"),
            catalog.write() as second,
        ):
            second.execute(sql("LOCK TABLE users"))
    with catalog.engine.begin() as connection:
        connections.lift_limits(connection)
        assert connection.execute(sql("SHOW statement_timeout")).scalar() == "0"
        assert connection.execute(sql("SHOW lock_timeout")).scalar() == "0"
    moving = Catalog(own_postgresql, moves=True, limits=limits)
    with moving.read() as transaction:
        assert transaction.execute(sql("SHOW statement_timeout")).scalar() == "0"
    moving.close()
    catalog.close()


def test_a_locked_file_is_said_to_be_locked_and_no_disk_to_be_full(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "SQLITE_PATIENCE", 0.2)
    catalog = Catalog(f"sqlite:///{home / 'catalog.db'}")
    with closing(sqlite3.connect(home / "catalog.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with (
            pytest.raises(CatalogUnavailable, match=r"kept .* locked") as refused,
            catalog.write() as writing,
        ):
            writing.execute(sql("DELETE FROM jobs"))
    assert not isinstance(refused.value, DiskUnusable)
    catalog.close()


def test_more_than_all_connections_is_said_and_no_fault_of_ours(own_postgresql: str) -> None:
    catalog = Catalog(own_postgresql, limits=Limits(5, 5, 60, turn=0.1, answer=1))
    held = [catalog.engine.connect() for _ in range(15)]
    with (
        pytest.raises(CatalogUnavailable, match="All connections of this process"),
        catalog.read() as reading,
    ):
        reading.execute(sql("SELECT 1"))
    for connection in held:
        connection.close()
    catalog.close()


def test_a_server_that_can_only_be_read_is_said_to_be_so(own_postgresql: str) -> None:
    catalog = Catalog(f"{own_postgresql}&options=-c%20default_transaction_read_only%3Don")
    with pytest.raises(CatalogUnwritable, match="can only be read"), catalog.write() as transaction:
        transaction.execute(sql("CREATE TABLE readable (a int)"))
    catalog.close()


@contextmanager
def silent_server() -> Iterator[int]:
    """A port that accepts connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        held: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    held.append(listener.accept()[0])
                except OSError:
                    return

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for one in held:
                one.close()


def test_readiness_says_which_part_does_not_answer_and_piles_up_no_threads(
    tmp_path: Path, own_postgresql: str, hurried: None
) -> None:
    with silent_server() as port:
        environ = {
            "DATABASE_URL": own_postgresql,
            "ECLUSE_STORE_URL": "s3://silent",
            "S3_ENDPOINT": f"http://127.0.0.1:{port}",
            "S3_ACCESS_KEY": "a",
            "S3_SECRET_KEY": "b",
            "DATABASE_TYPE": "mongodb",
            "MONGODB_URL": f"mongodb://127.0.0.1:{port}/documents",
        }
        settings = Settings.from_environment(environ, home=tmp_path / "home")
        with Runtime.open(settings, limits=ASKED) as runtime:
            app = make_app(runtime)
            app.state.readiness = readiness = Readiness()

            async def look_often() -> tuple[list[dict[str, str]], int]:
                looks = [await readiness.look(runtime, within=0.3) for _ in range(6)]
                return looks, len([t for t in threading.enumerate() if t.name.startswith("readiness of")])

            with stopped(own_postgresql):
                looks, threads = asyncio.run(look_often())
                assert threads <= 4
                for parts in looks:
                    assert {name for name, state in parts.items() if state != "ok"} == {
                        "store",
                        "catalog",
                        "jobs",
                        "documents",
                    }
                answer = ask(app, "GET", "/readyz")
                assert answer.status_code == 503
                assert answer.json()["parts"]["disks"] == "ok"
                for language, said in (
                    ("en", "The catalog does not answer."),
                    ("fr", "Le catalogue ne répond pas."),
                ):
                    headers = {
                        "accept": "text/html",
                        "accept-language": language,
                        "cookie": "ecluse_session=a",
                    }
                    page = ask(app, "GET", "/fraud", headers=headers)
                    assert (page.status_code, said in page.text) == (503, True), page.text


def test_documents_in_a_silent_database_are_said_to_be_away(own_postgresql: str, hurried: None) -> None:
    documents = open_documents(Settings.from_environment({"DATABASE_URL": own_postgresql}).documents)
    documents.create()
    documents.check()
    with stopped(own_postgresql), pytest.raises(DocumentsUnavailable):
        documents.check()
    documents.close()
