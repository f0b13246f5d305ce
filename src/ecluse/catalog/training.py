"""Keep the history of trainings and their results."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.tables import TrainingRun, now
from ecluse.errors import NotFound

ACTIVE = ("queued", "running")


def add_run(transaction: Transaction, run: TrainingRun) -> TrainingRun:
    transaction.add(run)
    transaction.flush()
    return run


def run_of(transaction: Transaction, user_id: str, run_id: str) -> TrainingRun:
    run = transaction.scalar(
        select(TrainingRun).where(TrainingRun.id == run_id, TrainingRun.user_id == user_id)
    )
    if run is None:
        raise NotFound(f"No training {run_id}. See: GET /api/history")
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


def set_plan(transaction: Transaction, run_id: str, plan: dict[str, Any]) -> None:
    """Record what a training does, where that could not be known when it was asked for."""
    transaction.execute(
        update(TrainingRun).where(TrainingRun.id == run_id).values(plan=plan, target_column=plan["target"])
    )


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
    return taken.first() is not None


def set_done(
    transaction: Transaction, run_id: str, *, version: str, metrics: dict[str, Any], model_path: str
) -> None:
    transaction.execute(
        update(TrainingRun)
        .where(TrainingRun.id == run_id)
        .values(
            status="done",
            version=version,
            metrics=metrics,
            model_path=model_path,
            error=None,
            finished_at=now(),
        )
    )


def set_ended(transaction: Transaction, run_id: str, status: str, error: str | None) -> None:
    """Record that a training failed or was cancelled; one that is done stays done."""
    transaction.execute(
        update(TrainingRun)
        .where(TrainingRun.id == run_id, TrainingRun.status.in_(ACTIVE))
        .values(status=status, version=None, error=error, finished_at=now())
    )


def cancel_run(transaction: Transaction, job_id: str) -> bool:
    """Record that the training of a job was cancelled; False once its publication has begun or it ended."""
    cancelled = transaction.execute(
        update(TrainingRun)
        .where(TrainingRun.job_id == job_id, TrainingRun.status.in_(ACTIVE), TrainingRun.version.is_(None))
        .values(status="cancelled", finished_at=now())
        .returning(TrainingRun.id)
    )
    return cancelled.first() is not None


def ask_to_finish(transaction: Transaction, job_id: str) -> bool:
    """Record that the training of a job is to end with the best so far; False once it publishes or has ended."""
    asked = transaction.execute(
        update(TrainingRun)
        .where(TrainingRun.job_id == job_id, TrainingRun.status.in_(ACTIVE), TrainingRun.version.is_(None))
        .values(finish_early_at=func.coalesce(TrainingRun.finish_early_at, now()))
        .returning(TrainingRun.id)
    )
    return asked.first() is not None


def is_to_finish(transaction: Transaction, run_id: str) -> bool:
    asked = select(TrainingRun.finish_early_at).where(TrainingRun.id == run_id)
    return transaction.scalar(asked) is not None


def active_runs(transaction: Transaction) -> list[TrainingRun]:
    """Every training, of anyone, that has not ended."""
    return list(transaction.scalars(select(TrainingRun).where(TrainingRun.status.in_(ACTIVE))))
