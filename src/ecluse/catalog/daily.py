"""Keep what each owner used on each day: bytes and files that were stored, jobs begun, rows that models answered.

Days are those of UTC. What is stored is that of the last count of a day; a worker counts every few minutes. Jobs are
counted anew for today and yesterday, and never become fewer: their records are removed after a while. Answers are
added by the processes that gave them (`ecluse.inference.answered`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from sqlalchemy import case, delete, func, literal, or_, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.plan_tables import DailyUse, Stored
from ecluse.catalog.tables import JobRow, User, now

#: How long days are kept.
KEPT: Final = timedelta(days=1_100)


@dataclass(frozen=True)
class UseOfDay:
    """What was used on a day, by one owner or by all. `stored_bytes`: None where nothing was counted."""

    day: date
    stored_bytes: int | None
    files: int | None
    jobs: int
    predictions: int


def today() -> str:
    """Return the day that it is in UTC, as YYYY-MM-DD."""
    return now().astimezone(UTC).date().isoformat()


def count(transaction: Transaction) -> None:
    """Count what is stored now, and the jobs of today and yesterday; forget days that are too old."""
    day = now().astimezone(UTC).date()
    _count_stored(transaction, day)
    for each in (day - timedelta(days=1), day):
        _count_jobs(transaction, each)
    transaction.execute(delete(DailyUse).where(DailyUse.day < (day - KEPT).isoformat()))


def add_predictions(transaction: Transaction, rows: Mapping[tuple[str, str], int]) -> None:
    """Add rows that were answered, by owner and day; those of an owner who is gone are left out."""
    owners = set(transaction.scalars(select(User.id).where(User.id.in_({owner for owner, _day in rows}))))
    for (owner, day), number in sorted(rows.items()):
        if owner in owners:
            chosen = select(literal(owner), literal(day), literal(0), literal(number)).where(
                literal(1) == literal(1)
            )
            insert = _insert(transaction, ["user_id", "day", "jobs", "predictions"], chosen)
            more = DailyUse.predictions + insert.excluded.predictions
            transaction.execute(_upsert(insert, {"predictions": more}))


def days_of(transaction: Transaction, owner_id: str | None, *, since: date) -> list[UseOfDay]:
    """Return the days from `since` on of which something is known, of one owner or (None) of all, the oldest first."""
    query = (
        select(
            DailyUse.day,
            func.sum(DailyUse.stored_bytes),
            func.sum(DailyUse.files),
            func.sum(DailyUse.jobs),
            func.sum(DailyUse.predictions),
        )
        .where(DailyUse.day >= since.isoformat())
        .group_by(DailyUse.day)
        .order_by(DailyUse.day)
    )
    if owner_id is not None:
        query = query.where(DailyUse.user_id == owner_id)
    return [
        UseOfDay(
            date.fromisoformat(day),
            None if stored is None else int(stored),
            None if files is None else int(files),
            int(jobs),
            int(predictions),
        )
        for day, stored, files, jobs, predictions in transaction.execute(query)
    ]


def _count_stored(transaction: Transaction, day: date) -> None:
    sums = (
        select(Stored.user_id, literal(day.isoformat()), func.sum(Stored.size_bytes), func.sum(Stored.files))
        .where(Stored.user_id.is_not(None))
        .group_by(Stored.user_id)
    )
    with_none = sums.add_columns(literal(0), literal(0))
    names = ["user_id", "day", "stored_bytes", "files", "jobs", "predictions"]
    insert = _insert(transaction, names, with_none)
    new = insert.excluded
    is_other = or_(
        DailyUse.stored_bytes.is_distinct_from(new.stored_bytes), DailyUse.files.is_distinct_from(new.files)
    )
    transaction.execute(_upsert(insert, {"stored_bytes": new.stored_bytes, "files": new.files}, is_other))


def _count_jobs(transaction: Transaction, day: date) -> None:
    start = datetime.combine(day, time(), UTC)
    of_day = (JobRow.created_at >= start, JobRow.created_at < start + timedelta(days=1), ~JobRow.part)
    sums = (
        select(JobRow.user_id, literal(day.isoformat()), func.count(), literal(0))
        .join(User, User.id == JobRow.user_id)
        .where(*of_day)
        .group_by(JobRow.user_id)
    )
    insert = _insert(transaction, ["user_id", "day", "jobs", "predictions"], sums)
    most = case((insert.excluded.jobs > DailyUse.jobs, insert.excluded.jobs), else_=DailyUse.jobs)
    transaction.execute(_upsert(insert, {"jobs": most}, insert.excluded.jobs > DailyUse.jobs))


def _insert(transaction: Transaction, names: list[str], rows: Any) -> Any:
    dialect: Any = postgresql if transaction.get_bind().dialect.name == "postgresql" else sqlite
    return dialect.insert(DailyUse).from_select(names, rows)


def _upsert(insert: Any, changed: Mapping[str, Any], condition: Any = None) -> Any:
    """Return the statement that changes the row of the owner and the day where there is one."""
    return insert.on_conflict_do_update(index_elements=["user_id", "day"], set_=changed, where=condition)
