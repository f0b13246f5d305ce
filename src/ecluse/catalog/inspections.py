"""Keep what was found when a model was looked at beside a table."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.tables import Inspection, now
from ecluse.errors import NotFound

ACTIVE = ("queued", "running")


def add_inspection(transaction: Transaction, inspection: Inspection) -> Inspection:
    transaction.add(inspection)
    transaction.flush()
    return inspection


def inspection_of(transaction: Transaction, user_id: str, inspection_id: str) -> Inspection:
    found = transaction.scalar(
        select(Inspection).where(Inspection.id == inspection_id, Inspection.user_id == user_id)
    )
    if found is None:
        raise NotFound(f"No inspection {inspection_id}. See: GET /api/models/NAME/VERSION/monitor")
    return found


def inspection_by_job(transaction: Transaction, job_id: str) -> Inspection | None:
    return transaction.scalar(select(Inspection).where(Inspection.job_id == job_id))


def list_inspections(
    transaction: Transaction,
    user_id: str,
    *,
    kind: str | None = None,
    model_name: str | None = None,
    version: str | None = None,
    dataset_id: str | None = None,
    status: str | None = None,
    limit: int = 50,
) -> list[Inspection]:
    """The user's inspections, newest first; a version is the one looked at, not the one made of it or beside it."""
    wanted = select(Inspection).where(Inspection.user_id == user_id)
    if kind is not None:
        wanted = wanted.where(Inspection.kind == kind)
    if model_name is not None:
        wanted = wanted.where(Inspection.model_name == model_name)
    if version is not None:
        wanted = wanted.where(Inspection.version == version)
    if dataset_id is not None:
        wanted = wanted.where(Inspection.dataset_id == dataset_id)
    if status is not None:
        wanted = wanted.where(Inspection.status == status)
    page = wanted.order_by(Inspection.created_at.desc(), Inspection.id).limit(limit)
    return list(transaction.scalars(page))


def set_running(transaction: Transaction, inspection_id: str) -> None:
    transaction.execute(
        update(Inspection)
        .where(Inspection.id == inspection_id, Inspection.status.in_(ACTIVE))
        .values(status="running")
    )


def set_other_version(transaction: Transaction, inspection_id: str, version: str) -> None:
    """Name the version that a retraining has published, whatever becomes of its comparison."""
    transaction.execute(
        update(Inspection).where(Inspection.id == inspection_id).values(other_version=version)
    )


def set_done(
    transaction: Transaction,
    inspection_id: str,
    result: dict[str, Any],
    *,
    other_version: str | None = None,
) -> bool:
    """Record what was found; False when the inspection was cancelled meanwhile."""
    values: dict[str, Any] = {"status": "done", "result": result, "error": None, "finished_at": now()}
    if other_version is not None:
        values["other_version"] = other_version
    done = transaction.execute(
        update(Inspection)
        .where(Inspection.id == inspection_id, Inspection.status.in_((*ACTIVE, "done")))
        .values(**values)
        .returning(Inspection.id)
    )
    return done.first() is not None


def set_ended(transaction: Transaction, inspection_id: str, status: str, error: str | None) -> None:
    """Record that an inspection failed or was cancelled; one that is done stays done."""
    transaction.execute(
        update(Inspection)
        .where(Inspection.id == inspection_id, Inspection.status.in_(ACTIVE))
        .values(status=status, error=error, finished_at=now())
    )


def cancel_inspection(transaction: Transaction, job_id: str) -> bool:
    """Record that the inspection of a job was cancelled; False when it had ended."""
    cancelled = transaction.execute(
        update(Inspection)
        .where(Inspection.job_id == job_id, Inspection.status.in_(ACTIVE))
        .values(status="cancelled", finished_at=now())
        .returning(Inspection.id)
    )
    return cancelled.first() is not None


def active_inspections(transaction: Transaction, kinds: tuple[str, ...]) -> list[Inspection]:
    """Every inspection of these kinds, of anyone, that has not ended."""
    wanted = select(Inspection).where(Inspection.status.in_(ACTIVE), Inspection.kind.in_(kinds))
    return list(transaction.scalars(wanted))
