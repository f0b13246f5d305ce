"""Keep the rows of the tables that people upload, and of those that scorings make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.tables import UserTable

#: Before a sign of a name that means itself in LIKE.
ESCAPE: Final = "\\"


def add(transaction: Transaction, table: UserTable) -> UserTable:
    """Keep a table; one of this id that is there already stays, and is returned."""
    kept = transaction.get(UserTable, table.id)
    if kept is not None:
        return kept
    transaction.add(table)
    transaction.flush()
    return table


def find(transaction: Transaction, user_id: str, table_id: str) -> UserTable | None:
    """Return a table of this person; None where there is none, or it is someone else's."""
    return transaction.scalar(select(UserTable).where(UserTable.id == table_id, UserTable.user_id == user_id))


def made_by(transaction: Transaction, user_id: str, job_id: str) -> UserTable | None:
    """Return the table that a job of this person made; None where it made none, or that was removed."""
    return transaction.scalar(
        select(UserTable).where(UserTable.job_id == job_id, UserTable.user_id == user_id)
    )


def like(name: str) -> str:
    """Return a name in which * stands for any signs as what LIKE takes, with `ESCAPE`."""
    kept = name.replace(ESCAPE, ESCAPE * 2).replace("%", f"{ESCAPE}%").replace("_", f"{ESCAPE}_")
    return kept.replace("*", "%")


def newest(transaction: Transaction, user_id: str, name: str) -> UserTable | None:
    """Return the table of this name (see `like`) that a person uploaded last; no job made it."""
    mine = (UserTable.user_id == user_id, UserTable.job_id.is_(None))
    query = select(UserTable).where(*mine, UserTable.name.ilike(like(name), escape=ESCAPE))
    return transaction.scalar(query.order_by(UserTable.created_at.desc(), UserTable.id).limit(1))


def list_tables(
    transaction: Transaction, user_id: str, *, limit: int, offset: int
) -> tuple[Sequence[UserTable], int]:
    """List the tables of a person, the newest first, and count them."""
    mine = UserTable.user_id == user_id
    query = select(UserTable).where(mine).order_by(UserTable.created_at.desc(), UserTable.id)
    count = transaction.scalar(select(func.count()).select_from(UserTable).where(mine)) or 0
    return transaction.scalars(query.limit(limit).offset(offset)).all(), count


def remove(transaction: Transaction, user_id: str, table_id: str) -> str:
    """Remove the row of a table; the address of its file, empty where there was none."""
    row = find(transaction, user_id, table_id)
    if row is None:
        return ""
    url = row.url
    transaction.delete(row)
    return url
