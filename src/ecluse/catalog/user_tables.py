"""Keep the rows of the tables that people upload, and of those that scorings make."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.tables import UserTable


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
