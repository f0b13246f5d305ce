"""Copy rows from one database to another and compare them, whichever the two are; table by table, in batches.

`tables()` is every table of the catalog but those of `LEFT`, so one that is added later is copied as well. JSON is
carried as its text: SQL's null and JSON's stay apart, and numbers stay as they were written.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import islice
from typing import Any, Final

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    Engine,
    Integer,
    String,
    Table,
    Text,
    bindparam,
    cast,
    delete,
    func,
    insert,
    literal,
    select,
    text,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite

from ecluse.catalog.migrations_of_applications import import_rows
from ecluse.catalog.tables import (
    Base,
    Migration,
    MigrationObject,
    MigrationRow,
    ObjectNote,
    SentenceText,
)

Row = dict[str, Any]
Key = tuple[Any, ...]
#: Rows of one transaction.
BATCH: Final = 500
#: Rows that are named of each kind of finding.
NAMED: Final = 10
#: Tables that are no part of a home: what a place knows of moves to and from it, with their journal; when and
#: where to it is backed up, so that a copy does not write, and remove, beside the home that it is one of; the processes
#: that run there, the releases that may, the secrets that their terminals showed, who is held back there and what is
#: being uploaded; sums and notes that the database there keeps itself; and documents, which are copied as such, from
#: whichever database keeps them.
LEFT: Final = frozenset(
    {
        "home_moves",
        "home_move_parts",
        "backup_schedule",
        "backups_made",
        "workers",
        "compatibility",
        "documents",
        "first_account_secrets",
        "attempts",
        "reservations",
        "stored",
        "object_notes",
    }
)
#: Tables with rows from the beginning: those that are brought take their place.
SEEDED: Final = frozenset({"plans"})
#: Brought when all else is there: until then nobody is let in.
LAST: Final = ("sessions", "api_tokens")
#: What a move did with objects is its journal, and no part of the home.
_OF_MOVES = select(Migration.id).where(Migration.move_id.is_not(None)).scalar_subquery()
_PART_OF_HOME: Final[dict[str, ColumnElement[bool]]] = {
    "migrations": Migration.move_id.is_(None),
    "migration_objects": MigrationObject.migration_id.not_in(_OF_MOVES),
    "migration_rows": MigrationRow.migration_id.not_in(_OF_MOVES),
}


@dataclass
class Difference:
    """How the rows of a table differ; `digest` is that of all rows of the source, in the order of their keys.

    `missing`, `other` and `extra` (at the destination alone) name the first of each.
    """

    rows: int = 0
    digest: str = ""
    counts: dict[str, int] = field(default_factory=lambda: {"missing": 0, "other": 0, "extra": 0})
    named: list[str] = field(default_factory=list)

    @property
    def is_same(self) -> bool:
        return not any(self.counts.values())

    def note(self, what: str, table: str, key: Key) -> None:
        self.counts[what] += 1
        if len(self.named) < NAMED:
            self.named.append(f"{what}: {table} {' '.join(map(str, key))}")


def tables() -> list[Table]:
    """List every table of a home, each after those it points at; those of `LAST` at the end."""
    import_rows()
    own = [table for table in Base.metadata.sorted_tables if table.name not in LEFT]
    return sorted(own, key=lambda table: table.name in LAST)


def count(engine: Engine, table: Table) -> int:
    with engine.connect() as connection:
        return connection.scalar(_chosen(select(func.count()).select_from(table), table)) or 0


def is_empty(engine: Engine, table: Table) -> bool:
    with engine.connect() as connection:
        return connection.execute(select(literal(1)).select_from(table).limit(1)).first() is None


def batches(engine: Engine, table: Table, after: Sequence[Any] | None = None) -> Iterator[list[Row]]:
    """Yield the rows whose key comes after `after`, in the order of their keys, `BATCH` at a time."""
    with engine.connect() as connection:
        rows = _rows(connection, table, after)
        while batch := list(islice(rows, BATCH)):
            yield batch


@contextmanager
def snapshot(engine: Engine) -> Iterator[Connection]:
    """Open a connection that sees all tables as they are at one moment, whatever others write meanwhile."""
    with engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        with connection.begin():
            connection.execute(
                select(func.count()).select_from(tables()[0])
            )  # from here on it is this moment
            yield connection


def read(connection: Connection, table: Table) -> Iterator[Row]:
    """Yield every row of a table, in the order of its keys."""
    return _rows(connection, table)


def to_line(row: Row) -> str:
    """Return a row as a line of JSON, which `from_line` reads again as the same row."""
    return json.dumps(row, ensure_ascii=False, default=_tagged)


def from_line(line: str) -> Row:
    row: Row = json.loads(line)
    return {name: _untagged(value) if isinstance(value, dict) else value for name, value in row.items()}


def _tagged(value: Any) -> dict[str, str]:
    """Say of a value that JSON has no form for what it is; JSON of the catalog itself is carried as its text."""
    if isinstance(value, bytes):
        return {"bytes": value.hex()}
    if isinstance(value, datetime):
        return {"moment": value.astimezone(UTC).isoformat()}
    if isinstance(value, date):
        return {"day": value.isoformat()}
    raise TypeError(type(value).__name__)


def _untagged(value: Mapping[str, str]) -> Any:
    ((kind, text),) = value.items()
    if kind == "bytes":
        return bytes.fromhex(text)
    return datetime.fromisoformat(text) if kind == "moment" else date.fromisoformat(text)


def key_of(table: Table, row: Row) -> Key:
    return tuple(row[column.name] for column in table.primary_key)


def write(connection: Connection, table: Table, rows: Sequence[Row], *, once: bool = False) -> None:
    """Insert rows as they were read; with `once`, those that are there are left as they are."""
    values: dict[Column[Any], Any] = {
        column: cast(bindparam(f"v_{column.name}", type_=Text()), column.type)
        if _is_json(column)
        else bindparam(f"v_{column.name}", type_=column.type)
        for column in table.columns
    }
    if connection.dialect.name == "sqlite":  # which keeps JSON as its text, and would cast it to a number
        values |= {c: bindparam(f"v_{c.name}", type_=Text()) for c in table.columns if _is_json(c)}
    by_name = {column.name: value for column, value in values.items()}
    if once:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        statement: Any = dialect.insert(table).values(by_name).on_conflict_do_nothing()
    else:
        statement = insert(table).values(by_name)
    connection.execute(statement, [{f"v_{name}": value for name, value in row.items()} for row in rows])


def remove_all(connection: Connection, chosen: Iterable[Table]) -> None:
    """Delete every row of these tables, of those that point at others first."""
    for table in reversed(list(chosen)):
        connection.execute(delete(table))
    connection.execute(delete(ObjectNote))  # where all rows go, their objects are someone else's to know of


def with_ids(connection: Connection, table: Table, ids: Sequence[str]) -> set[str]:
    """Return which of these ids rows have; all of them for a table whose key is more than one column."""
    key, *more = table.primary_key
    if more:
        return set(ids)
    return {
        row[0]
        for start in range(0, len(ids), BATCH)
        for row in connection.execute(select(key).where(key.in_(ids[start : start + BATCH])))
    }


def remove_keys(connection: Connection, table: Table, keys: Sequence[Key]) -> None:
    columns = list(table.primary_key)
    for start in range(0, len(keys), BATCH):
        some = keys[start : start + BATCH]
        condition = (
            columns[0].in_([key[0] for key in some]) if len(columns) == 1 else tuple_(*columns).in_(some)
        )
        connection.execute(delete(table).where(condition))


def set_sequences(connection: Connection, chosen: Iterable[Table]) -> None:
    """Let numbers that PostgreSQL counts up go on behind the highest that was copied; SQLite does so by itself."""
    if connection.dialect.name != "postgresql":
        return
    preparer = connection.dialect.identifier_preparer
    for table in chosen:
        for column in table.primary_key:
            if not isinstance(column.type, Integer):
                continue
            name = text("SELECT pg_get_serial_sequence(:table, :column)")
            values = {"table": preparer.format_table(table), "column": column.name}
            sequence = connection.scalar(name, values)
            if sequence is not None:
                highest = connection.scalar(select(func.max(column))) or 0
                connection.execute(select(func.setval(sequence, highest + 1, False)))


def unfit(table: Table, row: Row, dialect: str) -> str | None:
    """Return what of a row a database of this kind cannot keep: the column and the reason; None where it can all."""
    for column in table.columns:
        value = row[column.name]
        reason = None
        if isinstance(value, float) and not math.isfinite(value) and dialect == "sqlite":
            reason = "a number that is none"
        elif isinstance(value, str) and dialect == "postgresql":
            reason = _unfit_text(column, value)
        if reason:
            return f"{column.name} holds {reason}"
    return None


def compare(
    source: Engine,
    destination: Engine,
    table: Table,
    as_there: Callable[[str, Row], Row] = lambda _, row: row,
) -> Difference:
    """Compare every row of the source with that of the destination; `as_there` says how a row is to stand there."""
    with source.connect() as ours:
        return compare_rows(_rows(ours, table), destination, table, as_there)


def compare_rows(
    here: Iterator[Row],
    destination: Engine,
    table: Table,
    as_there: Callable[[str, Row], Row] = lambda _, row: row,
) -> Difference:
    """Compare rows, which come in the order of their keys, with those of the destination; see `compare`."""
    difference, digest = Difference(), hashlib.sha256()
    with destination.connect() as theirs:
        there = _rows(theirs, table)
        row, other = next(here, None), next(there, None)
        while row is not None or other is not None:
            key = None if row is None else key_of(table, row)
            their_key = None if other is None else key_of(table, other)
            if row is not None and key is not None and (their_key is None or key <= their_key):
                canonical = _canonical(table, as_there(table.name, row))
                digest.update(canonical)
                difference.rows += 1
                if other is None or key != their_key:
                    difference.note("missing", table.name, key)
                else:
                    if _canonical(table, as_there(table.name, other)) != canonical:
                        difference.note("other", table.name, key)
                    other = next(there, None)
                row = next(here, None)
            elif their_key is not None:
                difference.note("extra", table.name, their_key)
                other = next(there, None)
    difference.digest = digest.hexdigest()
    return difference


def _rows(connection: Connection, table: Table, after: Sequence[Any] | None = None) -> Iterator[Row]:
    columns = [cast(c, Text()).label(c.name) if _is_json(c) else c for c in table.columns]
    keys = [_by_bytes(connection, column) for column in table.primary_key]
    query = _chosen(select(*columns), table).order_by(*keys)
    if after is not None:
        query = query.where(tuple_(*keys) > tuple_(*map(literal, after)))
    streamed = connection.execution_options(stream_results=True, yield_per=BATCH)
    for row in streamed.execute(query):
        yield dict(zip(table.columns.keys(), row, strict=True))


def _chosen(query: Any, table: Table) -> Any:
    """Return of the catalog's own tables, the part that belongs to the home."""
    condition = _PART_OF_HOME.get(table.name) if table.metadata is Base.metadata else None
    return query if condition is None else query.where(condition)


def _by_bytes(connection: Connection, column: Column[Any]) -> ColumnElement[Any]:
    """Return a column whose order is that of its bytes, as SQLite's is anyway."""
    if connection.dialect.name == "postgresql" and isinstance(column.type, String):
        return column.collate("C")
    return column


def _is_json(column: Column[Any]) -> bool:
    return isinstance(column.type, JSON | SentenceText)


def _canonical(table: Table, row: Row) -> bytes:
    """Return a row in one form, whichever database it came from: {column: value}, JSON by the order of its names."""
    plain = {c.name: _plain(row[c.name], is_json=_is_json(c)) for c in table.columns}
    return json.dumps(plain, sort_keys=True, ensure_ascii=False).encode()


def _plain(value: Any, *, is_json: bool) -> Any:
    if is_json:
        return None if value is None else [json.loads(value)]  # a null of JSON is not one of SQL
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value.isoformat() if isinstance(value, date) else value


def _unfit_text(column: Column[Any], value: str) -> str | None:
    """Return why PostgreSQL, which holds columns to what they say, does not keep a text that SQLite does."""
    if _is_json(column):
        try:
            json.loads(value, parse_constant=_refuse)
        except ValueError:
            return "JSON with a number that is none"
        return None
    if "\x00" in value:
        return "a null character"
    limit = getattr(column.type, "length", None)
    return f"{len(value)} characters, {limit} fit" if limit and len(value) > limit else None


def _refuse(name: str) -> Mapping[str, Any]:
    raise ValueError(name)
