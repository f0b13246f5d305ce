"""Know which jobs keep checkpoints: a job is noted before its first one is stored, and until the last is removed."""

from __future__ import annotations

from sqlalchemy import delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.tables import JobCheckpoints, now


def note(transaction: Transaction, job_id: str, user_id: str) -> None:
    """Say that a job is about to store a checkpoint."""
    insert = postgresql.insert if transaction.get_bind().dialect.name == "postgresql" else sqlite.insert
    noted = insert(JobCheckpoints).values(job_id=job_id, user_id=user_id, saved_at=now())
    transaction.execute(
        noted.on_conflict_do_update(index_elements=["job_id"], set_={"saved_at": noted.excluded.saved_at})
    )


def is_noted(transaction: Transaction, job_id: str) -> bool:
    return transaction.get(JobCheckpoints, job_id) is not None


def noted(transaction: Transaction) -> list[JobCheckpoints]:
    """Return the jobs, of anyone, that may have checkpoints."""
    return list(transaction.scalars(select(JobCheckpoints).order_by(JobCheckpoints.saved_at)))


def forget(transaction: Transaction, job_id: str) -> None:
    """Say that no checkpoint of a job is left."""
    transaction.execute(delete(JobCheckpoints).where(JobCheckpoints.job_id == job_id))
