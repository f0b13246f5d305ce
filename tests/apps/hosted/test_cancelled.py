"""A request that is cancelled while it brings files leaves none in the store without its row, wherever it was."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from anyio import CancelScope
from sqlalchemy import select

from ecluse.apps.fraud.actions.main import record_dataset, store_upload
from ecluse.apps.fraud.rows.tables import Dataset
from ecluse.apps.hosted.sending import storing
from ecluse.apps.hosted.tables import AppFile
from ecluse.apps.plants.http.imports import import_form
from ecluse.apps.plants.tables import ImageSet
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.storage.to_the_end import to_the_end
from ecluse.web.file_forms import FileForm
from tests.servers import ObjectServer
from tests.support.wait import next_round, slow_in_loop
from tests.web.within import Within

#: Seconds after which a request is cancelled: from before its first byte to after its last row.
MOMENTS = [0.0, *(0.001 * 1.35**step for step in range(17))]


@pytest.fixture(params=["folder", "s3"])
def installed(request: pytest.FixtureRequest, home: Path) -> Iterator[Runtime]:
    environment: dict[str, str] = {}
    if request.param == "s3":
        server: ObjectServer = request.getfixturevalue("object_server")
        environment = server.environment(uuid.uuid4().hex)
    with Runtime.open(Settings.from_environment(environment, home=home)) as runtime:
        yield runtime


@pytest.mark.parametrize("how", ["task", "scope"])
def test_files_of_a_cancelled_request_are_gone(installed: Runtime, how: str) -> None:
    user_id = installed.accounts.add("anna@example.org").id

    async def bring() -> None:
        async with storing(installed, user_id, "words", []) as keep:
            await keep("a", "a.txt", chunks())
            await keep("b", "b.txt", chunks())
            await asyncio.Event().wait()

    for moment in MOMENTS:
        asyncio.run(cancelled(bring, moment, how))
        with installed.catalog.read() as transaction:
            assert transaction.scalars(select(AppFile.id)).all() == [], moment
        assert [info.key for info in installed.data.list("user_data")] == [], moment


@pytest.mark.parametrize("how", ["task", "scope"])
def test_a_cancelled_table_has_its_row_or_is_gone(installed: Runtime, how: str) -> None:
    user_id = installed.accounts.add("anna@example.org").id

    async def bring() -> None:
        stored = await store_upload(installed, user_id, "a.csv", chunks())
        await to_the_end(record_dataset, installed, user_id, "a.csv", stored)

    for moment in MOMENTS:
        asyncio.run(cancelled(bring, moment, how))
        with installed.catalog.read() as transaction:
            keys = {row.key for row in transaction.scalars(select(Dataset))}
        assert {info.key for info in installed.data.list("user_data")} == keys, moment


@pytest.mark.parametrize("how", ["task", "scope"])
def test_images_of_a_cancelled_import_have_a_job_or_are_gone(installed: Runtime, how: str) -> None:
    user_id = installed.accounts.add("anna@example.org").id
    names = iter(range(1000))

    async def bring() -> None:
        form = cast(FileForm, Form({"set": f"set {next(names)}", "label": "sound"}))
        await import_form(installed, user_id, form, "set")

    for moment in MOMENTS:
        asyncio.run(cancelled(bring, moment, how))
        with installed.catalog.read() as transaction:
            staged = {row.staged_url for row in transaction.scalars(select(ImageSet)) if row.staged_url}
        lies = {
            installed.data.url_of(info.key).rpartition("/")[0] for info in installed.data.list("user_data")
        }
        assert lies == staged, moment


def test_a_list_of_addresses_that_is_refused_leaves_nothing(web: Within) -> None:
    """Or whoever sends many of them would store without end, and nothing would count it."""
    sent = {"set": "a set", "label": "no/label", "urls": "https://example.org/a.jpg"}
    answer = web.ask("POST", "/plants/import-urls", data=sent, headers={"accept": "text/html"})
    assert answer.status_code == 422, answer.text
    assert list(web.runtime.data.list(f"user_data/{web.user_id}")) == []


@dataclass
class Form:
    """A form with two images, as it arrives."""

    fields: dict[str, str]

    async def files(self) -> AsyncIterator[Any]:
        for name in ("a.jpg", "b.jpg"):
            yield SimpleNamespace(filename=name, chunks=chunks())


def test_what_was_begun_is_ended_and_undone() -> None:
    made: list[str] = []

    def make() -> str:
        made.append("made")
        return "it"

    async def begin() -> None:
        await to_the_end(make, undo=lambda what: made.append(f"undone {what}"))

    async def run() -> None:
        task = asyncio.ensure_future(begin())
        await next_round()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert made == ["made", "undone it"]


async def chunks() -> AsyncIterator[bytes]:
    for number in range(3):
        yield b"%d" % number * 1000
        await slow_in_loop(0.001)


async def cancelled(bring: Callable[[], Awaitable[None]], moment: float, how: str) -> None:
    """Run it until it is cancelled, natively or by a scope."""
    if how == "task":
        task = asyncio.ensure_future(bring())
        await slow_in_loop(moment)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        return
    with CancelScope() as scope:
        asyncio.get_running_loop().call_later(moment, scope.cancel)
        await bring()
