"""Keep the inspections of models: monitoring, comparing, choosing questions, learning from labels, beside a table.

Learning from labels is a run of the same id, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session as Transaction

from ecluse.apps.fraud.rows.tables import Inspection
from ecluse.catalog import runs, work
from ecluse.catalog.tables import Run
from ecluse.errors import NotFound
from ecluse.run_values import flat_values
from ecluse.sentences import _

ACTIVE: Final = work.ACTIVE
#: The kind that makes a version, and so is a run.
LEARNING: Final = "learning"


def add_inspection(transaction: Transaction, inspection: Inspection) -> Inspection:
    transaction.add(inspection)
    transaction.flush()
    if inspection.kind == LEARNING:
        tracked = Run(
            id=inspection.id,
            user_id=inspection.user_id,
            application="fraud",
            kind=LEARNING,
            name=inspection.model_name,
            parameters=flat_values(inspection.request),
            subject={"dataset_id": inspection.dataset_id},
            job_id=inspection.job_id,
            parent_version=f"{inspection.model_name}@{inspection.version}",
            created_at=inspection.created_at,
        )
        runs.add_run(transaction, tracked)
    return inspection


def inspection_of(transaction: Transaction, user_id: str, inspection_id: str) -> Inspection:
    inspection = transaction.scalar(
        select(Inspection).where(Inspection.id == inspection_id, Inspection.user_id == user_id)
    )
    if inspection is None:
        raise NotFound(
            _(
                "No check or comparison %(value)s. See: GET /api/models/NAME/VERSION/monitor",
                value=inspection_id,
            )
        )
    return inspection


def inspection_by_job(transaction: Transaction, job_id: str) -> Inspection | None:
    return transaction.scalar(work.of_job(Inspection, job_id))


@dataclass(frozen=True)
class InspectionFilter:
    """Which inspections to list, by what is not None. A version is the one inspected, not the one made of it or
    compared with it.
    """

    kind: str | None = None
    model_name: str | None = None
    version: str | None = None
    dataset_id: str | None = None
    status: str | None = None

    def conditions(self) -> list[ColumnElement[bool]]:
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return [getattr(Inspection, name) == value for name, value in given.items() if value is not None]


def list_inspections(
    transaction: Transaction,
    user_id: str,
    chosen: InspectionFilter = InspectionFilter(),
    *,
    limit: int = 50,
) -> list[Inspection]:
    """List the user's inspections, newest first."""
    rows = select(Inspection).where(Inspection.user_id == user_id, *chosen.conditions())
    return list(transaction.scalars(rows.order_by(Inspection.created_at.desc(), Inspection.id).limit(limit)))


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
    url: str | None = None,
    metrics: Mapping[str, Any] | None = None,
    artifacts: Sequence[Mapping[str, Any]] = (),
) -> bool:
    """Record what was found; False when the inspection was cancelled meanwhile.

    `url`, `metrics` and `artifacts` are those of the version that learning published, as `runs.set_done` takes them.
    """
    if not work.finish(transaction, inspection_id):
        return False
    values: dict[str, Any] = {"result": result}
    if other_version is not None:
        values["other_version"] = other_version
    kind = transaction.scalar(
        update(Inspection).where(Inspection.id == inspection_id).values(**values).returning(Inspection.kind)
    )
    if kind == LEARNING:
        runs.set_done(
            transaction, inspection_id, version=other_version, url=url, metrics=metrics, artifacts=artifacts
        )
    return True
