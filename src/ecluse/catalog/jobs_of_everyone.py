"""Read the jobs of everyone, and why jobs failed, for administrators."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.tables import JobRow, User, now
from ecluse.sentences import Sentence, without_cells

#: How far back failures are looked at, and how many of them at most.
LATELY: Final = timedelta(days=30)
MOST_FAILURES: Final = 5_000


@dataclass(frozen=True)
class Failures:
    """Jobs of a kind that failed for one reason: how many, of how many people, and what the latest of them said."""

    kind: str
    example: str | None
    count: int
    people: int


def jobs_of_everyone(
    transaction: Transaction, status: str = "", *, limit: int, offset: int = 0, before: int | None = None
) -> list[tuple[JobRow, str | None]]:
    """List jobs, of one status or (empty) of all, the newest first, each with the address of its owner, if any.

    `before`: the number of a job, behind which they begin.
    """
    query = select(JobRow, User.email).outerjoin(User, User.id == JobRow.user_id)
    query = query.where(JobRow.parent_id.is_(None))
    if status:
        query = query.where(JobRow.status == status)
    if before is not None:
        query = query.where(JobRow.number < before)
    rows = transaction.execute(query.order_by(JobRow.number.desc()).limit(limit).offset(offset)).all()
    for row, _email in rows:  # not written back: what is said of a table is its owner's
        transaction.expunge(row)
        row.error = None if row.error is None else without_cells(row.error)
    return [(row, email) for row, email in rows]


def owner_of(transaction: Transaction, user_id: str) -> str | None:
    """Return the address of whose job it is; None where that account is gone, or there never was one."""
    return transaction.scalar(select(User.email).where(User.id == user_id))


def failures(transaction: Transaction) -> list[Failures]:
    """Gather the jobs that failed lately by kind and reason, the most frequent first.

    A reason is a sentence without its values: two files that cannot be read for the same cause are one.
    """
    lately = (JobRow.status == "failed", JobRow.parent_id.is_(None), JobRow.created_at > now() - LATELY)
    query = select(JobRow.kind, JobRow.error, JobRow.user_id).where(*lately)
    gathered: dict[tuple[str, str], list[tuple[str | None, str]]] = defaultdict(list)
    for kind, error, user_id in transaction.execute(
        query.order_by(JobRow.number.desc()).limit(MOST_FAILURES)
    ):
        reason = error.message if isinstance(error, Sentence) else error or ""
        gathered[kind, reason].append((error, user_id))
    return [
        Failures(
            kind,
            without_cells(jobs[0][0]) if jobs[0][0] else None,
            len(jobs),
            len({user_id for _error, user_id in jobs}),
        )
        for (kind, _reason), jobs in sorted(gathered.items(), key=lambda item: -len(item[1]))
    ]
