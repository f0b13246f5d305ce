"""Train models and see the history of trainings."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Query

from ecluse.apps.fraud.actions import main as workflows
from ecluse.apps.fraud.actions.main import TrainingRequest
from ecluse.apps.fraud.api.bodies import training_body
from ecluse.apps.fraud.api.schemas import HistoryPage, TrainRequest
from ecluse.apps.fraud.rows import training
from ecluse.web.api.schemas import Accepted
from ecluse.web.errors import answers
from ecluse.web.security import CurrentUser, RuntimeDep

router = APIRouter(tags=["training"])
Status = Literal["queued", "running", "done", "failed", "cancelled"]


@router.post("/train", status_code=202, responses=answers(404))
def train(body: TrainRequest, runtime: RuntimeDep, user: CurrentUser) -> Accepted:
    """Train a model on a labelled table. Its figures come from rows it has not seen."""
    dataset = workflows.find_dataset(runtime, user.user.id, body.reference)
    run = workflows.start_training(runtime, user.user.id, dataset.id, _request(body))
    return Accepted(job=run.job_id or "", status_url=f"/api/status/{run.job_id}", training=run.id)


@router.get("/history")
def history(
    runtime: RuntimeDep,
    user: CurrentUser,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    per_page: Annotated[int, Query(ge=1, le=200)] = 20,
    status: Status | None = None,
) -> HistoryPage:
    """Your trainings, newest first."""
    with runtime.catalog.read() as transaction:
        rows, total = training.list_runs(
            transaction, user.user.id, status=status, limit=per_page, offset=(page - 1) * per_page
        )
    return HistoryPage(items=[training_body(row) for row in rows], total=total, page=page, per_page=per_page)


def _request(body: TrainRequest) -> TrainingRequest:
    return TrainingRequest(
        model_name=body.model_name,
        target_column=body.target_column or None,
        positive_value=body.positive_value,
        time_column=body.time_column or None,
        customer_column=body.customer_column or None,
        identifier_columns=None if body.identifier_columns is None else tuple(body.identifier_columns),
        excluded=tuple(body.excluded),
        keep=tuple(body.keep),
        budget_s=body.budget_s,
        goal=body.goal,
        seed=body.seed,
        refit=body.refit,
        without=workflows.chosen_none(body.time_column, body.customer_column),
    )
