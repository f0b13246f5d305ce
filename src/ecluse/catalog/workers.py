"""Know which workers live: by looking, where their process can be seen from here; else by their lease.

Never by both: a process that is seen to run lives, however long it has been silent, and one that is seen to be gone
is dead, however lately it spoke.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session as Transaction
from sqlalchemy.orm import load_only

from ecluse import __version__
from ecluse.catalog.clock import moment
from ecluse.catalog.tables import JobRow, Worker
from ecluse.processes import Process

#: So long (s) may a worker that cannot be seen be silent, in the database's clock. A machine under load is slow; what
#: a longer wait costs is time alone, and only after a machine was lost.
LEASE: Final = 120


def beat(
    transaction: Transaction,
    executor_id: str,
    process: Process,
    kinds: Mapping[str, int] | None = None,
    revision: str = "",
) -> None:
    """Say that this worker lives, which kinds of job it takes, and up to which version of each.

    `revision`: the newest migration that its release has.
    """
    kinds = kinds or {}
    worker = transaction.get(Worker, executor_id, with_for_update=True)
    if worker is None:
        transaction.add(
            Worker(
                executor_id=executor_id,
                host=process.host,
                boot=process.boot,
                namespace=process.namespace,
                pid=process.pid,
                process_started=process.started,
                kinds=sorted(kinds),
                versions=dict(kinds),
                release=__version__,
                revision=revision or None,
                started_at=moment(),
                beat_at=moment(),
            )
        )
    else:
        worker.beat_at = moment()


def living(transaction: Transaction, noted: Collection[str] | None = None) -> list[Worker]:
    """Return the workers that take jobs, the oldest first. `noted`: the columns that older tables have."""
    return [worker for worker, is_silent in _workers(transaction, noted) if _lives(worker, is_silent)]


def dead(transaction: Transaction) -> list[Worker]:
    """Return the workers whose process is gone, or that cannot be seen and have been silent for `LEASE` seconds."""
    return [worker for worker, is_silent in _workers(transaction) if not _lives(worker, is_silent)]


def hold_dead(transaction: Transaction, executor_id: str) -> bool:
    """Keep a worker from others who look after the dead until this transaction ends; false where it lives by now."""
    query = select(Worker, Worker.beat_at < moment(-LEASE)).where(Worker.executor_id == executor_id)
    row = transaction.execute(query.with_for_update().execution_options(populate_existing=True)).first()
    return row is not None and not _lives(row[0], bool(row[1]))


def remove(transaction: Transaction, executor_id: str) -> None:
    """Forget a worker, unless a job is still in its name."""
    held = select(JobRow.id).where(JobRow.worker == executor_id).exists()
    transaction.execute(delete(Worker).where(Worker.executor_id == executor_id, ~held))


def process_of(worker: Worker) -> Process:
    return Process(worker.host, worker.boot, worker.namespace, worker.pid, worker.process_started)


def can_run(worker: Worker, kind: str, version: int) -> bool:
    """Return whether a worker takes jobs of this version of a kind; of a release without versions, of the first."""
    return kind in worker.kinds and version <= (worker.versions or {}).get(kind, 1)


def _workers(transaction: Transaction, noted: Collection[str] | None = None) -> list[tuple[Worker, bool]]:
    query = select(Worker, Worker.beat_at < moment(-LEASE)).order_by(Worker.started_at, Worker.executor_id)
    if noted is not None:
        there = [getattr(Worker, column.name) for column in Worker.__table__.columns if column.name in noted]
        query = query.options(load_only(*there, raiseload=True))
    return [(worker, bool(is_silent)) for worker, is_silent in transaction.execute(query)]


def _lives(worker: Worker, is_silent: bool) -> bool:
    runs = process_of(worker).runs()
    return not is_silent if runs is None else runs
