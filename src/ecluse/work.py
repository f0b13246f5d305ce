"""Join the jobs of every application: what a worker runs, and what it brings up to date now and then."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

from ecluse import application, checkpoints, handovers, models, tables, unclaimed, upkeep
from ecluse.application import Application, remembered
from ecluse.backups import schedule
from ecluse.catalog import Transaction, audit, jobs, user_tables, work
from ecluse.catalog.fences import not_counted
from ecluse.errors import (
    CatalogUnavailable,
    HomeClosed,
    InvalidInput,
    JobCancelled,
    ModelNotFound,
    NotFound,
    VersionNotFound,
)
from ecluse.jobs import Job, JobKind, Link, Task, with_parts
from ecluse.runtime import Runtime
from ecluse.sentences import N_, _
from ecluse.shapes import fault
from ecluse.troubles import Troubles

logger = logging.getLogger(__name__)
R = TypeVar("R")
_left: Final = Troubles(logger, "A step of the upkeep (%s) is left for later: %s", "The upkeep goes on: %s")
#: The kind of job that scores a table by a version of any model, and its queue.
SCORING: Final = "score_table"
#: A kind of which no application that is here knows: the job of one that was removed.
UNKNOWN: Final = JobKind(run=lambda *_, **__: None, queue="")


def _score_table(runtime: Runtime, task: Task, **subject: Any) -> None:
    application.load("ecluse.inference.scoring:score_table")(runtime, task, **subject)


def _open_scored(transaction: Transaction, job: Job) -> Link | None:
    made = user_tables.made_by(transaction, job.user_id, job.id)
    return Link(f"/tables/{made.id}", N_("Open the scored table")) if made else None


def _use_again(transaction: Transaction, job: Job) -> tuple[Link, ...]:
    page = models.page_of(job.subject["name"], job.subject["version"])
    return (Link(f"{page}/use", N_("Use this model")),)


def scored(runtime: Runtime, transaction: Transaction, job: Job) -> dict[str, Any] | None:
    """Return what a scoring made, for the API."""
    made = user_tables.made_by(transaction, job.user_id, job.id)
    if made is None:
        return None
    return {
        "table": made.id,
        "rows": made.rows,
        "model": made.model,
        "version": made.version,
        "warnings": [str(note) for note in tables.notes_of(made)],
    }


_SCORING: Final = JobKind(
    run=_score_table,
    queue=SCORING,
    verb=N_("Score"),
    stages={"read": N_("Read"), "score": N_("Score"), "keep": N_("Save")},
    result=_open_scored,
    ways=_use_again,
    answer="ecluse.work:scored",
)


#: The removal of an account; its code stands above this module, as it ends jobs.
_REMOVAL: Final = JobKind(
    run=lambda runtime, task, **subject: application.load("ecluse.people.closing:run_removal")(
        runtime, task, **subject
    ),
    queue=upkeep.QUEUE,
    verb=N_("Remove"),
    stages={"remove": N_("Remove")},
    keeps_what_is_done=True,
    answer="ecluse.people.closing:answer",
    is_of_installation=True,
)


@remembered
def kinds() -> Mapping[str, JobKind]:
    """Join every kind of job there is, by its name: the core's, then those of each application, ours first."""
    every = {
        **upkeep.KINDS,
        **schedule.KINDS,
        **handovers.KINDS,
        SCORING: _SCORING,
        "remove_account": _REMOVAL,
    }
    for owner, more in application.parts("jobs"):
        for name, kind in more.items():
            if name in every:
                application.leave_out(
                    owner, f"job {name}", f'There is a kind of job "{name}" already. Call it otherwise.'
                )
            else:
                every[name] = linked(followed(kind, by=owner.name), name, owner)
    return {name: checkpoints.tidied(settled(kind)) for name, kind in with_parts(every).items()}


def followed(kind: JobKind, by: str = "") -> JobKind:
    """Return the same kind of job, with what other applications than its own (`by`) do when a job has ended well."""

    def run(runtime: Runtime, task: Task, **subject: Any) -> None:
        kind.run(runtime, task, **subject)
        for owner, after in application.parts("after_jobs"):
            if owner.name != by:
                with application.guarded(owner, "after_jobs", passing=(JobCancelled,)):
                    after(runtime, task)

    return replace(kind, run=run)


def linked(kind: JobKind, name: str, owner: Application) -> JobKind:
    """Return the same kind of job, whose links are left out of the pages of all jobs where they cannot be made."""

    def result(transaction: Transaction, job: Job) -> Link | None:
        with application.guarded(owner, f"result of {name}"):
            return _expected(kind.result(transaction, job), Link | None)
        return None

    def ways(transaction: Transaction, job: Job) -> tuple[Link, ...]:
        with application.guarded(owner, f"ways of {name}"):
            return _expected(kind.ways(transaction, job), tuple[Link, ...])
        return ()

    return replace(kind, result=result, ways=ways)


def _expected(value: R, hint: Any) -> R:
    if reason := fault(value, hint):
        raise TypeError(reason)
    return value


def settled(kind: JobKind) -> JobKind:
    """Return the kind with one more step on failure: record the model version that the job had published by then."""

    def failed(runtime: Runtime, task: Task, message: str, **subject: Any) -> None:
        models.settle_job(runtime, task.job_id)
        if kind.failed is not None:
            kind.failed(runtime, task, message, **subject)

    return replace(kind, failed=failed)


def kind_of(name: str) -> JobKind:
    """Return a kind of job; `UNKNOWN` where no application here has it."""
    return kinds().get(name, UNKNOWN)


def cancel_job(runtime: Runtime, user_id: str, job_id: str, *, is_of_anyone: bool = False) -> None:
    """Stop one of the user's jobs and its work. `is_of_anyone`: the user administers, and it may be someone else's.

    A job that has ended, or is publishing what it made, stays as it is.

    Raises:
        JobNotFound: there is none of this id, or it is someone else's.
    """
    job = runtime.jobs.get(None if is_of_anyone else user_id, job_id)
    with runtime.catalog.write() as transaction:
        if job.active and jobs.cancel(transaction, job_id):
            audit.record(transaction, user_id, "job.cancel", job_id)


def finish_job(runtime: Runtime, user_id: str, job_id: str) -> None:
    """Let one of the user's trainings end now, and keep the best so far.

    The request outlives the worker. A training that publishes, or has ended, stays as it is.

    Raises:
        InvalidInput: the job is no training.
        JobNotFound: there is none of this id, or it is someone else's.
    """
    job = runtime.jobs.get(user_id, job_id)
    finish = kind_of(job.kind).finish
    if finish is None:
        raise InvalidInput(
            _("Job %(value)s is no training: it has no best so far to keep. Cancel it instead.", value=job_id)
        )
    with runtime.catalog.write() as transaction:
        if finish(transaction, job_id):
            audit.record(transaction, user_id, "job.finish", job_id)


def reconcile(runtime: Runtime) -> int:
    """End work whose job or process is gone, and queue what is due; return how many rows and jobs that were.

    Each step of `STEPS` is tried, then each application's, whatever became of those before.

    Raises:
        CatalogUnavailable, HomeClosed: no step could do anything.
    """
    ended = 0
    with not_counted():
        for name, step in STEPS.items():
            with _left.guarded(name, passing=(CatalogUnavailable, HomeClosed)):
                ended += step(runtime)
        for owner, due in application.parts("due"):
            with application.guarded(owner, "due"):
                ended += int(due(runtime))
    return ended


def _end_lost(runtime: Runtime) -> int:
    """End the work of jobs that are gone; how many rows."""
    with runtime.catalog.read() as transaction:
        if not work.any_lost(transaction):
            return 0
    with runtime.catalog.write() as transaction:
        return work.end_lost(transaction)


#: What is brought up to date now and then, in this order.
STEPS: Final[Mapping[str, Callable[[Runtime], int]]] = {
    "versions that were committed": models.reconcile,
    "versions of ended jobs": models.settle_ended,
    "uploads of models": models.clean_uploads,
    "lost work": _end_lost,
    "counts that are over": upkeep.prune_counts,
    "counts of the day": upkeep.count_day,
    "objects without a row": unclaimed.clear,
    "migrations": upkeep.end_migrations,
    "backups that are due": schedule.enqueue_due,
    "checkpoints": checkpoints.reconcile,
    "hand-overs": handovers.reconcile,
}


def result_of(runtime: Runtime, job: Job) -> dict[str, Any] | None:
    """Return what a finished job made, as its kind answers it; else, also where that is deleted by now, its subject."""
    if job.status != "done":
        return None
    made: dict[str, Any] | None = None
    reference = kind_of(job.kind).answer
    if reference:
        with (
            runtime.catalog.read() as transaction,
            contextlib.suppress(NotFound, ModelNotFound, VersionNotFound),
        ):
            made = application.load(reference)(runtime, transaction, job)
    return dict(job.subject) if made is None else made
