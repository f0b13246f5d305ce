"""Keep the rows of the tables that people upload, and of those that scorings make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog import sharing, sums
from ecluse.catalog.behind import behind
from ecluse.catalog.tables import UserTable, new_id
from ecluse.errors import NotFound
from ecluse.sentences import _

#: Before a sign of a name that means itself in LIKE.
ESCAPE: Final = "\\"
#: Characters of the name of the model that made a table, as its column keeps it.
LONGEST_MODEL: Final = 100


def add(transaction: Transaction, table: UserTable) -> UserTable:
    """Keep a table; one of this id that is there already, or is kept at the same time, stays and is returned."""
    kept = transaction.get(UserTable, table.id)
    if kept is not None and kept.user_id == table.user_id:
        return kept
    if kept is not None:  # it was handed over since: the same upload is another table
        table.id = new_id()
    try:
        with transaction.begin_nested():
            transaction.add(table)
            transaction.flush()
    except IntegrityError:
        kept = transaction.get(UserTable, table.id)
        if kept is None or kept.user_id != table.user_id:  # it was no other of this id that stood in the way
            raise
        return kept
    return table


def find(transaction: Transaction, user_id: str, table_id: str) -> UserTable | None:
    """Return a table of this person; None where there is none, or it is someone else's."""
    return transaction.scalar(select(UserTable).where(UserTable.id == table_id, UserTable.user_id == user_id))


def readable(transaction: Transaction, reader_id: str, table_id: str) -> UserTable | None:
    """Return a table that this person may see; None where there is none, or it is not for them."""
    return transaction.scalar(
        select(UserTable).where(UserTable.id == table_id, sharing.visible_tables(reader_id))
    )


def to_change(
    transaction: Transaction, person_id: str, table_id: str, *, held: bool = False
) -> UserTable | None:
    """Return a table that this person may change; None where there is none, or it is not for them.

    `held`: it is not removed before the transaction ends.

    Raises:
        Forbidden: the person may read it, and not change it.
    """
    query = select(UserTable).where(
        UserTable.id == table_id, sharing.changeable(UserTable.user_id, person_id)
    )
    row = transaction.scalar(query.with_for_update(of=UserTable) if held else query)
    if row is None and (other := readable(transaction, person_id, table_id)) is not None:
        raise sharing.refusal(transaction, other.user_id, other.name)
    return row


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
    count = sums.kept(transaction, ("tables", user_id), lambda: _count(transaction, user_id))
    return transaction.scalars(query.limit(limit).offset(offset)).all(), count


def _count(transaction: Transaction, user_id: str) -> sums.Sum[int]:
    every = select(func.count()).select_from(UserTable).where(UserTable.user_id == user_id)
    count = transaction.scalar(every) or 0
    return sums.Sum(count, rows=count)


def tables_behind(transaction: Transaction, user_id: str, after: str, *, limit: int) -> Sequence[UserTable]:
    """List the tables of a person behind the one of this id, the newest first. Raises InvalidInput."""
    conditions = (UserTable.user_id == user_id, *behind(transaction, UserTable, user_id, after))
    query = select(UserTable).where(*conditions).order_by(UserTable.created_at.desc(), UserTable.id)
    return transaction.scalars(query.limit(limit)).all()


def is_at(transaction: Transaction, table_id: str, owner_id: str, key: str) -> bool:
    """Tell whether a table is this owner's by now and lies at a key."""
    row = find(transaction, owner_id, table_id)
    return row is not None and row.key == key


def hand_over(transaction: Transaction, person_id: str, table_id: str, owner_id: str) -> UserTable:
    """Give a table of a person, its file and its shares to another owner; where it lies is for the caller to say.

    Raises:
        NotFound: the person has no such table.
    """
    row = transaction.scalar(
        select(UserTable)
        .where(UserTable.id == table_id, UserTable.user_id == person_id)
        .with_for_update(of=UserTable)
    )
    if row is None:
        raise NotFound(_("No table %(value)s. See your tables: GET /api/tables", value=repr(table_id)[:100]))
    if row.model is not None and not row.model.startswith("@"):  # it was the person's, and stays so
        model = f"@{sharing.handle_of(transaction, person_id)}/{row.model}"
        row.model = model if len(model) <= LONGEST_MODEL else None
    row.user_id, row.job_id = owner_id, None
    if row.file is not None:
        row.file.user_id = owner_id
    sharing.hand_over(transaction, person_id, owner_id, sharing.TABLES, row.id)
    transaction.flush()
    return row


def remove(transaction: Transaction, person_id: str, table_id: str) -> str:
    """Remove the row of a table, and what it was shared by; the address of its file, empty where there was none.

    Raises:
        Forbidden: the person may read it, and not change it.
    """
    row = to_change(transaction, person_id, table_id, held=True)
    if row is None:
        return ""
    url = row.url
    sharing.remove_of(transaction, row.user_id, sharing.TABLES, row.id)
    transaction.delete(row)
    return url
