"""Know which rows of the catalog are one owner's, in whatever table: to give them out, and to see that all went.

Rows are an owner's where a column points at the owner, or is `user_id`; and where they point at a row that is. So a
table that is added later takes part by itself, also one of an application that the core does not know.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime
from functools import cache
from typing import Any, Final

from sqlalchemy import ColumnElement, Table, func, literal, or_, select, tuple_
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.migrations_of_applications import import_rows
from ecluse.catalog.tables import Base

#: Rows that are read at once.
BATCH: Final = 500
#: Tables of which nothing is given out, and why. An archive says it, too.
LEFT_OUT: Final[Mapping[str, str]] = {
    "attempts": "says of nobody who it is: who is held back for a while after wrong passwords, as digests",
    "backup_schedule": "belongs to the installation: when and where to it is backed up",
    "backups_made": "belongs to the installation: when it was backed up",
    "compatibility": "belongs to the installation: the oldest release that its tables allow",
    "documents": "belongs to everyone here: days and their reports",
    "first_account_secrets": "belongs to the installation, and holds hashes of secrets alone",
    "former_handles": "belongs to the installation: handles that are given to nobody again, as digests",
    "home_moves": "belongs to the installation: moves of all that is kept here",
    "home_move_parts": "belongs to the installation: moves of all that is kept here",
    "job_checkpoints": "says where a running job keeps what it needs to go on; gone once it has ended",
    "job_steps": "what a running job remembers to go on after an interruption",
    "migration_objects": "belongs to the installation: the journal of moves between stores",
    "migration_rows": "belongs to the installation: the journal of moves between stores",
    "migrations": "belongs to the installation: moves between stores that an administrator began",
    "object_notes": "addresses of objects that are being stored or removed; gone once they are",
    "plans": "belongs to everyone here; the one that the account has is among its rows",
    "reference_models": "belongs to everyone here: the library of references",
    "reservations": "the room of uploads that are under way",
    "workers": "belongs to the installation: processes that run now",
}
#: Tables whose rows stay when an account goes, and why.
KEPT: Final[Mapping[str, str]] = {
    "audit_log": "who did what stays readable, by an id that leads to nobody any more",
    "migrations": "belongs to the installation",
    "migration_objects": "belongs to the installation",
    "migration_rows": "belongs to the installation",
}
#: Columns that are given to nobody, not to their owner either.
_SECRET: Final = re.compile(r"secret|password|passcode|(?<!perceptual)_hash$|totp|recovery|private", re.ASCII)
_USERS: Final = "users"


def tables() -> list[Table]:
    """List every table of the catalog, those of applications too, each after those that it points at."""
    import_rows()
    return list(Base.metadata.sorted_tables)


def given_out() -> list[Table]:
    """List the tables whose rows are given out with an account."""
    return [table for table in tables() if table.name not in LEFT_OUT and _is_owned(table)]


def columns_of(table: Table) -> list[str]:
    """List the columns of a table that are given out: none of secrets, nor of their hashes."""
    return [column.name for column in table.columns if not _SECRET.search(column.name)]


def rows_of(
    transaction: Transaction, table: Table, owner_id: str, after: tuple[Any, ...] | None = None
) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
    """Return the first rows of an owner behind the key `after`, at most `BATCH`: each with its key, as plain values."""
    condition = _of(table, owner_id)
    keys = list(table.primary_key)
    if condition is None:
        return []
    query = select(*table.columns).where(condition).order_by(*keys).limit(BATCH)
    if after is not None:
        query = query.where(tuple_(*keys) > tuple_(*map(literal, after)))
    names = columns_of(table)
    rows = []
    for row in transaction.execute(query):
        values = dict(zip(table.columns.keys(), row, strict=True))
        key = tuple(values[column.name] for column in keys)
        rows.append((key, {name: plain(values[name]) for name in names}))
    return rows


def remaining(transaction: Transaction, owner_id: str) -> dict[str, int]:
    """Count the rows of an owner in every table but those of `KEPT`; tables without any are left out."""
    return {name: count for name, count in _counted(transaction, owner_id) if count and name not in KEPT}


def plain(value: Any) -> Any:
    """Return a value as JSON has it: moments in UTC as text, bytes in hexadecimal, numbers that are none as words."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return str(value) if isinstance(value, str) else value


def _counted(transaction: Transaction, owner_id: str) -> Iterator[tuple[str, int]]:
    for table in tables():
        condition = _of(table, owner_id)
        if condition is not None:
            count = select(func.count()).select_from(table).where(condition)
            yield table.name, transaction.scalar(count) or 0


@cache
def _is_owned(table: Table) -> bool:
    return _of(table, "") is not None


def _of(table: Table, owner_id: str) -> ColumnElement[bool] | None:
    """Return the condition of the rows of an owner; None of a table whose rows are nobody's."""
    if table.name == _USERS:
        return table.c.id == owner_id
    to_owner = [
        key.parent for key in table.foreign_keys if key.column.table.name == _USERS and key.parent is not None
    ]
    if not to_owner and "user_id" in table.c:
        to_owner = [table.c.user_id]
    if to_owner:
        return or_(*(column == owner_id for column in to_owner))
    by_others = []
    for key in table.foreign_keys:
        condition = _of(key.column.table, owner_id)
        if condition is not None and key.parent is not None:
            by_others.append(key.parent.in_(select(key.column).where(condition)))
    return or_(*by_others) if by_others else None
