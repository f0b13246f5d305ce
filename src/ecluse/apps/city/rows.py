"""Keep at what time of the day work begins by itself."""

from __future__ import annotations

from datetime import date, datetime

from sqlalchemy import ForeignKey, String, update
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.tables import Base, now


class Schedule(Base):
    """Work that is begun once a day. `at`: HH:MM on the clocks of the work; `since`: the first day it is done for."""

    __tablename__ = "schedules"
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    user_id: Mapped[str] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    at: Mapped[str] = mapped_column(String(5))
    since: Mapped[date]
    fetches: Mapped[bool] = mapped_column(default=False)
    updated_at: Mapped[datetime] = mapped_column(default=now)


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
