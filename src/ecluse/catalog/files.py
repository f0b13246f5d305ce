"""Know what lies in the stores: one table says whose each file is, which row it serves, where it lies, its digest and
its bytes.

Migration, the move of a home, verification, removal and the figures of what is stored go by this table alone, and know
no table of an application. An application whose row has one file gives its class `HasFile` (see `catalog.filed`); one
whose row has several adds them by `add` under names of their own. Either removes them with the row, by `remove`.

Beside files there are areas: folders of a store that hold what no row points at one by one, such as the raw data of a
city, checkpoints, or the registry's own claims and signatures. What an area is says `docs/concepts/files.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, or_, select, tuple_
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.tables import File, Migration, MigrationRow
from ecluse.settings import Area

__all__ = [
    "Switch",
    "add",
    "addresses_of",
    "as_moved",
    "digests_at",
    "files",
    "files_at",
    "files_near",
    "files_of",
    "fill_addresses",
    "find",
    "key_of",
    "lacks_addresses",
    "move_folders",
    "remove",
    "shared_versions",
    "switch",
    "switch_back",
    "switched",
]

#: Files that one query names.
_AT_ONCE: Final = 400
Key = tuple[str, str, str]


@dataclass(frozen=True)
class Switch:
    """A file, as it was seen, that is to lie at `url`."""

    file: File
    url: str


# Add, read, remove


def add(transaction: Transaction, file: File) -> File:
    """Record a file of a row, in place of the one that had its name."""
    return transaction.merge(file)


def remove(
    transaction: Transaction,
    table: str,
    row_ids: Collection[str],
    *,
    names: Collection[str] | None = None,
) -> list[str]:
    """Forget the files of rows that end, or those with these names; the addresses of those that end with their rows."""
    urls = list[str]()
    ids = list(row_ids)
    for start in range(0, len(ids), _AT_ONCE):
        ended = [File.table_name == table, File.row_id.in_(ids[start : start + _AT_ONCE])]
        for some in _parts(names):
            chosen = ended if some is None else [*ended, File.name.in_(some)]
            removed = delete(File).where(*chosen).returning(File.url, File.owned)
            options = {"synchronize_session": False}
            urls += [
                url for url, owned in transaction.execute(removed, execution_options=options) if owned and url
            ]
    return urls


def files(transaction: Transaction) -> Iterator[File]:
    """Return every file that lies somewhere, of anyone, in the order of the rows."""
    yield from _matching(transaction, File.url != "")


def files_near(transaction: Transaction, url: str) -> Iterator[File]:
    """Return every file that needs what is at `url` or below it: it lies there, in it, or is a folder that holds it."""
    inside, folders = f"{url.rstrip('/')}/", folders_of(url)
    near = or_(File.url.in_(folders), File.url.startswith(inside, autoescape=True))
    for file in _matching(transaction, near):
        # SQLite compares without regard to case.
        if file.url in folders or file.url.startswith(inside):
            yield file


def files_at(transaction: Transaction, url: str, *, limit: int = 10) -> list[File]:
    """Return the first of `files_near`."""
    return list(islice(files_near(transaction, url), limit))


def addresses_of(transaction: Transaction, user_id: str) -> Iterator[str]:
    """Return the addresses of all files of a user."""
    yield from transaction.scalars(select(File.url).where(File.user_id == user_id, File.url != "").distinct())


def shared_versions(transaction: Transaction) -> Iterator[str]:
    """Return the addresses of versions that belong to everyone."""
    is_shared = (File.form == "version", File.owned, File.user_id.is_(None), File.url != "")
    yield from transaction.scalars(select(File.url).where(*is_shared))


def files_of(transaction: Transaction, user_id: str) -> list[File]:
    """Return what lies somewhere and ends with the rows of a user."""
    owned = (File.user_id == user_id, File.owned, File.url != "")
    return list(transaction.scalars(select(File).where(*owned)))


def digests_at(transaction: Transaction, user_id: str, urls: Sequence[str]) -> dict[str, str]:
    """Return the digests that are kept of objects of a user, by their addresses."""
    known = (File.user_id == user_id, File.form == "object", File.sha256.is_not(None), File.url.in_(urls))
    rows = transaction.execute(select(File.url, File.sha256).where(*known))
    return {url: sha256 for url, sha256 in rows if sha256}


def find(transaction: Transaction, key: Key) -> File | None:
    """Return a file as it is now; None when it is gone."""
    return transaction.scalar(select(File).where(*_is(key)))


def key_of(file: File) -> Key:
    """Return what tells a file from every other: table and id of its row, and its name."""
    return file.table_name, file.row_id, file.name


# Move


def switch(transaction: Transaction, migration_id: str, switches: Sequence[Switch]) -> int:
    """Say of files that they lie at their new addresses, and keep the old ones; how many that were.

    A file that lies elsewhere by now, or has another content, stays as it is.
    """
    migration = transaction.get_one(Migration, migration_id)
    by_key = {key_of(change.file): change for change in switches}
    count = 0
    for file in _locked(transaction, list(by_key)):
        before = by_key[key_of(file)].file
        if (file.url, file.sha256) != (before.url, before.sha256):
            continue
        table, row_id, name = key_of(file)
        transaction.merge(
            MigrationRow(migration_id=migration_id, table_name=table, row_id=row_id, name=name, url=file.url)
        )
        file.url = by_key[key_of(file)].url
        count += 1
    migration.rows_switched += count
    return count


def switched(transaction: Transaction, migration_id: str) -> list[MigrationRow]:
    """Return the files that a migration switched, with the address that each had before."""
    return list(
        transaction.scalars(
            select(MigrationRow)
            .where(MigrationRow.migration_id == migration_id)
            .order_by(MigrationRow.table_name, MigrationRow.row_id, MigrationRow.name)
        )
    )


def switch_back(
    transaction: Transaction, migration_id: str, switches: Sequence[tuple[MigrationRow, str]]
) -> int:
    """Give files back the address they had before the migration; how many files that were.

    Each comes with the address it was given. A file that lies elsewhere by now stays as it is.
    """
    addresses = {(row.table_name, row.row_id, row.name): (row.url, url) for row, url in switches}
    back = 0
    for file in _locked(transaction, list(addresses)):
        former, url = addresses[key_of(file)]
        if file.url == url:
            file.url = former
            back += 1
    for key in addresses:
        if (record := transaction.get(MigrationRow, (migration_id, *key))) is not None:
            transaction.delete(record)
    migration = transaction.get_one(Migration, migration_id)
    migration.rows_switched -= back
    return back


def move_folders(transaction: Transaction, moved: Callable[[str], str]) -> None:
    """Say of folders, whose objects no migration verifies one by one, that they lie where `moved` says."""
    for file in transaction.scalars(select(File).where(File.form == "folder", File.url != "")):
        file.url = moved(file.url)


def as_moved(table: str, row: Mapping[str, Any], moved: Callable[[str], str]) -> dict[str, Any]:
    """Return a row of this table, read as text, as it is to stand in a home whose objects are where `moved` says."""
    if table != File.__tablename__ or not row["url"]:
        return dict(row)
    return {**row, "url": moved(row["url"])}


# Files from before addresses were kept


def lacks_addresses(transaction: Transaction) -> bool:
    """Return whether a file is from before addresses were kept."""
    return transaction.execute(select(File.row_id).where(*_UNPLACED).limit(1)).first() is not None


def fill_addresses(transaction: Transaction, url_of: Callable[[Area, str], str]) -> None:
    """Give files from before addresses were kept the one they have had all along: `url_of` their area and key."""
    for file in transaction.scalars(select(File).where(*_UNPLACED)):
        file.url = url_of(file.area, file.key or "")


_UNPLACED: Final = (File.url == "", File.key.is_not(None))


def _matching(transaction: Transaction, condition: ColumnElement[bool]) -> Iterator[File]:
    query = select(File).where(condition).order_by(File.table_name, File.row_id, File.name)
    yield from transaction.scalars(query).yield_per(1000)


def _is(key: Key) -> tuple[ColumnElement[bool], ...]:
    table, row_id, name = key
    return File.table_name == table, File.row_id == row_id, File.name == name


def _locked(transaction: Transaction, keys: Sequence[Key]) -> Iterator[File]:
    """Lock these files, as they are now, until the transaction ends."""
    columns = tuple_(File.table_name, File.row_id, File.name)
    for start in range(0, len(keys), _AT_ONCE):
        query = select(File).where(columns.in_(keys[start : start + _AT_ONCE])).with_for_update()
        yield from transaction.scalars(query.execution_options(populate_existing=True))


def _parts(names: Collection[str] | None) -> Iterator[list[str] | None]:
    if names is None:
        yield None
        return
    every = list(names)
    for start in range(0, len(every), _AT_ONCE):
        yield every[start : start + _AT_ONCE]


def folders_of(url: str) -> list[str]:
    """Return the address itself and those of the folders that it is in."""
    scheme, _, path = url.rstrip("/").partition("://")
    parts = path.split("/")
    return [f"{scheme}://{'/'.join(parts[:end])}" for end in range(len(parts), 0, -1)]
