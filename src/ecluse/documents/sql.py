"""Keep documents in a table of the catalog's database: SQLite or PostgreSQL, in transactions."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Engine,
    MetaData,
    Select,
    String,
    Table,
    Text,
    inspect,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from ecluse.connections import close_engine, open_engine, why_postgresql_fails
from ecluse.disks import is_damage, private_file, why_sqlite_fails
from ecluse.documents.backend import Document, Range
from ecluse.documents.canonical import KEY_LIMIT, KIND_LIMIT, Body, Entry
from ecluse.errors import DocumentsMissing, DocumentsUnavailable, DocumentsUnwritable
from ecluse.limits import WORKING, Limits
from ecluse.sentences import _

#: Text whose order is that of its bytes, as SQLite's is anyway.
_BY_BYTES: Final = {
    limit: String(limit).with_variant(String(limit, collation="C"), "postgresql")
    for limit in (KIND_LIMIT, KEY_LIMIT)
}
#: The migrations of the catalog make this table; here it is made for databases that are no catalog.
TABLE: Final = Table(
    "documents",
    MetaData(),
    Column("kind", _BY_BYTES[KIND_LIMIT], primary_key=True),
    Column("key", _BY_BYTES[KEY_LIMIT], primary_key=True),
    Column("body", Text, nullable=False),
)
#: What SQLite and PostgreSQL say of a table that is not there.
_NO_TABLE: Final = ("no such table", "UndefinedTable")


class SqlDocuments:
    """The table `documents` at a SQLAlchemy address."""

    def __init__(self, url: str, limits: Limits = WORKING) -> None:
        self._url = make_url(url)
        self._engine = open_engine(url, limits)
        self._writing = self._engine.execution_options(ecluse_write=True)
        is_file = self._url.get_backend_name() == "sqlite" and self._url.database not in (
            None,
            "",
            ":memory:",
        )
        self._file = Path(str(self._url.database)) if is_file else None

    def put(self, entries: Sequence[Entry]) -> None:
        insert = (postgresql if self._engine.dialect.name == "postgresql" else sqlite).insert(TABLE)
        statement = insert.on_conflict_do_update(
            index_elements=["kind", "key"], set_={"body": insert.excluded.body}
        )
        # In the order of the keys: two writers that hold rows the other wants would wait for each other.
        rows = sorted(({"kind": e.kind, "key": e.key, "body": e.text} for e in entries), key=_name)
        with self._write() as connection:
            connection.execute(statement, rows)

    def get(self, keys: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], Body]:
        by_kind: dict[str, list[str]] = defaultdict(list)
        for kind, key in keys:
            by_kind[kind].append(key)
        bodies: dict[tuple[str, str], Body] = {}
        with self._read() as connection:
            # Kind by kind: SQLite reads the whole table for (kind, key) IN (…).
            for kind, some in by_kind.items():
                statement = select(TABLE.c.key, TABLE.c.body).where(
                    TABLE.c.kind == kind, TABLE.c.key.in_(some)
                )
                bodies |= {(kind, key): json.loads(body) for key, body in connection.execute(statement)}
        return bodies

    def delete(self, kind: str, keys: Sequence[str]) -> None:
        with self._write() as connection:
            connection.execute(TABLE.delete().where(TABLE.c.kind == kind, TABLE.c.key.in_(keys)))

    def range(self, bounds: Range) -> list[Document]:
        with self._read() as connection:
            rows = connection.execute(_within(select(TABLE.c.key, TABLE.c.body), bounds)).all()
        return [Document(bounds.kind, key, json.loads(body)) for key, body in rows]

    def keys(self, bounds: Range) -> list[str]:
        with self._read() as connection:
            return list(connection.execute(_within(select(TABLE.c.key), bounds)).scalars())

    def kinds(self) -> Iterator[str]:
        """Yield the kinds with one query of the index each, however many documents a kind has."""
        last: str | None = ""
        while last is not None:
            following = select(TABLE.c.kind).where(TABLE.c.kind > last).order_by(TABLE.c.kind).limit(1)
            with self._read() as connection:
                last = connection.execute(following).scalar_one_or_none()
            if last is not None:
                yield last

    def create(self) -> list[str]:
        if self._file is not None:
            self._file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            private_file(self._file)
        with self._reported(), self._writing.begin() as connection:
            if inspect(connection).has_table(TABLE.name):
                return []
            TABLE.create(connection, checkfirst=True)
        return [TABLE.name]

    def check(self) -> None:
        with self._read() as connection:
            connection.execute(select(TABLE.c.kind).limit(1)).all()

    def close(self) -> None:
        close_engine(self._engine)

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with self._reported(), self._engine_of_file().connect() as connection:
            yield connection

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        self._engine_of_file()
        with self._reported(), self._writing.begin() as connection:
            yield connection

    def _engine_of_file(self) -> Engine:
        """Return the engine if its database is there: SQLite would make an empty file in its place."""
        if self._file is not None and not self._file.exists():
            raise DocumentsMissing(
                _("There is no database %(value)s. Make it: ecluse documents create", value=self._file)
            )
        return self._engine

    @contextmanager
    def _reported(self) -> Iterator[None]:
        place = self._url.render_as_string(hide_password=True)
        try:
            yield
        except NoConnectionFree as error:
            raise DocumentsUnavailable(
                _("All connections of this process to the documents are in use. Try again in a minute.")
            ) from error
        except (OperationalError, ProgrammingError) as error:
            self._raise_for_file(error)
            self._raise_for_server(error)
            said = str(error.orig).strip().splitlines()[0]
            if any(sign in f"{type(error.orig).__name__} {said}" for sign in _NO_TABLE):
                raise DocumentsMissing(
                    _("%(value)s has no table of documents. Make it: ecluse documents create", value=place)
                ) from error
            if isinstance(error, ProgrammingError):
                raise
            raise DocumentsUnavailable(
                _(
                    "The documents in %(value)s do not answer: %(error)s. See: ecluse doctor",
                    value=place,
                    error=said,
                )
            ) from error
        except DBAPIError as error:
            self._raise_for_file(error)
            self._raise_for_server(error)
            if error.connection_invalidated:
                raise DocumentsUnavailable(
                    _("The connection to the documents was lost. Try again.")
                ) from error
            raise

    def _raise_for_file(self, error: DBAPIError) -> None:
        """Raise an error that explains what is wrong with SQLite's file and what to do, if SQLite says so."""
        if self._file is not None and (reason := why_sqlite_fails(error.orig, self._file)) is not None:
            kind = DocumentsUnavailable if is_damage(error.orig) else DocumentsUnwritable
            raise kind(_("The documents cannot be used. %(reason)s", reason=reason)) from error

    def _raise_for_server(self, error: DBAPIError) -> None:
        """Raise an error that explains why PostgreSQL does not answer and what to do, if it says so."""
        if (reason := why_postgresql_fails(error)) is not None:
            kind = DocumentsUnwritable if reason.of_disk else DocumentsUnavailable
            raise kind(_("The documents cannot be used. %(reason)s", reason=reason.text)) from error


def _name(row: Mapping[str, str]) -> tuple[str, str]:
    return row["kind"], row["key"]


def _within(chosen: Select[Any], range_: Range) -> Select[Any]:
    """Return a statement for the part of the primary key's index that is wanted."""
    bounds: list[ColumnElement[bool]] = [TABLE.c.kind == range_.kind]
    bounds += [] if range_.low is None else [TABLE.c.key >= range_.low]
    bounds += [] if range_.high is None else [TABLE.c.key < range_.high]
    order = TABLE.c.key.desc() if range_.newest_first else TABLE.c.key
    return chosen.where(*bounds).order_by(order).limit(range_.limit)
