"""Join the jobs of every application: what a worker runs, and what it brings up to date now and then."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, TypeVar

from ecluse import application, checkpoints, models, tables, upkeep
from ecluse.application import Application, remembered
from ecluse.catalog import Transaction, audit, jobs, user_tables, work
from ecluse.catalog.fences import not_counted
from ecluse.errors import InvalidInput, JobCancelled, ModelNotFound, NotFound, VersionNotFound
from ecluse.jobs import Job, JobKind, Link, Task
from ecluse.runtime import Runtime
from ecluse.sentences import N_, _
from ecluse.shapes import fault

R = TypeVar("R")
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
    name, version = job.subject["name"], job.subject["version"]
    return (Link(f"/models/{name}/{version}/use", N_("Use this model")),)


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


@remembered
def kinds() -> Mapping[str, JobKind]:
    """Join every kind of job there is, by its name: the core's, then those of each application, ours first."""
    every = {**upkeep.KINDS, SCORING: _SCORING}
    for owner, more in application.parts("jobs"):
        for name, kind in more.items():
            if name in every:
                application.leave_out(
                    owner, f"job {name}", f'There is a kind of job "{name}" already. Call it otherwise.'
                )
            else:
                every[name] = linked(followed(kind, by=owner.name), name, owner)
    return {name: checkpoints.tidied(settled(kind)) for name, kind in every.items()}


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


def cancel_job(runtime: Runtime, user_id: str, job_id: str) -> None:
    """Stop one of the user's jobs and its work.

    A job that has ended, or is publishing what it made, stays as it is.

    Raises:
        JobNotFound: there is none of this id, or it is someone else's.
    """
    job = runtime.jobs.get(user_id, job_id)
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
    """End work whose job or process is gone, and queue what is due; return how many rows and jobs that were."""
    with not_counted():
        return _reconcile(runtime)


def _reconcile(runtime: Runtime) -> int:
    ended = models.reconcile(runtime) + models.settle_ended(runtime) + models.clean_uploads(runtime)
    with runtime.catalog.read() as transaction:
        has_lost = work.any_lost(transaction)
    if has_lost:
        with runtime.catalog.write() as transaction:
            ended += work.end_lost(transaction)
    ended += upkeep.reconcile(runtime)
    checkpoints.reconcile(runtime)
    for owner, due in application.parts("due"):
        with application.guarded(owner, "due"):  # the others have work that is due, too
            ended += int(due(runtime))
    return ended


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
