"""Whatever waits for a server that says nothing comes to an end (docs/concepts/time-limits.md)."""

from __future__ import annotations

import socket
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text as sql

from ecluse import mail
from ecluse.accounts import openid
from ecluse.catalog import Catalog
from ecluse.documents import open_documents
from ecluse.errors import (
    DocumentsUnavailable,
    MailNotSent,
    ProviderUnavailable,
    StoreUnavailable,
)
from ecluse.limits import ASKED, WORKING, Limits
from ecluse.settings import Settings
from ecluse.storage import administration, open_store
from tests.test_silence import silent_server

pytestmark = pytest.mark.nightly


@pytest.fixture
def silent() -> Iterator[int]:
    with silent_server() as port:
        yield port


@contextmanager
def endless_server() -> Iterator[int]:
    """A port that says a letter now and then, and never a whole line."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(8)
        over = threading.Event()

        def speak(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                connection.sendall(b"220 ")
                while not over.wait(0.1):
                    connection.sendall(b"a")

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=speak, args=(listener.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            listener.shutdown(socket.SHUT_RDWR)


def mail_settings(port: int) -> Any:
    variables = {
        "ECLUSE_SMTP_URL": f"smtp://127.0.0.1:{port}",
        "ECLUSE_MAIL_FROM": "ecluse@example.org",
        "ECLUSE_PUBLIC_URL": "https://ecluse.example.org",
    }
    return Settings.from_environment(variables, home=Path("/nowhere")).accounts.mail


def test_mail_ends_with_a_server_that_says_nothing_or_says_it_for_ever(
    silent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "PATIENCE", 1)
    monkeypatch.setattr(mail, "LONGEST", 2.0)
    with pytest.raises(MailNotSent):
        mail.send(mail_settings(silent), "anna@example.org", "Subject", "Text")
    with endless_server() as port, pytest.raises(MailNotSent):
        mail.send(mail_settings(port), "anna@example.org", "Subject", "Text")


def test_a_provider_that_says_nothing_is_away(silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openid, "PATIENCE", 1.0)
    asking: Any = object.__new__(openid.Provider)
    asking._away = lambda reason: ProviderUnavailable(reason)
    with pytest.raises(ProviderUnavailable):
        asking._ask("GET", f"http://127.0.0.1:{silent}/")


@pytest.mark.parametrize(
    "environ",
    [
        {"DATABASE_TYPE": "mongodb", "MONGODB_URL": "mongodb://127.0.0.1:{port}/documents"},
        {
            "DATABASE_TYPE": "dynamodb",
            "DYNAMODB_ENDPOINT": "http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "a",
            "AWS_SECRET_ACCESS_KEY": "b",
        },
    ],
    ids=["mongodb", "dynamodb"],
)
def test_documents_of_a_silent_database_are_away(
    silent: int, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ecluse.documents.mongodb.FOUND_MS", 1_000)
    variables = {name: value.replace("{port}", str(silent)) for name, value in environ.items()}
    settings = Settings.from_environment(variables, home=Path("/nowhere")).documents
    documents = open_documents(settings, limits=replace(ASKED, answer=0.5))
    with pytest.raises(DocumentsUnavailable):
        documents.check()
    documents.close()


@pytest.mark.parametrize(
    ("url", "environ"),
    [
        (
            "s3://bucket",
            {"S3_ENDPOINT": "http://127.0.0.1:{port}", "S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "b"},
        ),
        (
            "az://container",
            {
                "AZURE_STORAGE_ACCOUNT": "account",
                "AZURE_STORAGE_KEY": "a2V5",
                "AZURE_STORAGE_ENDPOINT": "http://127.0.0.1:{port}/account",
            },
        ),
    ],
    ids=["s3", "azure"],
)
def test_a_store_that_says_nothing_is_away(silent: int, url: str, environ: dict[str, str]) -> None:
    variables = {name: value.replace("{port}", str(silent)) for name, value in environ.items()}
    access = Settings.from_environment(variables, home=Path("/nowhere")).access
    store = open_store(url, access, patience=timedelta(seconds=1))
    with pytest.raises(StoreUnavailable):
        store.get("a")


def test_a_request_about_a_bucket_ends(silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(administration, "SECONDS", 1)
    request = urllib.request.Request(f"http://127.0.0.1:{silent}/bucket", method="PUT")
    with pytest.raises(StoreUnavailable):
        administration.make_bucket_by(request, "s3://bucket")


@pytest.mark.parametrize("limits", [ASKED, WORKING], ids=["asked", "working"])
def test_every_connection_has_the_limits_of_who_waits(
    limits: Limits, tmp_path: Path, new_postgresql_url: Callable[[], str]
) -> None:
    url = Settings.from_environment({"DATABASE_URL": new_postgresql_url()}).database_url
    catalog = Catalog(url, limits=limits)
    expected = {
        "statement_timeout": limits.statement,
        "lock_timeout": limits.lock,
        "idle_in_transaction_session_timeout": limits.idle,
    }
    with catalog.read() as transaction:
        for name, seconds in expected.items():
            query = sql("SELECT setting::int FROM pg_settings WHERE name = :name")
            assert transaction.execute(query, {"name": name}).scalar() == seconds * 1000, name
        driver: Any = transaction.connection().connection.driver_connection
        options = driver.info.get_parameters()
        assert (options["connect_timeout"], options["tcp_user_timeout"]) == ("5", "30000")
        assert options["keepalives_idle"] == "30"
    catalog.close()
    small = Catalog(f"sqlite:///{tmp_path / 'catalog.db'}", limits=limits)
    with small.read() as transaction:
        assert transaction.execute(sql("PRAGMA busy_timeout")).scalar() == 30_000
    small.close()
