"""Look at jobs that have ended: how one did, and which of a kind came to nothing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session as Transaction

from ecluse import telemetry
from ecluse.catalog.tables import JobRow


@dataclass(frozen=True)
class Ended:
    """A job that came to its end in the hands of a worker: how, by which error's code, and after how many seconds."""

    kind: str
    ending: telemetry.Ending
    reason: str
    ran: float


def ended_by(transaction: Transaction, job_id: str, fence: int) -> Ended | None:
    """Return how a job ended that was held with this fence; None where it has not, or another ended it."""
    row = transaction.scalar(select(JobRow).where(JobRow.id == job_id, JobRow.fence == fence))
    if row is None or row.finished_at is None or row.started_at is None:
        return None
    seconds = (row.finished_at - row.started_at).total_seconds()
    match row.status:
        case "done":
            return Ended(row.kind, "done", "", seconds)
        case "failed":
            return Ended(row.kind, "failed", row.error_code or "", seconds)
        case "cancelled" if row.error is not None:  # by the job itself: who cancels one says nothing
            return Ended(row.kind, "cancelled", row.error_code or "", seconds)
    return None


def came_to_nothing(
    transaction: Transaction, kind: str, queue: str, *, after: datetime, before: datetime
) -> list[JobRow]:
    """List the jobs of a kind that were cancelled or failed between two moments."""
    ended = JobRow.status.in_(("cancelled", "failed"))
    query = select(JobRow).where(ended, JobRow.queue == queue, JobRow.kind == kind)
    return list(transaction.scalars(query.where(JobRow.finished_at.between(after, before))))
