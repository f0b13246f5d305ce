"""Keep the parts of a job, which any worker takes as it takes jobs: queue them, follow them, end them with their job.

A part is a row of `jobs` with leases, fences and losses of its own. What it returned is the step `RESULT` of that row.
Its job waits meanwhile in its queue, held by no worker, and shows how many parts are done; the last part that ends lets
it go on. Who writes for a part and its job locks the job first.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import ColumnElement, case, func, insert, select, update
from sqlalchemy.orm import Session as Transaction

from ecluse import telemetry
from ecluse.catalog.clock import moment
from ecluse.catalog.tables import JobRow, JobStep
from ecluse.catalog.work import ACTIVE
from ecluse.sentences import _, num

#: The step under which a part keeps what it returned.
RESULT: Final = "result"


@dataclass(frozen=True)
class Failure:
    """How the first part failed, by its place, and the code of its error."""

    place: int
    error: str
    code: str


@dataclass(frozen=True)
class Standing:
    """How the parts of a map stand: how many there are, are done, and wait or run; the first that failed."""

    count: int
    done: int
    active: int
    failure: Failure | None


def turn_of(queue: str) -> ColumnElement[int]:
    """Return the turn of what is queued now: that of what runs, else of what waits first."""
    here = JobRow.queue == queue
    running = select(func.max(JobRow.turn)).where(JobRow.status == "running", here).scalar_subquery()
    waiting = select(func.min(JobRow.turn)).where(JobRow.status == "queued", here).scalar_subquery()
    return func.coalesce(running, waiting, 0)


def add(
    transaction: Transaction, job_id: str, kind: str, map_name: str, items: Sequence[Any], share: float
) -> bool:
    """Queue a part of a job for each item, in the name of its owner; false where the job runs no more.

    Each has a turn, behind those that wait of other maps of the same owner. `share`: of all of them in the job, 0 to 1.
    """
    running = select(JobRow).where(JobRow.id == job_id, JobRow.status == "running").with_for_update()
    job = transaction.scalar(running)
    if job is None:
        return False
    mine = (JobRow.user_id == job.user_id, JobRow.queue == job.queue, JobRow.status == "queued")
    last = select(func.max(JobRow.turn) + 1).where(*mine, JobRow.parent_id.is_not(None)).scalar_subquery()
    first, own, at = transaction.execute(select(turn_of(job.queue), last, moment())).one()
    begin = max(first, own or 0)
    rows = [
        {
            "id": _id_of(job_id, map_name, place),
            "kind": kind,
            "queue": job.queue,
            "user_id": job.user_id,
            "title": job.title,
            "subject": {"item": item},
            "status": "queued",
            "message": "",
            "created_at": at,
            "part": True,
            "version": job.version,
            "trace": job.trace,
            "turn": begin + place,
            "parent_id": job_id,
            "map_name": map_name,
            "place": place,
            "share": share / len(items),
        }
        for place, item in enumerate(items)
    ]
    transaction.execute(insert(JobRow), rows)
    transaction.execute(update(JobRow).where(JobRow.id == job_id).values(parts=len(items)))
    return True


def standing(transaction: Transaction, job_id: str, map_name: str) -> Standing:
    """Say how the parts of a map stand, if any were queued."""
    mine = _of_map(job_id, map_name)
    query = select(JobRow.status, func.count()).where(*mine).group_by(JobRow.status)
    counts = {row[0]: row[1] for row in transaction.execute(query)}
    active = sum(counts.get(status, 0) for status in ACTIVE)
    return Standing(sum(counts.values()), counts.get("done", 0), active, _first_failure(transaction, *mine))


def items_of(transaction: Transaction, job_id: str, map_name: str) -> list[Any]:
    """Return what the parts of a map were made of, in order."""
    query = select(JobRow.subject).where(*_of_map(job_id, map_name)).order_by(JobRow.place)
    return [subject["item"] for subject in transaction.scalars(query)]


def results(transaction: Transaction, job_id: str, map_name: str) -> list[str]:
    """Return what the parts of a map returned, in order, as JSON."""
    kept = (JobStep.job_id == JobRow.id, JobStep.name == RESULT, JobStep.position == 0)
    query = select(JobStep.result).join(JobRow, kept[0]).where(*_of_map(job_id, map_name), *kept)
    return list(transaction.scalars(query.order_by(JobRow.place)))


def waits(transaction: Transaction, job_id: str) -> bool:
    """Return whether a part of a job waits or runs, which stays so until this transaction ends."""
    hold(transaction, job_id)
    return transaction.scalar(select(JobRow.number).where(*_active(job_id)).limit(1)) is not None


def hold(transaction: Transaction, job_id: str) -> None:
    """Keep the job of parts as it stands until this transaction ends."""
    transaction.execute(select(JobRow.number).where(JobRow.id == job_id).with_for_update())


def end(transaction: Transaction, job_id: str) -> None:
    """Cancel what waits or runs of the parts of a job, which has ended."""
    _cancel(transaction, *_active(job_id))


def end_behind(transaction: Transaction, job_id: str, map_name: str, place: int) -> None:
    """Cancel the parts behind one that failed; those before it go on, as one of them may fail, too."""
    _cancel(transaction, *_active(job_id), JobRow.map_name == map_name, JobRow.place > place)


def note_end(transaction: Transaction, part_id: str, job_id: str) -> bool:
    """Say on a job, which is held, that a part of it has ended; true where it goes on now, as none is left."""
    columns = (JobRow.map_name, JobRow.place, JobRow.share, JobRow.status)
    map_name, place, share, status = transaction.execute(select(*columns).where(JobRow.id == part_id)).one()
    further = case((JobRow.fraction + share > 1.0, 1.0), else_=JobRow.fraction + share)
    if status != "done":
        end_behind(transaction, job_id, map_name, place)
    at = standing(transaction, job_id, map_name)
    values: dict[str, Any] = {"message": words_of(at)}
    if status == "done":
        values["fraction"] = further
    if not at.active:
        values["not_before"] = moment()
    transaction.execute(update(JobRow).where(JobRow.id == job_id, JobRow.status.in_(ACTIVE)).values(values))
    return not at.active


def words_of(at: Standing) -> str:
    """Say how many parts of a job are done."""
    return _("%(done)s of %(count)s parts are done.", done=num(at.done), count=num(at.count))


def _first_failure(transaction: Transaction, *mine: ColumnElement[bool]) -> Failure | None:
    """Find the first part that failed; one that says itself that there is nothing more to do for it is one, too."""
    ended = JobRow.status == "failed", (JobRow.status == "cancelled") & JobRow.error.is_not(None)
    query = select(JobRow.place, JobRow.error, JobRow.error_code).where(*mine, ended[0] | ended[1])
    first = transaction.execute(query.order_by(JobRow.place).limit(1)).first()
    return None if first is None else Failure(first[0], first[1] or "", first[2] or telemetry.FAULT)


def _cancel(transaction: Transaction, *chosen: ColumnElement[bool]) -> None:
    values = {"status": "cancelled", "finished_at": moment(), "worker": None, "lease_until": None}
    ended = update(JobRow).where(*chosen).values(values).returning(JobRow.kind)
    for kind in list(transaction.scalars(ended, execution_options={"synchronize_session": False})):
        telemetry.once_committed(transaction.info, _cancelled(kind))


def _cancelled(kind: str) -> Any:
    return lambda: telemetry.listener().job_ended(kind, "cancelled", "")


def _of_map(job_id: str, map_name: str) -> tuple[ColumnElement[bool], ...]:
    return JobRow.parent_id == job_id, JobRow.map_name == map_name


def _active(job_id: str) -> tuple[ColumnElement[bool], ...]:
    return JobRow.parent_id == job_id, JobRow.status.in_(ACTIVE)


def _id_of(job_id: str, map_name: str, place: int) -> str:
    """Return the id of a part: the same whenever it is queued, so that it is there once."""
    return hashlib.sha256(f"{job_id}\n{map_name}\n{place}".encode()).hexdigest()[:32]
