"""Keep the tables of a person, for any model and any application: `ecluse.upload`, and what a scoring makes.

A table is kept as Parquet that we wrote, whatever it came as, and has its row (`user_tables`) once it is there whole.
Its id is all that requests name it by; where it lies is said by the row alone. Tables that were uploaded to an
application are read by their ids, too: it says how in `tables` of its `Application`.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from ecluse import ListingPackage, unclaimed
from ecluse.application import guarded, parts
from ecluse.catalog import audit, quotas, sharing, user_tables
from ecluse.catalog.tables import UserTable, new_id
from ecluse.errors import EcluseError, InvalidInput, NotFound
from ecluse.runtime import Runtime
from ecluse.sentences import _
from ecluse.storage import join_key, safe_filename
from ecluse.tabular.layout import LOOK, Layout

#: Characters of the name of a table.
LONGEST_NAME: Final = 200


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What made a table: a job with a version of a model; of one that was uploaded, what its sender calls the upload.

    What has the same origin is one table: made again, it is the one that is there.
    """

    nonce: str = ""
    job_id: str | None = None
    model: str | None = None
    version: str | None = None

    def table_id(self, user_id: str) -> str:
        """Return the id of the table that this makes."""
        what = self.job_id or self.nonce
        if not what:
            return new_id()
        words = ("job" if self.job_id else "upload", user_id, what)
        return hashlib.sha256(json.dumps(words).encode()).hexdigest()[:32]


UPLOADED: Final = Origin()


@dataclass(frozen=True)
class Readable:
    """A table that can be read, of the core (`row`) or of an application, which writes it as Parquet."""

    id: str
    name: str
    created_at: datetime
    write: Callable[[Path], None]
    row: UserTable | None = field(default=None)


def add(
    runtime: Runtime,
    user_id: str,
    file: Path,
    name: str,
    origin: Origin = UPLOADED,
    layout: Layout = LOOK,
) -> UserTable:
    """Keep a file of this machine as a table: delimited text, a workbook or Parquet, read by a process of its own.

    Raises:
        UnreadableTable: it is no table, damaged, or takes more than a reader may.
    """
    from ecluse.tabular.typing import write_table
    from ecluse.tabular.uploads import read_upload

    shown = checked_name(name)
    if (there := _made_by(runtime, user_id, origin)) is not None:
        return there
    with runtime.scratch() as folder:
        made = folder / "table.parquet"
        with read_upload(
            file, shown, layout, folder=folder, memory=runtime.settings.reader_max_bytes
        ) as table:
            write_table(table, made)
            notes = table.notes
        return keep(runtime, user_id, made, shown, notes=notes, origin=origin)


def upload(
    runtime: Runtime, person_id: str, file: Path, name: str, owner: str = "", origin: Origin = UPLOADED
) -> UserTable:
    """Keep a file of this machine as a table of a person, or (`owner`: a handle) of an organisation in which one makes
    things, within the plan of whose it is to be. Raises as `maker_called`, `quotas.reserve` and `add`.
    """
    maker = maker_called(runtime, person_id, owner)
    with audit.done_by(person_id), runtime.catalog.write() as transaction:
        room = quotas.reserve(transaction, maker, file.stat().st_size)
    try:
        with audit.done_by(person_id), quotas.held_room(room.id):
            return add(runtime, maker, file, name, origin)
    finally:
        if room.id is not None:
            with runtime.catalog.write(closed=True) as transaction:
                quotas.give_back(transaction, room.id)


def keep(
    runtime: Runtime,
    user_id: str,
    file: Path,
    name: str,
    *,
    notes: Iterable[str] = (),
    origin: Origin = UPLOADED,
) -> UserTable:
    """Keep a Parquet file that we wrote as a table; see `Origin` of one that is kept already."""
    import polars as pl

    if (there := _made_by(runtime, user_id, origin)) is not None:
        return there
    frame = pl.scan_parquet(file, glob=False)
    columns = [{"name": name, "type": str(dtype)} for name, dtype in frame.collect_schema().items()]
    rows = int(frame.select(pl.len()).collect().item())
    table_id = origin.table_id(user_id)
    row = UserTable(
        id=table_id,
        user_id=user_id,
        name=checked_name(name),
        rows=rows,
        columns=columns,
        notes=[*notes],
        job_id=origin.job_id,
        model=origin.model,
        version=origin.version,
    )
    # The same upload, sent twice at once, has an object each: to delete one takes nothing from the other.
    stem = new_id() if origin.nonce else table_id
    row.key = join_key("user_data", user_id, "tables", f"{stem}.parquet")
    unclaimed.expect(runtime, row.key)
    stored = runtime.data.upload(file, row.key)
    row.url, row.size_bytes, row.sha256 = runtime.data.url_of(row.key), stored.size, stored.sha256
    try:
        with runtime.catalog.write() as transaction:
            quotas.expect_to_keep(transaction, user_id, stored.size)
            kept = user_tables.add(transaction, row)
    except BaseException:  # no row leads to the object
        runtime.data.delete(row.key)
        raise
    if kept.key != row.key:
        runtime.data.delete(row.key)
    return kept


def _made_by(runtime: Runtime, user_id: str, origin: Origin) -> UserTable | None:
    with runtime.catalog.read() as transaction:
        return user_tables.find(transaction, user_id, origin.table_id(user_id))


def maker_called(runtime: Runtime, person_id: str, handle: str) -> str:
    """Return the id of the owner whose new tables are to be: an organisation by its handle, or (empty) the person.

    Raises:
        NotFound: the person does not belong to it.
        Forbidden: the person reads what it has, and makes nothing.
    """
    handle = handle.removeprefix("@")
    if not handle:
        return person_id
    with runtime.catalog.read() as transaction:
        maker = sharing.maker_of(transaction, person_id, handle)
        if maker is None:
            raise NotFound(
                _('You belong to no organisation "@%(handle)s". See: ecluse orgs list', handle=handle)
            )
        owner_id, may_make = maker
        if not may_make:
            raise sharing.refusal(transaction, owner_id, f"@{handle}")
    return owner_id


def notes_of(row: UserTable) -> tuple[str, ...]:
    """Return what was noted of a table when it was made: columns that were left out, what was unlike an example."""
    return tuple(row.notes)


def checked_name(name: str) -> str:
    """Return the name of a table, without folders.

    Raises:
        InvalidInput: nothing is left of it.
    """
    kept = Path(name.replace("\\", "/")).name.strip()[:LONGEST_NAME]
    if not kept or not kept.isprintable():
        raise InvalidInput(_("%(value)s cannot be the name of a table.", value=repr(name)[:100]))
    return kept


def find(runtime: Runtime, user_id: str, table_id: str) -> Readable:
    """Return a table that this person may see: of the core, or one of theirs that was uploaded to an application.

    Raises:
        NotFound: there is none, or it is not for them.
        InvalidInput: an application has not read it yet, or could not.
    """
    with runtime.catalog.read() as transaction:
        row = user_tables.readable(transaction, user_id, table_id)
    if row is not None:
        return Readable(row.id, row.name, row.created_at, lambda path: _download(runtime, row, path), row)
    for owner, finder in parts("tables"):
        with guarded(owner, "tables", passing=(EcluseError,)):
            readable: Readable | None = finder(runtime, user_id, table_id)
            if readable is not None:
                return readable
    raise NotFound(_("No table %(value)s. See your tables: GET /api/tables", value=repr(table_id)[:100]))


def _download(runtime: Runtime, row: UserTable, path: Path) -> None:
    located = runtime.stores.locate(row.url)
    located.store.download(located.key, path, sha256=row.sha256)


def list_tables(
    runtime: Runtime, user_id: str, *, limit: int, offset: int = 0
) -> tuple[Sequence[UserTable], int]:
    """List the tables of a person, the newest first, and count them."""
    with runtime.catalog.look() as transaction:
        return user_tables.list_tables(transaction, user_id, limit=limit, offset=offset)


def table_of(runtime: Runtime, user_id: str, table_id: str) -> UserTable:
    """Return a table of the core that this person may see.

    Raises:
        NotFound: there is none, or it is not for them.
    """
    row = find(runtime, user_id, table_id).row
    if row is None:
        raise NotFound(
            _(
                "The table %(value)s belongs to the application that it was uploaded to. Remove it there.",
                value=table_id,
            )
        )
    return row


def remove(runtime: Runtime, user_id: str, table_id: str) -> None:
    """Remove a table. A job that reads it goes on with its own copy, or fails and says so.

    Raises:
        NotFound, Forbidden: there is none that the person may see, or they may not change it.
    """
    row = table_of(runtime, user_id, table_id)
    with runtime.catalog.write() as transaction:
        url = user_tables.remove(transaction, user_id, row.id)
    if url:
        runtime.stores.remove(url)


def write_csv(parquet: Path, path: Path) -> None:
    """Write a table as CSV, in bounded memory; no text of it is run as a formula by a spreadsheet."""
    import polars as pl

    from ecluse.formulas import neutralise_formulas

    frame = pl.scan_parquet(parquet, glob=False)
    with path.open("wb") as file:
        neutralise_formulas(frame.head(0).collect()).write_csv(file)
        for batch in frame.collect_batches(maintain_order=True):
            neutralise_formulas(batch).write_csv(file, include_header=False)


def file_name(name: str, ending: str) -> str:
    """Return what to call the file of a table."""
    stem = name.rpartition(".")[0] if Path(name).suffix else name
    return safe_filename(f"{stem or name}{ending}")


def model_of(row: UserTable, owner: str | None) -> str | None:
    """Return the name by which a reader asks for the model that made a table; `owner`: whose it is, if another's."""
    if row.model is None or owner is None or row.model.startswith("@"):
        return row.model
    return f"@{owner}/{row.model}"


def described(row: UserTable, *, may_change: bool = True) -> dict[str, Any]:
    """Return what programs are told of a table; who may not change it is not told what it was made from."""
    return {
        "id": row.id,
        "name": row.name,
        "rows": row.rows,
        "columns": row.columns,
        "notes": [str(note) for note in notes_of(row)],
        "size_bytes": row.size_bytes,
        "sha256": row.sha256,
        "model": row.model if may_change else None,
        "version": row.version if may_change else None,
        "job": row.job_id if may_change else None,
        "created_at": row.created_at,
    }


sys.modules[__name__].__class__ = ListingPackage
