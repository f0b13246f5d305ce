"""Monitor models, compare two versions on the same rows, and train one again."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from ecluse import models as published
from ecluse.apps.fraud.actions import monitoring as actions
from ecluse.apps.fraud.api.inspecting import (
    CompareRequest,
    InspectionAccepted,
    InspectionBody,
    MonitorBody,
    MonitorRequest,
    RetrainRequest,
    accepted,
    inspection_body,
)
from ecluse.apps.fraud.rows import inspections
from ecluse.web.declarations import Declarations
from ecluse.web.errors import answers
from ecluse.web.security import MayManage, MayPublish, MayRead, RuntimeDep

router = Declarations(tags=["monitoring"])


@router.get("/models/{name}/{version}/monitor", responses=answers(404))
def show_monitoring(
    name: str,
    version: str,
    runtime: RuntimeDep,
    user: MayRead,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
) -> MonitorBody:
    """Show how a version (or an alias) does at work: its latest check on a table, and those before."""
    used = published.resolve(runtime, user.user.id, f"{name}@{version}")
    with runtime.catalog.read() as transaction:
        rows = inspections.list_inspections(
            transaction,
            user.user.id,
            inspections.InspectionFilter(kind="monitor", model_name=used.name, version=used.version),
            limit=limit,
        )
    bodies = [inspection_body(row) for row in rows]
    return MonitorBody(latest=next((body for body in bodies if body.status == "done"), None), history=bodies)


@router.post("/models/{name}/{version}/monitor", status_code=202, responses=answers(404))
def monitor(
    name: str, version: str, body: MonitorRequest, runtime: RuntimeDep, user: MayManage
) -> InspectionAccepted:
    """Look at a table beside what a version learned from: drift, alerts, and figures where outcomes are known."""
    row = actions.start_monitoring(
        runtime,
        user.user.id,
        f"{name}@{version}",
        body.dataset,
        actions.MonitoringChoices(**body.model_dump(exclude={"dataset"})),
    )
    return accepted(row)


@router.post("/models/{name}/compare", status_code=202, responses=answers(404))
def compare(name: str, body: CompareRequest, runtime: RuntimeDep, user: MayManage) -> InspectionAccepted:
    """Compare two versions on the same rows."""
    first, second = body.versions
    return accepted(
        actions.start_comparison(
            runtime,
            user.user.id,
            name,
            (first, second),
            body.dataset,
            label=body.label,
            positive=body.positive,
        )
    )


@router.post("/models/{name}/retrain", status_code=202, responses=answers(404))
def retrain(name: str, body: RetrainRequest, runtime: RuntimeDep, user: MayPublish) -> InspectionAccepted:
    """Train a new version as an old one was, and compare both on rows neither learned from. No alias moves."""
    reference = f"{name}@{body.version}" if body.version else name
    run, row = actions.start_retraining(
        runtime, user.user.id, reference, body.dataset, budget_s=body.budget_s
    )
    return accepted(row, run.id)


@router.get("/inspections", responses=answers(404))
def list_inspections(
    runtime: RuntimeDep,
    user: MayRead,
    model: str | None = None,
    dataset: str | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> list[InspectionBody]:
    """Your questions, monitorings and comparisons, newest first, without their results."""
    with runtime.catalog.look() as transaction:
        rows = inspections.list_inspections(
            transaction,
            user.user.id,
            inspections.InspectionFilter(model_name=model, dataset_id=dataset),
            limit=limit,
        )
    return [inspection_body(row, is_listed=True) for row in rows]


@router.get("/inspections/{inspection}", responses=answers(404))
def show_inspection(inspection: str, runtime: RuntimeDep, user: MayRead) -> InspectionBody:
    """One inspection with what was found."""
    with runtime.catalog.read() as transaction:
        return inspection_body(inspections.inspection_of(transaction, user.user.id, inspection))
