"""Keep at what time of the day work begins by itself, and the links by which a day is read."""

from __future__ import annotations

from datetime import date, datetime
from typing import Final

from sqlalchemy import ColumnElement, ForeignKey, String, and_, or_, select, true, update
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog import sharing
from ecluse.catalog.tables import Base, Share, User, now

#: The kind of a link to the report of a day, whose date is the name, as `shares.kind` has it.
LINKED_DAYS: Final = "city_days"


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


# Links by which the report of a day is read without an account: rows of `shares`, of whom made them


def visible_links(person_id: str, *, administers: bool) -> ColumnElement[bool]:
    """Hold of a link to a day that this person sees and takes back: theirs, or anyone's to an administrator."""
    theirs = true() if administers else sharing.changeable(Share.owner_id, person_id)
    return and_(Share.kind == LINKED_DAYS, _lasts(), theirs)


def links_of(
    transaction: Transaction, person_id: str, day: str, *, administers: bool
) -> list[tuple[Share, str]]:
    """List the links to a day that a person sees, the newest first, each with the handle of its maker."""
    query = (
        select(Share, User.handle)
        .join(User, User.id == Share.owner_id)
        .where(Share.name == day, visible_links(person_id, administers=administers))
        .order_by(Share.created_at.desc(), Share.id)
    )
    return [(row, handle or "") for row, handle in transaction.execute(query)]


def link_to_end(
    transaction: Transaction, person_id: str, day: str, link_id: str, *, administers: bool
) -> Share | None:
    """Return a link that a person may take back; None where there is none, or it is not for them."""
    query = select(Share).where(
        Share.id == link_id, Share.name == day, visible_links(person_id, administers=administers)
    )
    return transaction.scalar(query.with_for_update(of=Share))


def day_by_link(transaction: Transaction, secret_hash: str) -> str | None:
    """Return the day that a link leads to, by the hash of its secret; None where it is over, or its maker disabled."""
    query = (
        select(Share.name)
        .join(User, User.id == Share.owner_id)
        .where(Share.secret_hash == secret_hash, Share.kind == LINKED_DAYS, _lasts())
        .where(User.disabled_at.is_(None))
    )
    return transaction.scalar(query)


def _lasts() -> ColumnElement[bool]:
    return or_(Share.expires_at.is_(None), Share.expires_at > now())
