"""Enqueue jobs, read them and cancel them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any, cast

from ecluse import application
from ecluse.catalog import Catalog, Transaction, job_lines, jobs, quotas, workers
from ecluse.catalog.tables import JobRow, Worker
from ecluse.errors import (
    JobNotFound,
    JobsUnavailable,
)
from ecluse.jobs.kinds import Job, JobStatus, Line, Lines
from ecluse.sentences import _

#: How long the record of an ended job is kept.
KEPT_FOR = timedelta(days=90)


class Jobs:
    """The jobs of a catalog: enqueue, find, cancel."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def enqueue(
        self,
        kind: str,
        queue: str,
        user_id: str,
        title: str,
        subject: Mapping[str, Any],
        *,
        job_id: str | None = None,
        transaction: Transaction | None = None,
    ) -> str:
        """Queue a job; its id. Its function gets `subject` as keyword arguments. The same id is queued once.

        `transaction`: the one that writes the rows which the job is for, so that neither is there without the other.

        Raises:
            PlanEnded, LimitReached: the plan of who asks for it allows no more jobs.
        """
        chosen = job_id or uuid.uuid4().hex
        with self._within(transaction) as writing:
            # What joins the kinds of all applications stands above this module, as their code enqueues.
            version: int = application.load("ecluse.work:kind_of")(kind).version
            is_new = job_id is None or jobs.status_of(writing, job_id) is None
            if is_new:
                quotas.expect_job(writing, user_id)
            jobs.add(writing, chosen, kind, queue, user_id, title, subject)
            if is_new and version > 1:
                jobs.note_version(writing, chosen, version)
        return chosen

    def get(self, user_id: str | None, job_id: str) -> Job:
        """Return one job of this user (None: of anyone).

        Raises:
            JobNotFound: there is none of this id, or it is someone else's.
        """
        if not _may_be_id(job_id):
            raise JobNotFound(_("No job has such an id. See: ecluse jobs list"))
        job = self.get_many(user_id, [job_id]).get(job_id)
        if job is None:
            raise JobNotFound(_("No job %(value)s. See: ecluse jobs list", value=job_id))
        return job

    def goes_on(self, job_id: str | None) -> bool:
        """Say whether a job waits or runs; one whose record is gone does not."""
        if job_id is None:
            return False
        with self._catalog.read() as transaction:
            return jobs.status_of(transaction, job_id) in jobs.ACTIVE

    def get_many(self, user_id: str | None, job_ids: Sequence[str]) -> dict[str, Job]:
        """Return those of these jobs that are there and this user's (None: anyone's), by their ids."""
        with self._catalog.read() as transaction:
            rows = jobs.by_ids(transaction, user_id, job_ids)
            return {job.id: job for job in _jobs(transaction, rows)}

    def lines(self, user_id: str | None, job_id: str, *, after: int = 0) -> Lines:
        """Return what there is to say of a job of this user (None: of anyone), behind the line with a number.

        Raises:
            JobNotFound: there is none of this id, or it is someone else's.
        """
        job = self.get(user_id, job_id)  # first: when it has ended, no line comes after it
        with self._catalog.read() as transaction:
            rows = job_lines.of_job(transaction, job.id, after=after)
            return Lines(tuple(Line(row.number, row.at, row.level, row.said) for row in rows), not job.active)

    def list(
        self, user_id: str, *, limit: int = 50, active: bool = False, after: str | None = None
    ) -> Sequence[Job]:
        """List the user's jobs, newest first; `after`: those behind the one of this id. Raises InvalidInput."""
        with self._catalog.look() as transaction:
            rows = jobs.of_user(transaction, user_id, limit=limit, active=active, after=after)
            return _jobs(transaction, rows)

    def ended(self, user_id: str, *, limit: int, offset: int = 0) -> Sequence[Job]:
        """List the user's jobs that have ended, newest first."""
        with self._catalog.read() as transaction:
            rows = jobs.ended_of_user(transaction, user_id, limit=limit, offset=offset)
            return [_job(row, 0) for row in rows]

    def count_ended(self, user_id: str) -> int:
        """Count the user's jobs that have ended."""
        with self._catalog.read() as transaction:
            return jobs.count_ended(transaction, user_id)

    def active(self, *, limit: int = 100) -> Sequence[Job]:
        """List the jobs of everyone that wait or run, the oldest first."""
        with self._catalog.read() as transaction:
            return _jobs(transaction, jobs.active(transaction, limit=limit))

    def cancel(self, user_id: str, job_id: str) -> Job:
        """Stop a job: at once while it waits, at its next report while it runs.

        One that has ended, or publishes what it made, stays as it is.
        """
        job = self.get(user_id, job_id)
        if job.active:
            with self._catalog.write() as transaction:
                jobs.cancel(transaction, job_id)
        return self.get(user_id, job_id)

    def is_cancelled(self, job_id: str) -> bool:
        with self._catalog.read() as transaction:
            return jobs.status_of(transaction, job_id) == "cancelled"

    def forget_old(self) -> int:
        """Remove the records of jobs that ended long ago; how many. What they made stays."""
        with self._catalog.write() as transaction:
            return jobs.forget_ended(transaction, KEPT_FOR)

    def prove(self) -> None:
        """Queue a job that no worker takes, read it back and remove it, in one transaction: nobody sees it.

        Raises:
            JobsUnavailable: the catalog did not do as asked.
        """
        job_id = uuid.uuid4().hex
        with self._catalog.write() as transaction:
            jobs.add(transaction, job_id, "doctor", "doctor", "doctor", "Round trip", {})
            status = jobs.status_of(transaction, job_id)
            jobs.forget(transaction, [job_id])
        if status != "queued":
            raise JobsUnavailable(_("Job %(id)s was queued but reads as something else.", id=job_id))

    @contextmanager
    def _within(self, transaction: Transaction | None) -> Iterator[Transaction]:
        if transaction is not None:
            yield transaction
            return
        with self._catalog.write() as own:
            yield own


def _may_be_id(job_id: str) -> bool:
    return 0 < len(job_id) <= 100 and job_id.isascii() and job_id.isprintable()


def _jobs(transaction: Transaction, rows: Iterable[tuple[JobRow, int]]) -> list[Job]:
    """Return what rows say; of a job that none of the workers that live can run, what it waits for."""
    read = [(row, _job(row, place)) for row, place in rows]
    living = workers.living(transaction) if any(job.status == "queued" for _, job in read) else []
    return [
        replace(job, message=_waits_for_release())
        if job.status == "queued" and living and not any(map(partial(_can_run, row), living))
        else job
        for row, job in read
    ]


def _can_run(row: JobRow, worker: Worker) -> bool:
    return workers.can_run(worker, row.kind, row.version)


def _waits_for_release() -> str:
    return _(
        "It waits for a worker of a newer release, or with the application that it belongs to: those that run now "
        "cannot do it."
    )


def _status_of(row: JobRow) -> JobStatus:
    """Return how a job stands; one that waits for its own parts runs, as they do."""
    return "running" if row.status == "queued" and row.parts else cast(JobStatus, row.status)


def _job(row: JobRow, place: int) -> Job:
    status = _status_of(row)
    return Job(
        id=row.id,
        kind=row.kind,
        user_id=row.user_id,
        status=status,
        title=row.title,
        subject=dict(row.subject),
        stage=row.stage,
        fraction=1.0 if status == "done" else row.fraction,
        message=row.message,
        error=row.error,
        position=(place or None) if status == "queued" else None,
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
