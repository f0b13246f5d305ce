"""Join the jobs of every application: what a worker runs, and what it brings up to date now and then."""

from __future__ import annotations

from typing import Final

from ecluse import checkpoints, upkeep
from ecluse.apps.city import jobs as city
from ecluse.apps.city import sample, schedule
from ecluse.apps.fraud.actions import main as fraud_workflows
from ecluse.apps.fraud.jobs import ensembles
from ecluse.apps.fraud.jobs import main as fraud
from ecluse.apps.fraud.jobs import monitoring as watching
from ecluse.apps.fraud.jobs import reference_evaluation as evaluation
from ecluse.apps.fraud.jobs import references as building
from ecluse.apps.mlflow import jobs as mlflow
from ecluse.apps.plants import sample as leaves
from ecluse.apps.plants import training
from ecluse.apps.plants.jobs import audit as audit_work
from ecluse.apps.plants.jobs import importing as plants
from ecluse.apps.plants.jobs import training as plants_training
from ecluse.catalog import audit, jobs
from ecluse.jobs import JobKind
from ecluse.runtime import Runtime

_APPLICATIONS: Final[dict[str, JobKind]] = (
    fraud.KINDS
    | ensembles.KINDS
    | watching.KINDS
    | building.KINDS
    | evaluation.KINDS
    | city.KINDS
    | sample.KINDS
    | schedule.KINDS
    | plants.KINDS
    | audit_work.KINDS
    | leaves.KINDS
    | plants_training.KINDS
)
KINDS: Final[dict[str, JobKind]] = {
    name: checkpoints.tidied(kind)
    for name, kind in (
        {name: mlflow.followed(kind) for name, kind in _APPLICATIONS.items()} | mlflow.KINDS | upkeep.KINDS
    ).items()
}


def cancel_job(runtime: Runtime, user_id: str, job_id: str) -> None:
    """Stop one of the user's jobs; what it would have made is recorded as cancelled.

    A job that has ended, or is publishing what it made, stays as it is.

    Raises:
        JobNotFound: there is none of this id, or it is someone else's.
    """
    job = runtime.jobs.get(user_id, job_id)
    kind = KINDS.get(job.kind)
    cancel = None if kind is None else kind.cancel
    with runtime.catalog.write() as transaction:
        jobs.hold_row(transaction, job_id)
        stopped = job.active if cancel is None else cancel(transaction, job_id)
        if stopped:
            audit.record(transaction, user_id, "job.cancel", job_id)
            jobs.cancel(transaction, job_id)


def finish_job(runtime: Runtime, user_id: str, job_id: str) -> None:
    """Let one of the user's trainings end now, and keep the best so far.

    The request outlives the worker. A training that publishes, or has ended, stays as it is.

    Raises:
        InvalidInput: the job is no training.
        JobNotFound: there is none of this id, or it is someone else's.
    """
    is_of_plants = runtime.jobs.get(user_id, job_id).kind == training.KIND
    finish = training.finish_early if is_of_plants else fraud_workflows.finish_job
    finish(runtime, user_id, job_id)


def reconcile(runtime: Runtime) -> int:
    """End the rows whose job or process ended without saying so, and queue what is due; how many that were."""
    ended = (
        fraud.reconcile(runtime)
        + city.reconcile(runtime)
        + watching.reconcile(runtime)
        + upkeep.reconcile(runtime)
    )
    ended += plants.reconcile(runtime) + plants_training.reconcile(runtime)
    checkpoints.reconcile(runtime)
    return ended + schedule.queue_due(runtime) + mlflow.queue_due(runtime)
