"""Know which workers live: each writes a heartbeat, and the silent are taken for dead."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.tables import Worker, now

#: Four missed beats of `runtime.HEARTBEAT_SECONDS`.
SILENCE: Final = timedelta(seconds=20)


def beat(transaction: Transaction, executor_id: str, host: str, pid: int) -> None:
    """Say that this worker lives."""
    worker = transaction.get(Worker, executor_id)
    if worker is None:
        transaction.add(Worker(executor_id=executor_id, host=host, pid=pid))
    else:
        worker.beat_at = now()


def retire(transaction: Transaction, executor_id: str) -> None:
    """Say that this worker has ended; another takes its jobs over and then removes it."""
    worker = transaction.get(Worker, executor_id)
    if worker is not None:
        worker.beat_at = now() - 2 * SILENCE


def list_workers(transaction: Transaction) -> list[Worker]:
    return list(transaction.scalars(select(Worker).order_by(Worker.started_at)))


def is_silent(worker: Worker) -> bool:
    return now() - worker.beat_at > SILENCE


def remove_worker(transaction: Transaction, executor_id: str) -> None:
    transaction.execute(delete(Worker).where(Worker.executor_id == executor_id))
