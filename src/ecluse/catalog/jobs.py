"""Queue jobs, hand each to one worker at a time, and record how far it is and how it ended.

A job belongs to the worker that claimed it until its lease ends, by the database's clock. Whoever writes for a job
names its fence, a number that grows with each change of hands: a worker that was taken for lost can finish its
thought, and nothing of it is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache, partial
from typing import Any, Final, cast

from sqlalchemy import ColumnElement, Select, and_, case, delete, false, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session as Transaction
from sqlalchemy.orm import aliased

from ecluse import telemetry, tracing
from ecluse.catalog import behind, job_lines, job_parts, work
from ecluse.catalog.clock import moment
from ecluse.catalog.fences import is_asked_for
from ecluse.catalog.tables import JobCheckpoints, JobRow, JobStep, Worker
from ecluse.catalog.workers import LEASE
from ecluse.sentences import _

#: A job is given up when so many workers in a row died while they ran it and nothing else, none getting further.
MAX_LOSSES: Final = 5
#: The code of the error of a job that is given up.
GIVEN_UP: Final = "given_up"
#: What PostgreSQL tells those who wait for jobs.
CHANNEL: Final = "ecluse_jobs"
ACTIVE: Final = work.ACTIVE
#: How many jobs are asked for by id at a time.
MANY: Final = 500
#: A job has got further when this much more of a step is done than when its worker was lost.
FURTHER: Final = 0.01
#: Parts of jobs are shown to nobody as jobs.
_IS_WHOLE: Final = JobRow.parent_id.is_(None)
_IS_DUE = or_(JobRow.not_before.is_(None), JobRow.not_before <= moment())


@dataclass(frozen=True)
class Claim:
    """A job that a worker holds: what it writes for the job, it writes with this `fence`."""

    job_id: str
    fence: int
    kind: str
    queue: str
    user_id: str
    subject: Mapping[str, Any]
    version: int = 1
    #: Seconds from being queued to this claim, by the database's clock; None where it is not the first.
    waited: float | None = field(default=None, compare=False)
    #: The trace in which it was queued.
    trace: str | None = field(default=None, compare=False)
    #: The job that it is a part of.
    parent_id: str | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Waiting:
    """A job that waits, and where."""

    job_id: str
    queue: str
    #: As long as it is the same, nobody has claimed the job.
    fence: int = field(default=0, compare=False)


@dataclass(frozen=True)
class Lost:
    """What became of the jobs of a worker that died: how many wait again, and those that are given up."""

    queued: int
    given_up: tuple[Claim, ...]


def given_up_words() -> str:
    return _(
        "%(count)s worker processes in a row ended while they ran this job and nothing else, "
        "and none got further. It was given up. Give it less data, or the worker more memory.",
        count=MAX_LOSSES,
    )


# Queue


def add(
    transaction: Transaction,
    job_id: str,
    kind: str,
    queue: str,
    user_id: str,
    title: str,
    subject: Mapping[str, Any],
) -> None:
    """Queue a job in the transaction that makes what it is for; one with this id stays as it is."""
    dialect = postgresql if _is_postgresql(transaction) else sqlite
    row = {
        "id": job_id,
        "kind": kind,
        "queue": queue,
        "user_id": user_id,
        "title": title,
        "subject": dict(subject),
        "status": "queued",
        "fraction": 0.0,
        "message": "",
        "created_at": moment(),
        "fence": 0,
        "alone": False,
        "losses": 0,
        "lost_at": 0.0,
        "put_off": 0,
        "part": not is_asked_for(),
        "trace": tracing.current(),
        "turn": job_parts.turn_of(queue),
    }
    transaction.execute(dialect.insert(JobRow).values(row).on_conflict_do_nothing(index_elements=["id"]))
    ring(transaction)


def note_version(transaction: Transaction, job_id: str, version: int) -> None:
    """Note of which version of its kind a job is that has just been queued; it is of the first by itself."""
    waiting = (JobRow.id == job_id, JobRow.status == "queued", JobRow.fence == 0)
    transaction.execute(update(JobRow).where(*waiting).values(version=version))


def ring(transaction: Transaction) -> None:
    """Wake the workers once this transaction is committed; those of SQLite see that the file has changed."""
    if _is_postgresql(transaction):
        transaction.execute(select(func.pg_notify(CHANNEL, "")))


def of_user(
    transaction: Transaction, user_id: str, *, limit: int, active: bool, after: str | None = None
) -> list[tuple[JobRow, int]]:
    """Return the user's jobs, the newest first, each with its place in its queue, from 1.

    `after`: those behind the one of this id. Raises InvalidInput.
    """
    query = _with_places().where(JobRow.user_id == user_id, _IS_WHOLE)
    if after is not None:
        query = query.where(JobRow.number < behind.job_number(transaction, user_id, after))
    if active:
        query = query.where(JobRow.status.in_(ACTIVE))
    return [
        (row, place) for row, place in transaction.execute(query.order_by(JobRow.number.desc()).limit(limit))
    ]


def ended_of_user(transaction: Transaction, user_id: str, *, limit: int, offset: int = 0) -> list[JobRow]:
    """Return jobs of the user that have ended, the newest first: of those before `offset`, nothing but the number."""
    ended = (JobRow.user_id == user_id, JobRow.status.not_in(ACTIVE), _IS_WHOLE)
    numbers = select(JobRow.number).where(*ended).order_by(JobRow.number.desc()).limit(limit).offset(offset)
    query = select(JobRow).where(JobRow.number.in_(numbers.subquery().select()))
    return list(transaction.scalars(query.order_by(JobRow.number.desc())))


def count_ended(transaction: Transaction, user_id: str) -> int:
    """Count the jobs of the user that have ended."""
    ended = (JobRow.user_id == user_id, JobRow.status.not_in(ACTIVE), _IS_WHOLE)
    return transaction.scalar(select(func.count()).select_from(JobRow).where(*ended)) or 0


def by_ids(transaction: Transaction, user_id: str | None, job_ids: Sequence[str]) -> list[tuple[JobRow, int]]:
    """Return those of these jobs that are there and this user's (None: anyone's), each with its place in its queue."""
    rows: list[tuple[JobRow, int]] = []
    for start in range(0, len(job_ids), MANY):
        query = _with_places().where(JobRow.id.in_(job_ids[start : start + MANY]))
        if user_id is not None:
            query = query.where(JobRow.user_id == user_id)
        rows += [(row, place) for row, place in transaction.execute(query)]
    return rows


def count_active(transaction: Transaction, user_id: str, job_ids: Sequence[str]) -> int:
    """Count those of these jobs of a person that wait or run."""
    count = 0
    for start in range(0, len(job_ids), MANY):
        mine = (JobRow.user_id == user_id, JobRow.id.in_(job_ids[start : start + MANY]))
        query = select(func.count()).select_from(JobRow).where(*mine, JobRow.status.in_(ACTIVE))
        count += transaction.scalar(query) or 0
    return count


def active(transaction: Transaction, *, limit: int) -> list[tuple[JobRow, int]]:
    """Return the jobs of everyone that wait or run, the oldest first."""
    query = _with_places().where(JobRow.status.in_(ACTIVE), _IS_WHOLE).order_by(JobRow.number).limit(limit)
    return [(row, place) for row, place in transaction.execute(query)]


def status_of(transaction: Transaction, job_id: str) -> str | None:
    """Return how a job stands; None where there is none of this id."""
    return transaction.scalar(select(JobRow.status).where(JobRow.id == job_id))


def cancel(transaction: Transaction, job_id: str) -> bool:
    """Stop a job, whoever holds it, and its work; false where it has ended, or publishes what it made."""
    hold_row(transaction, job_id)
    chosen = (JobRow.id == job_id, JobRow.status.in_(ACTIVE), _IS_WHOLE)
    return work.may_cancel(transaction, job_id) and _end(transaction, chosen, "cancelled", None)


def hold_row(transaction: Transaction, job_id: str) -> None:
    """Keep a job as it stands until this transaction ends; before any row that it works on is locked."""
    transaction.execute(select(JobRow.number).where(JobRow.id == job_id).with_for_update())


def forget(transaction: Transaction, job_ids: Collection[str]) -> None:
    transaction.execute(delete(JobRow).where(JobRow.id.in_(job_ids)))


def forget_of(transaction: Transaction, user_id: str) -> None:
    """Remove the records of a user's jobs, of which none runs: their titles are names of files and models."""
    transaction.execute(delete(JobRow).where(JobRow.user_id == user_id))
    transaction.execute(delete(JobCheckpoints).where(JobCheckpoints.user_id == user_id))


def give_to(transaction: Transaction, user_id: str, heir_id: str, kinds: Collection[str]) -> None:
    """Let jobs of these kinds that wait or run go on in the name of another user."""
    mine = (JobRow.user_id == user_id, JobRow.kind.in_(kinds), JobRow.status.in_(ACTIVE))
    transaction.execute(update(JobRow).where(*mine).values(user_id=heir_id))


def forget_ended(transaction: Transaction, age: timedelta) -> int:
    """Remove the records of jobs that ended longer ago than this; how many."""
    limit = moment(-int(age.total_seconds()))
    gone = delete(JobRow).where(JobRow.status.not_in(ACTIVE), JobRow.finished_at < limit)
    return len(transaction.execute(gone.returning(JobRow.number)).all())


# Work


def waiting_queues(transaction: Transaction, kinds: Mapping[str, int], queues: Collection[str]) -> set[str]:
    """Return those of these queues in which a job of these kinds waits that may run beside others."""
    query = select(JobRow.queue).where(*_claimable(kinds), JobRow.queue.in_(queues), ~JobRow.alone)
    return set(transaction.scalars(query.distinct()))


def waits_alone(
    transaction: Transaction, kinds: Mapping[str, int], queues: Collection[str]
) -> Waiting | None:
    """Find the first job of these kinds and queues that is to run in a process of its own; None where none waits."""
    columns = (JobRow.id, JobRow.queue, JobRow.fence)
    query = select(*columns).where(*_claimable(kinds), JobRow.queue.in_(queues), JobRow.alone)
    first = transaction.execute(query.order_by(JobRow.number).limit(1)).first()
    return None if first is None else Waiting(*first)


def claim(
    transaction: Transaction, worker: str, kinds: Mapping[str, int], queue: str, most: int
) -> list[Claim]:
    """Take the first jobs of a queue that may run beside others, at most so many."""
    query = select(JobRow.number).where(*_claimable(kinds), JobRow.queue == queue, ~JobRow.alone)
    return _take(transaction, worker, query.order_by(JobRow.turn, JobRow.number).limit(most))


def claim_one(transaction: Transaction, worker: str, kinds: Mapping[str, int], job_id: str) -> list[Claim]:
    """Take this very job, if it still waits."""
    return _take(transaction, worker, select(JobRow.number).where(*_claimable(kinds), JobRow.id == job_id))


def renew(transaction: Transaction, worker: str, running: Collection[tuple[str, int]]) -> None:
    """Prolong the leases of the jobs that run in this worker, given by id and fence."""
    if running:
        ids = [job_id for job_id, _ in running]
        mine = (JobRow.worker == worker, JobRow.status == "running", JobRow.id.in_(ids))
        # Whoever has one locked is at work for it, and says so itself.
        free = select(JobRow.number).where(*mine).with_for_update(skip_locked=True)
        transaction.execute(update(JobRow).where(JobRow.number.in_(free)).values(lease_until=moment(LEASE)))


def held(transaction: Transaction, worker: str) -> list[tuple[str, int]]:
    """Return id and fence of the jobs that run in the name of a worker."""
    query = select(JobRow.id, JobRow.fence).where(JobRow.worker == worker, JobRow.status == "running")
    return [(job_id, fence) for job_id, fence in transaction.execute(query)]


def is_held(transaction: Transaction, job_id: str, fence: int) -> bool:
    """Return whether a job is still held with this fence, which stays so until the transaction ends.

    A job that was cancelled is taken by nobody: what is left to be tidied up is written.
    """
    mine = (JobRow.id == job_id, JobRow.fence == fence, JobRow.status.in_(("running", "cancelled")))
    query = select(JobRow.number).where(*mine).with_for_update(read=True)
    return transaction.execute(query).first() is not None


def report(
    transaction: Transaction,
    job_id: str,
    fence: int,
    stage: str,
    fraction: float,
    message: str,
    line: str | None = None,
) -> bool:
    """Record how far a job is, which prolongs its lease; false where it is no longer this fence's.

    `line`: what there is to say of a stage that begins.

    A worker that takes a job up passes over what is done, and tells of little: what is shown stays until it is further.
    """
    furthest = case((JobRow.fraction > fraction, JobRow.fraction), else_=fraction)
    values = {
        "stage": stage,
        "fraction": furthest,
        "message": message,
        "lease_until": moment(LEASE),
    }
    done = update(JobRow).where(*_mine(job_id, fence)).values(values).returning(JobRow.number)
    is_ours = transaction.execute(done).first() is not None
    if is_ours and line is not None:
        job_lines.add(transaction, line, JobRow.id == job_id)
        job_lines.cut(transaction, job_id)
    return is_ours


def finish(
    transaction: Transaction,
    job_id: str,
    fence: int,
    status: str,
    error: str | None,
    reason: str = "",
    parent_id: str | None = None,
) -> bool:
    """Record how a job and its work ended; false where it is no longer this fence's.

    `reason`: the code of the error, for who counts; `error` is what its owner reads. `parent_id`: the job that this one
    is a part of.
    """
    if parent_id is not None:
        job_parts.hold(transaction, parent_id)
    return _end(transaction, _mine(job_id, fence), status, error, reason)


def hand_back(
    transaction: Transaction, worker: str, running: Collection[tuple[str, int]] | None = None
) -> int:
    """Let others take what this worker runs (None: all of it); how many jobs that were. It counts against none."""
    mine = [JobRow.worker == worker, JobRow.status == "running"]
    if running is not None:
        mine.append(or_(*(and_(JobRow.id == job_id, JobRow.fence == fence) for job_id, fence in running)))
    done = update(JobRow).where(*mine).values(_queued()).returning(JobRow.id)
    ids = list(transaction.scalars(done))
    if ids:
        job_lines.add(transaction, _("The worker stops; another one goes on."), JobRow.id.in_(ids), _IS_WHOLE)
    ring(transaction)
    return len(ids)


def put_back_all(transaction: Transaction) -> None:
    """Queue every job that runs again, as no worker of the place that it comes from is here; that is no loss of it."""
    transaction.execute(update(JobRow).where(JobRow.status == "running").values(_queued()))
    ring(transaction)


def put_off(transaction: Transaction, job_id: str, fence: int, seconds: int, message: str) -> bool:
    """Let a job wait for so long, because of something that is no fault of its; `message` says of what."""
    hold_row(transaction, job_id)
    said_anew = (*_mine(job_id, fence), or_(JobRow.put_off == 0, JobRow.message != message))
    job_lines.add(transaction, message, *said_anew, level="warning")
    job_lines.cut(transaction, job_id)
    return wait(transaction, job_id, fence, seconds, message, put_off=JobRow.put_off + 1)


def wait(
    transaction: Transaction, job_id: str, fence: int, seconds: int, message: str, **values: Any
) -> bool:
    """Let a job that waits for others do so in its queue, as often as it likes; `message` says for what."""
    waiting = _queued() | {"not_before": moment(seconds), "message": message} | values
    done = update(JobRow).where(*_mine(job_id, fence)).values(waiting).returning(JobRow.number)
    return transaction.execute(done).first() is not None


def times_put_off(transaction: Transaction, job_id: str) -> int:
    return transaction.scalar(select(JobRow.put_off).where(JobRow.id == job_id)) or 0


def take_from(transaction: Transaction, worker: str) -> Lost:
    """Take the jobs of a worker that died.

    A death counts against a job that the worker ran alone. Where it ran several, any of them may have been the cause:
    each is to run in a process of its own from now on, and its death would say which.
    """
    return _lose(transaction, JobRow.worker == worker, JobRow.status == "running")


def take_expired(transaction: Transaction) -> Lost:
    """Take the jobs whose lease has ended and whose worker nobody knows."""
    return _lose(
        transaction,
        JobRow.status == "running",
        or_(JobRow.worker.is_(None), JobRow.worker.not_in(select(Worker.executor_id))),
        or_(JobRow.lease_until.is_(None), JobRow.lease_until < moment()),
    )


def withdraw_loss(transaction: Transaction, job_id: str, worker: str) -> None:
    """Take back that a worker died of a job: it lives, and says so itself."""
    mine = (JobRow.id == job_id, JobRow.lost_by == worker, JobRow.losses > 0)
    transaction.execute(update(JobRow).where(*mine).values(losses=JobRow.losses - 1, lost_by=None))


def _lose(transaction: Transaction, *conditions: ColumnElement[bool]) -> Lost:
    """Take these jobs from their workers. What was at work in each counts as it was, locked by someone or not."""
    numbers = select(JobRow.worker, func.count()).where(*conditions).group_by(JobRow.worker)
    by_worker = {row[0]: row[1] for row in transaction.execute(numbers)}
    chosen = select(JobRow).where(*conditions).with_for_update(skip_locked=True)
    rows = list(transaction.scalars(chosen.execution_options(populate_existing=True)))
    given_up: list[Claim] = []
    for row in rows:
        steps = select(func.count()).select_from(JobStep).where(JobStep.job_id == row.id)
        reached = (transaction.scalar(steps) or 0) + row.fraction
        if by_worker.get(row.worker, 1) == 1:
            row.losses = row.losses + 1 if row.losses and reached < row.lost_at + FURTHER else 1
            row.lost_at, row.lost_by = reached, row.worker
        row.alone = True
        _say(transaction, partial(_taken_over, row.kind))
        if row.losses >= MAX_LOSSES:
            given_up.append(_claim(row))
            row.status, row.error, row.finished_at = "failed", given_up_words(), _now(transaction)
            row.error_code = GIVEN_UP
            _say(transaction, partial(_ended, row.kind, "given_up", GIVEN_UP))
            work.end_job(transaction, row.id, "failed", row.error)
            if row.parts:
                job_parts.end(transaction, row.id)
        else:
            row.status = "queued"
        row.worker, row.lease_until, row.fence = None, None, row.fence + 1
    transaction.flush()
    if rows:
        ids = [row.id for row in rows]
        said = _("The worker process ended while it ran this job.")
        job_lines.add(transaction, said, JobRow.id.in_(ids), _IS_WHOLE, level="warning")
    for each in given_up:
        job_lines.add(transaction, given_up_words(), JobRow.id == each.job_id, _IS_WHOLE, level="warning")
    if rows:
        ring(transaction)
    return Lost(len(rows) - len(given_up), tuple(given_up))


def _take(transaction: Transaction, worker: str, numbers: Select[int]) -> list[Claim]:
    free = numbers.add_columns(JobRow.fence, JobRow.not_before, JobRow.parent_id).with_for_update(
        skip_locked=True
    )
    held = transaction.execute(free).all()
    chosen = [number for number, *_rest in held]
    values = {
        "status": "running",
        "worker": worker,
        "lease_until": moment(LEASE),
        "fence": JobRow.fence + 1,
        "started_at": moment(),
        "not_before": None,
    }
    update_rows = update(JobRow).where(JobRow.number.in_(chosen)).values(values).returning(JobRow)
    rows = (
        list(transaction.scalars(update_rows, execution_options={"populate_existing": True}))
        if chosen
        else []
    )
    work.start_jobs(transaction, [row.id for row in rows])
    whole = [
        (number, fence, not_before) for number, fence, not_before, parent_id in held if parent_id is None
    ]
    begun = [number for number, fence, _not_before in whole if not fence]
    # One that waited for others, or for room, was taken a moment ago, and says nothing new.
    going_on = [number for number, fence, not_before in whole if fence and not_before is None]
    for line, some in ((_("A worker begins."), begun), (_("A worker goes on."), going_on)):
        if some:
            job_lines.add(transaction, line, JobRow.number.in_(some))
    return [_claim(row) for row in sorted(rows, key=lambda row: row.number)]


def _end(
    transaction: Transaction,
    chosen: Sequence[ColumnElement[bool]],
    status: str,
    error: str | None,
    reason: str = "",
) -> bool:
    values = {
        "status": status,
        "error": error,
        "error_code": reason or None,
        "finished_at": moment(),
        "worker": None,
        "lease_until": None,
    }
    columns = (JobRow.id, JobRow.kind, JobRow.parent_id, JobRow.parts)
    ended = transaction.execute(update(JobRow).where(*chosen).values(values).returning(*columns)).first()
    if ended is None:
        return False
    if ended.parts:
        job_parts.end(transaction, ended.id)
    if ended.parent_id is None:
        job_lines.add_end(transaction, ended.id, status, error)
    elif job_parts.note_end(transaction, ended.id, ended.parent_id):
        ring(transaction)
    work.end_job(transaction, ended.id, status, error)
    _say(transaction, partial(_ended, ended.kind, cast(telemetry.Ending, status), reason))
    return True


def _say(transaction: Transaction, say: Callable[[], None]) -> None:
    telemetry.once_committed(transaction.info, say)


def _ended(kind: str, ending: telemetry.Ending, reason: str) -> None:
    telemetry.listener().job_ended(kind, ending, reason)


def _taken_over(kind: str) -> None:
    telemetry.listener().job_taken_over(kind)


def _queued() -> dict[str, Any]:
    return {"status": "queued", "worker": None, "lease_until": None, "fence": JobRow.fence + 1}


def _mine(job_id: str, fence: int) -> tuple[ColumnElement[bool], ...]:
    return JobRow.id == job_id, JobRow.fence == fence, JobRow.status == "running"


def _claimable(kinds: Mapping[str, int]) -> tuple[ColumnElement[bool], ...]:
    """Say which jobs a worker of these kinds, each with the newest version that it can run, may take."""
    by_version: dict[int, list[str]] = {}
    for kind, version in sorted(kinds.items()):
        by_version.setdefault(version, []).append(kind)
    can_run = [
        and_(JobRow.kind.in_(names), JobRow.version <= version) for version, names in by_version.items()
    ]
    return JobRow.status == "queued", or_(false(), *can_run), _IS_DUE


def _claim(row: JobRow) -> Claim:
    waited = None
    if row.fence == 1 and row.started_at is not None:
        waited = max((row.started_at - row.created_at).total_seconds(), 0.0)
    return Claim(
        row.id,
        row.fence,
        row.kind,
        row.queue,
        row.user_id,
        row.subject,
        row.version,
        waited,
        row.trace,
        row.parent_id,
    )


@cache  # to put it together takes a quarter of the time of a page
def _with_places() -> Select[JobRow, int]:
    """Select each job with how many wait in its queue up to it; 0 for one that does not wait."""
    other = aliased(JobRow)
    before = (
        select(func.count())
        .where(
            other.status == "queued",
            other.parent_id.is_(None),
            JobRow.status == "queued",
            other.queue == JobRow.queue,
            other.number <= JobRow.number,
        )
        .correlate(JobRow)
        .scalar_subquery()
    )
    return select(JobRow, before)


def _now(transaction: Transaction) -> datetime:
    return transaction.execute(select(moment())).scalar_one()


def _is_postgresql(transaction: Transaction) -> bool:
    return transaction.get_bind().dialect.name == "postgresql"
