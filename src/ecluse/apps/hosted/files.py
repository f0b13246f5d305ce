"""Store, find and remove the files of a person in a hosted application."""

from __future__ import annotations

import json
import re
from asyncio import CancelledError
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from anyio import open_file, to_thread
from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from ecluse import tables, unclaimed
from ecluse.apps.hosted.snapshot import TABLES
from ecluse.apps.hosted.tables import AppFile
from ecluse.catalog import quotas, user_tables
from ecluse.catalog.tables import UserTable, new_id
from ecluse.catalog.user_tables import ESCAPE, like
from ecluse.errors import InvalidInput, NotFound
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.storage import Stored, join_key
from ecluse.storage.to_the_end import to_the_end

#: Files that one list shows.
MOST: Final = 100
#: Checks a table in a process of its own.
CHECK: Final = "ecluse.apps.hosted.reading:check"
_NAME: Final = re.compile(r"[^\w.() -]+")


def prefix_of(user_id: str, application: str) -> str:
    return join_key("user_data", user_id, "apps", application)


def checked_name(name: str) -> str:
    """Return the name of a file without folders and signs.

    Raises:
        InvalidInput: nothing is left of it.
    """
    kept = _NAME.sub("_", Path(name.replace("\\", "/")).name).strip(" .")[-200:]
    if not kept:
        raise InvalidInput(_("%(value)s cannot be the name of a file.", value=repr(name)[:100]))
    return kept


async def receive(
    runtime: Runtime, user_id: str, application: str, name: str, chunks: AsyncIterator[bytes]
) -> AppFile:
    """Store what a request brings. Where the request is cancelled meanwhile, nothing is kept."""
    row = _row(user_id, application, name)
    await to_thread.run_sync(unclaimed.expect, runtime, row.key)
    try:
        stored = await runtime.data.put_stream_async(row.key, chunks)
    except CancelledError:  # it may have been written all the same
        await to_the_end(runtime.data.delete, row.key)
        raise
    return await to_the_end(_record, runtime, row, stored, undo=partial(_take_back, runtime))


async def receive_table(
    runtime: Runtime, user_id: str, application: str, name: str, chunks: AsyncIterator[bytes]
) -> AppFile:
    """Store a table that a request brings, once it is read to its end. Where the request is cancelled meanwhile,
    nothing is kept. Raises as `store_table`.
    """
    with runtime.scratch() as folder:
        file = folder / new_id()
        async with await open_file(file, "wb") as opened:
            async for piece in chunks:
                await opened.write(piece)
        undo = partial(_take_back, runtime)
        return await to_the_end(store_table, runtime, user_id, application, file, name, undo=undo)


def store_table(runtime: Runtime, user_id: str, application: str, file: Path, name: str = "") -> AppFile:
    """Store a table of this machine, once a process of its own has read it to its end. Nothing is kept of another.

    Raises:
        UnreadableTable: it is no table, damaged, without rows or columns, or takes more than a reader may.
    """
    from ecluse.tabular.layout import LOOK
    from ecluse.tabular.uploads import Upload, read_apart

    shown = checked_name(name or file.name)
    with runtime.scratch() as folder:
        read_apart(CHECK, Upload(file, shown, LOOK, runtime.settings.reader_max_bytes), folder)
    return store(runtime, user_id, application, file, name=shown)


def store(
    runtime: Runtime, user_id: str, application: str, file: Path, *, name: str = "", **values: Any
) -> AppFile:
    """Store a file of this machine."""
    row = _row(user_id, application, name or file.name, **values)
    unclaimed.expect(runtime, row.key)
    return _record(runtime, row, runtime.data.upload(file, row.key))


def store_report(
    runtime: Runtime, user_id: str, application: str, parts: list[dict[str, Any]], *, verb: str, job_id: str
) -> AppFile:
    """Store the parts that a job returned."""
    data = json.dumps(parts, ensure_ascii=False).encode()
    row = _row(user_id, application, f"{verb}.json", verb=verb, job_id=job_id, purpose="report")
    unclaimed.expect(runtime, row.key)
    return _record(runtime, row, runtime.data.put(row.key, data))


def _row(user_id: str, application: str, name: str, **values: Any) -> AppFile:
    file_id = new_id()
    row = AppFile(
        id=file_id,
        user_id=user_id,
        application=application,
        name=checked_name(name),
        **{"purpose": "input", **values},
    )
    row.key = join_key(prefix_of(user_id, application), file_id)
    return row


def _record(runtime: Runtime, row: AppFile, stored: Stored) -> AppFile:
    row.url, row.size_bytes, row.sha256 = runtime.data.url_of(row.key), stored.size, stored.sha256
    try:
        with runtime.catalog.write() as transaction:
            quotas.expect_to_keep(transaction, row.user_id, stored.size)
            transaction.add(row)
    except BaseException:  # no row leads to the object
        runtime.data.delete(row.key)
        raise
    return row


def _take_back(runtime: Runtime, row: AppFile) -> None:
    """Remove what a request brought that nobody waits for any more."""
    remove(runtime, row.user_id, row.application, row.id)


def file_of(transaction: Session, user_id: str, application: str, file_id: str) -> AppFile:
    """Return a file of this person in this application.

    Raises:
        NotFound: there is none, or it is someone else's.
    """
    row = transaction.scalar(
        select(AppFile).where(
            AppFile.id == file_id, AppFile.user_id == user_id, AppFile.application == application
        )
    )
    if row is None:
        raise NotFound(_("No file %(name)s of yours in this application.", name=repr(file_id)[:100]))
    return row


def files_of(
    transaction: Session, user_id: str, application: str, purpose: str | None = None
) -> list[AppFile]:
    """List the files of a person in an application, the newest first."""
    query = select(AppFile).where(AppFile.user_id == user_id, AppFile.application == application)
    if purpose is not None:
        query = query.where(AppFile.purpose == purpose)
    return list(transaction.scalars(query.order_by(AppFile.created_at.desc(), AppFile.id).limit(MOST)))


def of_job(transaction: Session, user_id: str, job_id: str) -> list[AppFile]:
    """List what a job of this person made."""
    return list(
        transaction.scalars(select(AppFile).where(AppFile.user_id == user_id, AppFile.job_id == job_id))
    )


def fetch(runtime: Runtime, row: AppFile, folder: Path) -> Path:
    """Bring a file to a folder of this machine."""
    located = runtime.stores.locate(row.url)
    file = folder / row.id
    located.store.download(located.key, file)
    return file


def given(runtime: Runtime, user_id: str, application: str, file_id: str, folder: Path) -> dict[str, str]:
    """Bring what a person gave to a folder of this machine: a file of this application, or any table of theirs.

    Raises:
        NotFound: there is none, or it is someone else's.
    """
    row = _file_or_table(runtime, user_id, application, file_id)
    if isinstance(row, AppFile):
        return {"file": str(fetch(runtime, row, folder)), "name": row.name}
    file = folder / f"{row.id}.parquet"
    row.write(file)
    return {"file": str(file), "name": tables.file_name(row.name, ".parquet")}


def newest(runtime: Runtime, user_id: str, application: str, name: str) -> dict[str, str]:
    """Return the id and the name of the table that a person gave last: to this application, or, where `name` says what
    it is called (* stands for any signs), to any (`/tables`).

    Raises:
        NotFound: there is none.
    """
    mine = (AppFile.user_id == user_id, AppFile.application == application, AppFile.purpose == "input")
    names = [like(name)] if name else [like(f"*{ending}") for ending in TABLES]
    query = select(AppFile).where(*mine, or_(*(AppFile.name.ilike(each, escape=ESCAPE) for each in names)))
    with runtime.catalog.read() as transaction:
        rows: list[AppFile | UserTable] = list(
            transaction.scalars(query.order_by(AppFile.created_at.desc(), AppFile.id).limit(1))
        )
        other = user_tables.newest(transaction, user_id, name) if name else None
    if other is not None:
        rows.append(other)
    if not rows and name:
        raise NotFound(
            _(
                "You have no table called %(name)s yet. Choose one in the form, or send it to /api/tables.",
                name=name,
            )
        )
    if not rows:
        raise NotFound(
            _(
                "You gave this application no table yet. Choose one in the form, or send it to /api/%(name)s/files.",
                name=application,
            )
        )
    row = max(rows, key=lambda each: each.created_at)
    return {"id": row.id, "name": row.name}


def expect(runtime: Runtime, user_id: str, application: str, file_ids: list[str]) -> None:
    """Check that all of these can be given. Raises as `given`."""
    for file_id in file_ids:
        _file_or_table(runtime, user_id, application, file_id)


def _file_or_table(
    runtime: Runtime, user_id: str, application: str, file_id: str
) -> AppFile | tables.Readable:
    try:
        with runtime.catalog.read() as transaction:
            return file_of(transaction, user_id, application, file_id)
    except NotFound as no_file:
        try:
            return tables.find(runtime, user_id, file_id)
        except NotFound:
            raise no_file from None


def readable(runtime: Runtime, user_id: str, table_id: str) -> tables.Readable | None:
    """Return a table that was uploaded to an application in one file, to be read by any model; None: there is none."""
    with runtime.catalog.read() as transaction:
        row = transaction.scalar(select(AppFile).where(AppFile.id == table_id, AppFile.user_id == user_id))
    if row is None:
        return None

    def write(path: Path) -> None:
        from ecluse.tabular.typing import write_table
        from ecluse.tabular.uploads import read_upload

        memory = runtime.settings.reader_max_bytes
        with runtime.scratch() as folder:
            file = fetch(runtime, row, folder)
            with read_upload(file, row.name, folder=folder, memory=memory) as table:
                write_table(table, path)

    return tables.Readable(row.id, row.name, row.created_at, write)


def content(runtime: Runtime, row: AppFile) -> bytes:
    located = runtime.stores.locate(row.url)
    return located.store.get(located.key)


def remove(runtime: Runtime, user_id: str, application: str, file_id: str) -> None:
    """Remove a file of this person. Raises as `file_of`."""
    with runtime.catalog.write() as transaction:
        row = file_of(transaction, user_id, application, file_id)
        url = row.url
        transaction.delete(row)
    runtime.stores.remove(url)
