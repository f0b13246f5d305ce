"""Keep the history of trainings and their results; what is told of one is told of the run of the same id, too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog import runs
from ecluse.catalog.tables import Run, TrainingRun, now
from ecluse.errors import NotFound
from ecluse.sentences import _

ACTIVE = ("queued", "running")


def add_run(transaction: Transaction, run: TrainingRun, *, parent_version: str | None = None) -> TrainingRun:
    """Begin a training; `parent_version` is the one it trains again."""
    transaction.add(run)
    transaction.flush()
    tracked = Run(
        id=run.id,
        user_id=run.user_id,
        application="fraud",
        kind="ensemble"
        if run.plan.get("kind") == "ensemble"
        else "retraining"
        if parent_version
        else "search",
        name=run.model_name,
        parameters=_parameters(run.plan),
        subject={"dataset_id": run.dataset_id},
        job_id=run.job_id,
        parent_version=parent_version,
        created_at=run.created_at,
    )
    runs.add_run(transaction, tracked)
    return run


def run_of(transaction: Transaction, user_id: str, run_id: str) -> TrainingRun:
    run = transaction.scalar(
        select(TrainingRun).where(TrainingRun.id == run_id, TrainingRun.user_id == user_id)
    )
    if run is None:
        raise NotFound(_("No training %(value)s. See: GET /api/history", value=run_id))
    return run


def run_by_job(transaction: Transaction, job_id: str) -> TrainingRun | None:
    return transaction.scalar(select(TrainingRun).where(TrainingRun.job_id == job_id))


def run_of_version(transaction: Transaction, user_id: str, name: str, version: str) -> TrainingRun | None:
    """The run that made a version; None for one that was published otherwise."""
    wanted = (TrainingRun.user_id == user_id, TrainingRun.model_name == name, TrainingRun.version == version)
    return transaction.scalar(select(TrainingRun).where(*wanted).limit(1))


def list_runs(
    transaction: Transaction,
    user_id: str,
    *,
    dataset_id: str | None = None,
    status: str | None = None,
    limit: int = 50,
    offset: int = 0,
) -> tuple[list[TrainingRun], int]:
    """One page of the user's trainings, newest first, and how many there are in all."""
    wanted = select(TrainingRun).where(TrainingRun.user_id == user_id)
    if dataset_id is not None:
        wanted = wanted.where(TrainingRun.dataset_id == dataset_id)
    if status is not None:
        wanted = wanted.where(TrainingRun.status == status)
    total = transaction.scalar(select(func.count()).select_from(wanted.subquery())) or 0
    page = wanted.order_by(TrainingRun.created_at.desc(), TrainingRun.id).limit(limit).offset(offset)
    return list(transaction.scalars(page)), total


def set_running(transaction: Transaction, run_id: str) -> None:
    transaction.execute(
        update(TrainingRun)
        .where(TrainingRun.id == run_id, TrainingRun.status.in_(ACTIVE))
        .values(status="running")
    )
    runs.set_running(transaction, run_id)


def set_plan(transaction: Transaction, run_id: str, plan: dict[str, Any]) -> None:
    """Record what a training does, where that could not be known when it was asked for."""
    transaction.execute(
        update(TrainingRun).where(TrainingRun.id == run_id).values(plan=plan, target_column=plan["target"])
    )
    runs.set_parameters(transaction, run_id, _parameters(plan), anew=True)


def begin_publishing(transaction: Transaction, run_id: str, version: str) -> bool:
    """Whether this version may be published: the training was not cancelled and has no other version.

    From then on it cannot be cancelled.
    """
    taken = transaction.execute(
        update(TrainingRun)
        .where(TrainingRun.id == run_id, TrainingRun.status.in_((*ACTIVE, "done")))
        .where(TrainingRun.version.is_(None) | (TrainingRun.version == version))
        .values(version=version)
        .returning(TrainingRun.id)
    )
    if taken.first() is None:
        return False
    runs.begin_publishing(transaction, run_id, version)
    return True


def set_done(
    transaction: Transaction,
    run_id: str,
    *,
    version: str,
    metrics: dict[str, Any],
    model_path: str,
    artifacts: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Record what a training published; `artifacts` are its files as `runs.set_done` takes them."""
    transaction.execute(
        update(TrainingRun)
        .where(TrainingRun.id == run_id)
        .values(
            status="done",
            version=version,
            metrics=metrics,
            error=None,
            finished_at=now(),
        )
    )
    runs.set_done(transaction, run_id, version=version, url=model_path, metrics=metrics, artifacts=artifacts)


def set_ended(transaction: Transaction, run_id: str, status: str, error: str | None) -> None:
    """Record that a training failed or was cancelled; one that is done stays done."""
    transaction.execute(
        update(TrainingRun)
        .where(TrainingRun.id == run_id, TrainingRun.status.in_(ACTIVE))
        .values(status=status, version=None, error=error, finished_at=now())
    )
    runs.set_ended(transaction, run_id, status, error)


def cancel_run(transaction: Transaction, job_id: str) -> bool:
    """Record that the training of a job was cancelled; False once its publication has begun or it ended."""
    cancelled = transaction.execute(
        update(TrainingRun)
        .where(TrainingRun.job_id == job_id, TrainingRun.status.in_(ACTIVE), TrainingRun.version.is_(None))
        .values(status="cancelled", finished_at=now())
        .returning(TrainingRun.id)
    )
    if cancelled.first() is None:
        return False
    runs.cancel_run(transaction, job_id)
    return True


def ask_to_finish(transaction: Transaction, job_id: str) -> bool:
    """Record that the training of a job is to end with the best so far; False once it publishes or has ended."""
    asked = transaction.execute(
        update(TrainingRun)
        .where(TrainingRun.job_id == job_id, TrainingRun.status.in_(ACTIVE), TrainingRun.version.is_(None))
        .values(finish_early_at=func.coalesce(TrainingRun.finish_early_at, now()))
        .returning(TrainingRun.id)
    )
    if asked.first() is None:
        return False
    runs.ask_to_finish(transaction, job_id)
    return True


def is_to_finish(transaction: Transaction, run_id: str) -> bool:
    asked = select(TrainingRun.finish_early_at).where(TrainingRun.id == run_id)
    return transaction.scalar(asked) is not None


def active_runs(transaction: Transaction) -> list[TrainingRun]:
    """Every training, of anyone, that has not ended."""
    return list(transaction.scalars(select(TrainingRun).where(TrainingRun.status.in_(ACTIVE))))


def _parameters(plan: Mapping[str, Any]) -> dict[str, Any]:
    """A plan as parameters; one that waits for its table's profile is what was asked for so far."""
    return runs.flat_values(plan.get("request") or plan)
