"""Write the sample of a city as a job, then queue the days of it to be computed."""

from __future__ import annotations

from datetime import date
from typing import Any, Final

from ecluse.apps.city import jobs as work
from ecluse.catalog import Transaction, audit
from ecluse.catalog.tables import User, new_id
from ecluse.checkpoints import checkpoints_of
from ecluse.jobs import Job, JobKind, Link, Task
from ecluse.runtime import Runtime
from ecluse.sentences import N_

KIND: Final = "city_demo"
#: Nine weeks of autumn, so that the last days have eight to be compared with, and the day of 25 hours is among them.
FIRST: Final = date(2025, 9, 1)
DAYS: Final = 63
ARCS: Final = 400


def start_sample(runtime: Runtime, user: User, *, days: int = DAYS, arcs: int = ARCS) -> str:
    """Queue the sample and its days; the job's id. One that still goes on is not started a second time.

    Raises:
        Forbidden: the user is no administrator.
    """
    work.expect_administrator(user)
    for job in runtime.jobs.list(user.id, limit=1000, active=True):
        if job.kind == KIND:
            return job.id
    with runtime.catalog.write() as transaction:
        audit.record(transaction, user.id, "city.sample", runtime.stores.area("raw").url)
        subject = {"days": days, "arcs": arcs}
        return runtime.jobs.enqueue(
            KIND, work.QUEUE, user.id, "sample", subject, job_id=new_id(), transaction=transaction
        )


def run_sample(runtime: Runtime, task: Task, days: int, arcs: int) -> None:
    """Write the sample, then queue what computes its days."""
    first, last = task.step("write", _write, runtime, task, days, arcs)
    task.step("queue", _queue, runtime, task, first, last)


def run_of(job_id: str) -> str:
    """Return the id of the run that a sample's job queues."""
    return f"{job_id}-run"


def _write(runtime: Runtime, task: Task, days: int, arcs: int) -> tuple[str, str]:
    from ecluse.apps.city import demo

    written = demo.write_demo(
        runtime.stores.area("raw"),
        FIRST,
        days,
        arcs=arcs,
        report=lambda fraction, message: task.report("write", min(fraction, 0.999), message),
        checkpoints=checkpoints_of(runtime, task),
    )
    return written.first.isoformat(), written.last.isoformat()


def _queue(runtime: Runtime, task: Task, first: str, last: str) -> None:
    subject = {"first": first, "last": last, "raw": None, "again": False}
    runtime.jobs.enqueue(
        work.PREPARE, work.QUEUE, task.user_id, f"{first} – {last}", subject, job_id=run_of(task.job_id)
    )


def _failed(runtime: Runtime, task: Task, message: str, **_: Any) -> None:
    with runtime.catalog.write() as transaction:
        audit.record(transaction, task.user_id, "city.sample_failed", "sample", found=message)


def _open_city(transaction: Transaction, job: Job) -> Link | None:
    return work.CITY


KINDS: Final[dict[str, JobKind]] = {
    KIND: JobKind(
        run=run_sample,
        failed=_failed,
        queue=work.QUEUE,
        verb=N_("Write"),
        title=N_("the city's sample"),
        stages={"write": N_("Write"), "queue": N_("Queue the days")},
        result=_open_city,
    )
}
