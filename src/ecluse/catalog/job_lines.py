"""Keep what there is to say of a job while it runs: when it began, its stages, what was in its way, how it ended.

A line is a sentence of ours, written in the transaction that does what it says: none is there without that, and nothing
waits for a line. No value of a table, no secret and no stack trace is in one. Of each job the last `MOST` stay, and all
go with its record.
"""

from __future__ import annotations

from typing import Final, Literal

from sqlalchemy import ColumnElement, String, bindparam, delete, insert, literal, select
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.clock import moment
from ecluse.catalog.columns import SentenceText
from ecluse.catalog.tables import JobLine, JobRow
from ecluse.sentences import _, without_cells

Level = Literal["info", "warning"]
#: Lines of a job that are kept, and characters of one.
MOST: Final = 1000
LONGEST: Final = 2000


def add(transaction: Transaction, said: str, *jobs: ColumnElement[bool], level: Level = "info") -> None:
    """Write a line of each job that these conditions choose, as they stand now."""
    kept = said if len(said) <= LONGEST else f"{said[:LONGEST]}…"
    chosen = select(
        JobRow.id,
        moment(),
        literal(level, String(8)),
        bindparam("said", kept, type_=SentenceText()),
    ).where(*jobs)
    names = ["job_id", "at", "level", "said"]
    transaction.execute(insert(JobLine).from_select(names, chosen))


def add_end(transaction: Transaction, job_id: str, status: str, error: str | None) -> None:
    """Write the last line of a job: how it ended, and why where it failed."""
    said = {"done": _("It is done."), "cancelled": _("It was cancelled.")}.get(status)
    if said is not None:
        add(transaction, said, JobRow.id == job_id)
        return
    add(
        transaction,
        _("It failed: %(reason)s", reason=without_cells(error or "")),
        JobRow.id == job_id,
        level="warning",
    )


def note(transaction: Transaction, job_id: str, line: str) -> None:
    """Write a line of a job on what is in its way; nobody else writes of it meanwhile, so that numbers grow."""
    transaction.execute(select(JobRow.number).where(JobRow.id == job_id).with_for_update())
    add(transaction, line, JobRow.id == job_id, level="warning")
    cut(transaction, job_id)


def cut(transaction: Transaction, job_id: str) -> None:
    """Remove of a job's lines all but the last."""
    kept = select(JobLine.number).where(JobLine.job_id == job_id).order_by(JobLine.number.desc())
    first = kept.offset(MOST - 1).limit(1).scalar_subquery()
    transaction.execute(delete(JobLine).where(JobLine.job_id == job_id, JobLine.number < first))


def of_job(transaction: Transaction, job_id: str, *, after: int = 0, limit: int = MOST) -> list[JobLine]:
    """Return the lines of a job behind the one with this number, the oldest first."""
    query = select(JobLine).where(JobLine.job_id == job_id, JobLine.number > after)
    return list(transaction.scalars(query.order_by(JobLine.number).limit(limit)))
