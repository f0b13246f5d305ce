"""Keep the one schedule of backups, and which backups were made; by the database's clock alone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.clock import moment
from ecluse.catalog.of_backups import ONE, BackupMade, BackupSchedule
from ecluse.catalog.tables import JobRow
from ecluse.catalog.work import ACTIVE

#: Seconds after which a backup that failed is tried again, if none is due before.
RETRY: Final = 3600
#: A backup may come so much later than is due (a part of the time between two, and at least s), as it takes its time.
_GRACE: Final = 8
_LEAST_GRACE: Final = 3600
#: So many of the backups that were made are remembered.
REMEMBERED: Final = 500


@dataclass(frozen=True)
class Ages:
    """Seconds since a backup was finished, wherever it lies, and for which one of the schedule is overdue.

    `newest`: None where none was finished. `overdue`: 0 while it is in time; None where there is no schedule.
    """

    newest: float | None = None
    overdue: float | None = None


def find(transaction: Transaction) -> BackupSchedule | None:
    """Return the schedule; None where there is none."""
    return transaction.get(BackupSchedule, ONE)


def replace(transaction: Transaction, values: dict[str, Any], first: datetime) -> BackupSchedule:
    """Let this schedule be the one, the first backup being due at `first`; the schedule.

    What became of the last backup of the schedule before is forgotten with it; the backups that were made are not.
    """
    transaction.execute(delete(BackupSchedule))
    schedule = BackupSchedule(id=ONE, set_at=clock(transaction), anchor=first, due_at=first, **values)
    transaction.add(schedule)
    transaction.flush()
    return schedule


def remove(transaction: Transaction) -> bool:
    """Remove the schedule; false where there was none. A backup that is under way is finished."""
    gone = delete(BackupSchedule).where(BackupSchedule.id == ONE).returning(BackupSchedule.id)
    return transaction.execute(gone).first() is not None


def is_due(transaction: Transaction) -> bool:
    """Return whether a backup is due now."""
    due = (BackupSchedule.id == ONE, BackupSchedule.due_at <= moment())
    return transaction.scalar(select(BackupSchedule.id).where(*due)) is not None


def hold_due(transaction: Transaction) -> BackupSchedule | None:
    """Return the schedule if a backup is due, and keep it from others until this transaction ends."""
    due = (BackupSchedule.id == ONE, BackupSchedule.due_at <= moment())
    query = select(BackupSchedule).where(*due).with_for_update()
    return transaction.scalar(query.execution_options(populate_existing=True))


def is_under_way(transaction: Transaction, kind: str) -> bool:
    """Return whether a job of this kind waits or runs."""
    query = select(JobRow.id).where(JobRow.status.in_(ACTIVE), JobRow.kind == kind).limit(1)
    return transaction.scalar(query) is not None


def set_queued(transaction: Transaction, schedule: BackupSchedule, job_id: str) -> None:
    """Note the job that makes the backup which is due, and when the next one is."""
    schedule.job_id = job_id
    schedule.due_at = next_after(schedule.anchor, schedule.every, clock(transaction))


def set_begun(transaction: Transaction, job_id: str) -> None:
    """Note that a backup begins."""
    _update(transaction, job_id, {"begun_at": moment()})


def set_failed(transaction: Transaction, job_id: str, error: str) -> None:
    """Note that a backup failed, and have it tried again before long."""
    _update(transaction, job_id, {"failed_at": moment(), "error": error})
    sooner = (BackupSchedule.job_id == job_id, BackupSchedule.due_at > moment(RETRY))
    transaction.execute(update(BackupSchedule).where(*sooner).values(due_at=moment(RETRY)))


def set_pruned(transaction: Transaction, job_id: str, problem: str | None) -> None:
    """Note whether old backups could be removed after one was made; `problem`: why not."""
    _update(transaction, job_id, {"not_pruned": problem})


def add_made(transaction: Transaction, made: BackupMade) -> None:
    """Note a backup that was finished just now; of those long ago the oldest are forgotten."""
    made.finished_at = clock(transaction)
    transaction.merge(made)
    transaction.flush()
    newest = select(BackupMade.id).order_by(BackupMade.finished_at.desc()).limit(REMEMBERED)
    transaction.execute(delete(BackupMade).where(BackupMade.id.not_in(newest.subquery().select())))


def newest(transaction: Transaction, url: str | None = None) -> BackupMade | None:
    """Return the backup that was finished last, at a place or (None) anywhere; None where there is none."""
    query = select(BackupMade).order_by(BackupMade.finished_at.desc(), BackupMade.id.desc()).limit(1)
    if url is not None:
        query = query.where(BackupMade.url == url)
    return transaction.scalar(query)


def ids_made(transaction: Transaction) -> frozenset[str]:
    """Return the ids of the backups of this installation that are remembered."""
    return frozenset(transaction.scalars(select(BackupMade.id)))


def late_after(schedule: BackupSchedule, last: datetime | None) -> datetime:
    """Return the moment after which a backup is overdue. `last`: when one was finished where the schedule says."""
    expected = (
        schedule.anchor if last is None else max(last, schedule.set_at) + timedelta(seconds=schedule.every)
    )
    return expected + timedelta(seconds=max(_LEAST_GRACE, schedule.every // _GRACE))


def ages(transaction: Transaction) -> Ages:
    """Return how old the newest backup is and for how long one is overdue, by one statement."""
    newest, here = select(func.max(BackupMade.finished_at)), BackupMade.url == BackupSchedule.url
    at_its_place = newest.where(here).correlate(BackupSchedule).scalar_subquery()
    now = select(moment().label("now")).subquery()
    query = select(now.c.now, BackupSchedule, newest.scalar_subquery(), at_its_place)
    row = transaction.execute(
        query.select_from(now).outerjoin(BackupSchedule, BackupSchedule.id == ONE)
    ).one()
    return Ages(
        newest=None if row[2] is None else float((row[0] - row[2]).total_seconds()),
        overdue=None
        if row[1] is None
        else max(0.0, float((row[0] - late_after(row[1], row[3])).total_seconds())),
    )


def clock(transaction: Transaction) -> datetime:
    """Return the moment that it is by the database."""
    return transaction.execute(select(moment())).scalar_one()


def next_after(anchor: datetime, every: int, after: datetime) -> datetime:
    """Return the first of `anchor` and each `every` seconds behind it that comes after a moment."""
    if anchor > after:
        return anchor
    return anchor + timedelta(seconds=every) * ((after - anchor) // timedelta(seconds=every) + 1)


def _update(transaction: Transaction, job_id: str, values: dict[str, Any]) -> None:
    """Change the schedule, unless another job keeps it by now."""
    mine = (BackupSchedule.id == ONE, BackupSchedule.job_id == job_id)
    transaction.execute(update(BackupSchedule).where(*mine).values(values))
