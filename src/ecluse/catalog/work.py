"""Record how the work that people asked for stands: queued, running, done, failed or cancelled.

A row of work is made with the row it serves (`of_work.OfWork`), in the transaction that queues its job. A job that is
claimed sets its work running, and a job that ends ends it, in the same transaction (`catalog.jobs`); what an
application makes is recorded in the transaction that calls `finish`. So nothing is left to be reconciled, but for work
whose job vanished, and for versions that were being published when their job ended (`models.settle_ended`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Select, case, delete, func, literal, select, update
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.clock import moment
from ecluse.catalog.of_work import JOB_GONE, Work
from ecluse.catalog.tables import JobRow
from ecluse.sentences import _

ACTIVE: Final = ("queued", "running")
Row = TypeVar("Row")


def of_job(kind: type[Row], job_id: str) -> Select[Row]:
    """Select the rows of a class whose work a job does."""
    return select(kind).join(Work, Work.id == _id_of(kind)).where(Work.job_id == job_id)


def ids_of_job(job_id: str, *conditions: ColumnElement[bool]) -> Select[str]:
    """Select the ids of the work that a job does, where these conditions hold."""
    return select(Work.id).where(Work.job_id == job_id, *conditions)


def queue_again(transaction: Transaction, work_id: str, job_id: str) -> bool:
    """Queue work that has ended once more, for another job; false where it is queued or running already."""
    values = {"status": "queued", "job_id": job_id, "final": False, "error": None}
    ended = (Work.id == work_id, Work.status.not_in(ACTIVE))
    return _set(transaction, ended, values | {"started_at": None, "finished_at": None})


def start(transaction: Transaction, work_id: str) -> None:
    """Record that work has begun; begun again after a crash, it keeps its first moment."""
    _start(transaction, (Work.id == work_id,))


def start_jobs(transaction: Transaction, job_ids: Collection[str]) -> None:
    """Record that the work of jobs has begun."""
    if job_ids:
        _start(transaction, (Work.job_id.in_(job_ids), Work.status == "queued"))


def begin_publishing(transaction: Transaction, work_id: str) -> bool:
    """Keep work from being cancelled from now on; false where it has failed or was cancelled."""
    return _set(transaction, (Work.id == work_id, Work.status.in_((*ACTIVE, "done"))), {"final": True})


def withdraw(transaction: Transaction, work_id: str) -> None:
    """Record that nothing was published of work that was about to publish."""
    _set(transaction, (Work.id == work_id, Work.status.in_(ACTIVE)), {"final": False})


def finish(transaction: Transaction, work_id: str, *, final: bool = True, at: datetime | None = None) -> bool:
    """Record that work is done; false where it has failed or was cancelled. Its job is not cancelled any more.

    `final`: without, the work is a part of what its job does, which goes on and may be cancelled. `at`: when it ended,
    where that was not now.
    """
    ended_at = moment() if at is None else literal(at, Work.finished_at.type)
    values: dict[str, Any] = {
        "status": "done",
        "error": None,
        "started_at": func.coalesce(Work.started_at, moment()),
        "finished_at": case((Work.status == "done", Work.finished_at), else_=ended_at),
    }
    if final:
        values["final"] = True
    return _set(transaction, (Work.id == work_id, Work.status.in_((*ACTIVE, "done"))), values)


def end(
    transaction: Transaction, work_id: str, status: str, error: str | None, at: datetime | None = None
) -> bool:
    """Record that work failed or was cancelled, now or `at` a moment; false where it had ended."""
    values = {"status": status, "error": error, "finished_at": at or moment(), "final": False}
    return _set(transaction, (Work.id == work_id, Work.status.in_(ACTIVE)), values)


def end_job(transaction: Transaction, job_id: str, status: str, error: str | None) -> None:
    """End the work of a job as the job has ended; what it is publishing is left to `models.settle_ended`."""
    mine = (Work.job_id == job_id, Work.status.in_(ACTIVE), ~Work.final)
    _set(transaction, mine, {"status": status, "error": error, "finished_at": moment()})


def may_cancel(transaction: Transaction, job_id: str) -> bool:
    """Return whether a job may be cancelled: it publishes nothing, and has not made yet what it was asked for."""
    works = transaction.execute(select(Work.status, Work.final).where(Work.job_id == job_id)).all()
    is_publishing = any(final and status in ACTIVE for status, final in works)
    is_made = any(final for _, final in works) and not any(status in ACTIVE for status, _ in works)
    return not is_publishing and not is_made


def any_lost(transaction: Transaction) -> bool:
    """Return whether there is work for `end_lost`."""
    return bool(_lost(transaction, ~Work.final))


def end_lost(transaction: Transaction) -> int:
    """End the work whose job has ended, or has no record any more, without ending it; how many that were."""
    ended = 0
    for work_id, status, error in _lost(transaction, ~Work.final):
        ended += end(transaction, work_id, status, error)
    return ended


def publishing_of_ended_jobs(transaction: Transaction) -> list[str]:
    """Return the ids of work that was about to publish when its job ended."""
    return [work_id for work_id, _, _ in _lost(transaction, Work.final.is_(True))]


def publishing_of_job(transaction: Transaction, job_id: str) -> list[str]:
    """Return the ids of the work of a job that is about to publish."""
    return list(transaction.scalars(ids_of_job(job_id, Work.status.in_(ACTIVE), Work.final.is_(True))))


def forget(transaction: Transaction, work_ids: Collection[str]) -> None:
    """Remove the rows of work whose rows are removed."""
    transaction.execute(delete(Work).where(Work.id.in_(work_ids)))


def _lost(transaction: Transaction, condition: ColumnElement[bool]) -> list[tuple[str, str, str | None]]:
    """Work that goes on while its job does not: id, and how and why it is to be ended."""
    query = (
        select(Work.id, JobRow.status, JobRow.error)
        .outerjoin(JobRow, JobRow.id == Work.job_id)
        .where(Work.status.in_(ACTIVE), Work.job_id.is_not(None), condition)
        .where(JobRow.status.is_(None) | JobRow.status.not_in(ACTIVE))
    )
    return [
        (work_id, status or "failed", _reason(status, error))
        for work_id, status, error in transaction.execute(query)
    ]


def _reason(status: str | None, error: str | None) -> str | None:
    """Return why work ends whose job has ended, or (None) has no record any more."""
    if status is None:
        return JOB_GONE
    return None if status == "done" else error or _("It was stopped.")


def _start(transaction: Transaction, chosen: Sequence[ColumnElement[bool]]) -> None:
    values = {"status": "running", "started_at": func.coalesce(Work.started_at, moment())}
    _set(transaction, (*chosen, Work.status.in_(ACTIVE)), values)


def _set(transaction: Transaction, chosen: Sequence[ColumnElement[bool]], values: dict[str, Any]) -> bool:
    changed = update(Work).where(*chosen).values(**values).returning(Work.id)
    return transaction.execute(changed, execution_options={"synchronize_session": False}).first() is not None


def _id_of(kind: Any) -> Any:
    return kind.id
