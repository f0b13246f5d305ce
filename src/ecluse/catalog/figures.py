"""Count what waits and runs, which workers live and how old the newest backup is, in three bounded statements."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, cast

from sqlalchemy import and_, case, func, insert, or_, select
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog import backup_schedules
from ecluse.catalog.backup_schedules import Ages
from ecluse.catalog.clock import moment
from ecluse.catalog.tables import JobRow, Worker
from ecluse.catalog.work import ACTIVE
from ecluse.catalog.workers import LEASE

#: So many jobs that wait or run are counted, and so many workers; of more it is said that there are so many.
MOST: Final = 200_000

JobState = Literal["queued", "put_off", "running"]
WorkerState = Literal["busy", "idle", "silent"]


@dataclass(frozen=True)
class JobsNow:
    """How many jobs of a kind stand so, and for how many seconds the oldest of them has been there."""

    queue: str
    kind: str
    state: JobState
    count: int
    oldest: float


@dataclass(frozen=True)
class Now:
    """What the catalog says at a moment, by its clock. `workers`: those that spoke within their lease, and others."""

    jobs: Sequence[JobsNow]
    workers: dict[WorkerState, int]
    backups: Ages


def limit_statements(transaction: Transaction, seconds: float) -> None:
    """End each statement of this transaction that takes longer, where the database can."""
    connection = transaction.connection()
    if connection.dialect.name == "postgresql":
        for name in ("statement_timeout", "lock_timeout"):
            connection.exec_driver_sql(f"SET LOCAL {name} = {int(seconds * 1000)}")


def count_now(transaction: Transaction) -> Now:
    """Count the jobs that wait or run, by queue, kind and state, and the workers by what they do."""
    state = case(
        (
            or_(JobRow.status == "running", JobRow.parts > 0),
            "running",
        ),  # one that waits for its parts runs, as they do
        (and_(JobRow.put_off > 0, JobRow.not_before > moment()), "put_off"),
        else_="queued",
    ).label("state")
    active = (
        select(JobRow.queue, JobRow.kind, state, JobRow.created_at)
        .where(JobRow.status.in_(ACTIVE))
        .limit(MOST)
        .subquery()
    )
    by_kind = (active.c.queue, active.c.kind, active.c.state)
    counts = select(*by_kind, func.count(), func.min(active.c.created_at), moment()).group_by(*by_kind)
    jobs = [
        JobsNow(queue, kind, cast(JobState, state), count, max((now - oldest).total_seconds(), 0.0))
        for queue, kind, state, count, oldest, now in transaction.execute(counts)
    ]
    return Now(jobs, _workers(transaction), backup_schedules.ages(transaction))


def _workers(transaction: Transaction) -> dict[WorkerState, int]:
    runs = select(JobRow.number).where(JobRow.worker == Worker.executor_id, JobRow.status == "running")
    state = case((Worker.beat_at < moment(-LEASE), "silent"), (runs.exists(), "busy"), else_="idle")
    states = select(state.label("state")).limit(MOST).subquery()
    counts = select(states.c.state, func.count()).group_by(states.c.state)
    counted = {row[0]: row[1] for row in transaction.execute(counts)}
    return {
        "busy": counted.get("busy", 0),
        "idle": counted.get("idle", 0),
        "silent": counted.get("silent", 0),
    }


def prove_write(transaction: Transaction) -> None:
    """Write a row that nobody will see, as the transaction is to be rolled back."""
    row = {
        "executor_id": f"readiness-{uuid.uuid4().hex}",
        "host": "",
        "boot": "",
        "namespace": "",
        "pid": 0,
        "process_started": 0,
        "kinds": [],
        "started_at": moment(),
        "beat_at": moment(),
    }
    transaction.execute(insert(Worker).values(row))
