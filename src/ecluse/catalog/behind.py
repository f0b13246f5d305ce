"""Go on in a list behind a row that was read: a page far behind reads no more than the first one."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, or_, select
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.tables import JobRow
from ecluse.errors import InvalidInput
from ecluse.sentences import _


def behind(transaction: Transaction, kind: Any, owner_id: str, after: str) -> tuple[ColumnElement[bool], ...]:
    """Return what chooses the rows of an owner behind one of theirs, in a list by time, the newest first, and by id.

    Raises:
        InvalidInput: the owner has no such row, or none any more.
    """
    last = transaction.scalar(select(kind.created_at).where(kind.id == after, kind.user_id == owner_id))
    if last is None:
        raise gone(after)
    # The first condition is where the index is entered.
    return kind.created_at <= last, or_(kind.created_at < last, kind.id > after)


def job_number(transaction: Transaction, user_id: str, after: str) -> int:
    """Return the place of one of the user's jobs among all, by which jobs are listed. Raises InvalidInput."""
    number = transaction.scalar(select(JobRow.number).where(JobRow.id == after, JobRow.user_id == user_id))
    if number is None:
        raise gone(after)
    return number


def gone(after: str) -> InvalidInput:
    """Return the error that says that a list cannot be gone on with."""
    return InvalidInput(
        _(
            "Nothing of yours in this list has the id %(value)s, or not any more. Leave `after` out to begin anew.",
            value=repr(after)[:100],
        )
    )
