"""Know of objects that no row points at yet, or any more: each is noted before it is stored, and when its row goes.

A note is made in a transaction of its own before an object is stored. The row that then points at the object removes
it, and a row that goes leaves one, in whatever way rows come and go: both by triggers of the database
(`migrations.noting`). What is still noted when it is due has no owner: whoever was to write the row, or to remove the
object, has ended.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog import files
from ecluse.catalog.clock import moment
from ecluse.catalog.filed import File
from ecluse.catalog.tables import ObjectNote

#: Seconds until whoever stores an object has written its row, or never will: the slowest upload, and more.
AWAITED: Final = 24 * 3600
#: Seconds until an object that its store did not remove is tried again.
LATER: Final = 3600


def expect(transaction: Transaction, url: str) -> None:
    """Note an object that is about to be stored; an object of before at this address is not removed any more."""
    insert = postgresql.insert if transaction.get_bind().dialect.name == "postgresql" else sqlite.insert
    noted = insert(ObjectNote).values(url=url, due_at=moment(AWAITED))
    transaction.execute(
        noted.on_conflict_do_update(index_elements=["url"], set_={"due_at": noted.excluded.due_at})
    )


def due(transaction: Transaction, limit: int) -> Sequence[str]:
    """Return the addresses whose notes are due, the oldest first."""
    query = select(ObjectNote.url).where(ObjectNote.due_at <= moment())
    return transaction.scalars(query.order_by(ObjectNote.due_at).limit(limit)).all()


def hold(transaction: Transaction, url: str) -> bool:
    """Keep a note that is due from others until the transaction ends; false where it is gone, held, or not due."""
    query = select(ObjectNote.url).where(ObjectNote.url == url, ObjectNote.due_at <= moment())
    return transaction.scalar(query.with_for_update(skip_locked=True)) is not None


def is_pointed_at(transaction: Transaction, url: str) -> bool:
    """Return whether the file of a row lies at this address, or is a folder that holds it."""
    near = select(File.url).where(File.url.in_(files.folders_of(url)))
    return transaction.scalar(near.limit(1)) is not None


def put_off(transaction: Transaction, url: str) -> None:
    """Let a note that is due be looked at again later, after the others."""
    late = update(ObjectNote).where(ObjectNote.url == url, ObjectNote.due_at <= moment())
    transaction.execute(late.values(due_at=moment(LATER)))


def forget(transaction: Transaction, url: str) -> None:
    """Remove a note: the object is gone, or has its row."""
    transaction.execute(delete(ObjectNote).where(ObjectNote.url == url))
