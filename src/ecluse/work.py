"""Join the jobs of every application: what a worker runs, and what it brings up to date now and then."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from typing import Any, Final

from ecluse import application, checkpoints, models, upkeep
from ecluse.catalog import audit, jobs, work
from ecluse.errors import EcluseError, InvalidInput, JobCancelled
from ecluse.jobs import JobKind, Task
from ecluse.runtime import Runtime
from ecluse.sentences import _

logger = logging.getLogger(__name__)
#: A kind of which no application that is here knows: the job of one that was removed.
UNKNOWN: Final = JobKind(run=lambda *_, **__: None, queue="")


@cache
def kinds() -> Mapping[str, JobKind]:
    """Every kind of job there is, by its name. Of two of one name, that of the application first in the menu counts."""
    every = dict(upkeep.KINDS)
    for app, more in application.parts("jobs"):
        for name, kind in more.items():
            if name in every:
                application.leave_out(
                    app, f"job {name}", f'There is a kind of job "{name}" already. Call it otherwise.'
                )
            else:
                every[name] = followed(kind, by=app.name)
    return {name: checkpoints.tidied(settled(kind)) for name, kind in every.items()}


def followed(kind: JobKind, by: str = "") -> JobKind:
    """The same kind of job, with what other applications than its own (`by`) do when a job has ended well."""

    def run(runtime: Runtime, task: Task, **subject: Any) -> None:
        kind.run(runtime, task, **subject)
        for app, after in application.parts("after_jobs"):
            if app.name == by:
                continue
            try:
                after(runtime, task)
            except JobCancelled:
                raise
            except Exception:  # the job is done; what another application does then is not its fault
                logger.exception("What %s does after a job failed; job %s is done", app.name, task.job_id)

    return replace(kind, run=run)


def settled(kind: JobKind) -> JobKind:
    """The same kind of job, of which a version that was committed when it failed is found."""

    def failed(runtime: Runtime, task: Task, message: str, **subject: Any) -> None:
        models.settle_job(runtime, task.job_id)
        if kind.failed is not None:
            kind.failed(runtime, task, message, **subject)

    return replace(kind, failed=failed)


def kind_of(name: str) -> JobKind:
    """What is known of a kind of job; of one that no application here has, nothing."""
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
    """End the work whose job or process ended without saying so, and queue what is due; how many that were."""
    ended = models.reconcile(runtime) + models.settle_ended(runtime)
    with runtime.catalog.read() as transaction:
        has_lost = work.any_lost(transaction)
    if has_lost:
        with runtime.catalog.write() as transaction:
            ended += work.end_lost(transaction)
    ended += upkeep.reconcile(runtime)
    checkpoints.reconcile(runtime)
    return ended + sum(_due(runtime, app.name, due) for app, due in application.parts("due"))


def _due(runtime: Runtime, name: str, due: Callable[[Runtime], int]) -> int:
    try:
        return int(due(runtime))
    except EcluseError:
        raise
    except Exception:  # the others have work that is due, too
        logger.exception("What is due of %s could not be queued", name)
        return 0
