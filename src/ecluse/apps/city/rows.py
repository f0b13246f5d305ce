"""Keep at what time of the day work begins by itself."""

from __future__ import annotations

from datetime import date

from sqlalchemy import update
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.tables import Schedule, now


def schedule_of(transaction: Transaction, name: str) -> Schedule | None:
    return transaction.get(Schedule, name)


def set_schedule(
    transaction: Transaction, name: str, user_id: str, *, at: str, since: date, fetches: bool
) -> Schedule:
    """Make a schedule, or change it."""
    row = transaction.merge(
        Schedule(name=name, user_id=user_id, at=at, since=since, fetches=fetches, updated_at=now())
    )
    transaction.flush()
    return row


def hand_over(transaction: Transaction, user_id: str, heir_id: str) -> None:
    """Let what one user set be another's."""
    transaction.execute(update(Schedule).where(Schedule.user_id == user_id).values(user_id=heir_id))


def remove_schedule(transaction: Transaction, name: str) -> bool:
    """Return whether there was one."""
    row = schedule_of(transaction, name)
    if row is not None:
        transaction.delete(row)
    return row is not None
