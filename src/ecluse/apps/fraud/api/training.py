"""Train models and see the history of trainings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import Query
from pydantic import Field, create_model

from ecluse.apps.fraud.actions import main as workflows
from ecluse.apps.fraud.api.bodies import training_body
from ecluse.apps.fraud.api.schemas import DatasetReference, HistoryPage
from ecluse.apps.fraud.rows import training
from ecluse.apps.fraud.training.request import Choice, TrainingRequest, choices
from ecluse.web.api.schemas import Accepted
from ecluse.web.declarations import Declarations
from ecluse.web.errors import answers
from ecluse.web.security import MayPublish, MayRead, RuntimeDep

router = Declarations(tags=["training"])


def _field(choice: Choice) -> tuple[Any, Any]:
    """Describe a choice to pydantic. Limits are documented here and checked by `TrainingRequest.check`, like
    everywhere."""
    limits = {"minimum": choice.low, "maximum": choice.high}
    extra: dict[str, Any] = {name: value for name, value in limits.items() if value is not None}
    default = ... if choice.is_required else choice.default
    return choice.kind, Field(default, description=choice.help, json_schema_extra=extra)


CHOICES = {choice.name: _field(choice) for choice in choices()}
if TYPE_CHECKING:
    TrainRequest = DatasetReference
else:
    TrainRequest = create_model(
        "TrainRequest",
        __base__=DatasetReference,
        __doc__="What to train. Everything but the dataset and the name is guessed when it is left out.",
        **CHOICES,
    )
Status = Literal["queued", "running", "done", "failed", "cancelled"]


@router.post("/train", status_code=202, responses=answers(404))
def train(body: TrainRequest, runtime: RuntimeDep, user: MayPublish) -> Accepted:
    """Train a model on a labelled table. Its figures come from rows it has not seen."""
    dataset = workflows.find_dataset(runtime, user.user.id, body.reference)
    request = TrainingRequest.chosen(body.model_dump(include=set(CHOICES)))
    run = workflows.start_training(runtime, user.user.id, dataset.id, request)
    return Accepted(job=run.job_id or "", status_url=f"/api/status/{run.job_id}", training=run.id)


@router.get("/history")
def history(
    runtime: RuntimeDep,
    user: MayRead,
    page: Annotated[int, Query(ge=1, le=1_000_000)] = 1,
    per_page: Annotated[int, Query(ge=1, le=200)] = 20,
    status: Status | None = None,
) -> HistoryPage:
    """Your trainings, newest first."""
    with runtime.catalog.look() as transaction:
        rows, total = training.list_runs(
            transaction, user.user.id, status=status, limit=per_page, offset=(page - 1) * per_page
        )
    return HistoryPage(items=[training_body(row) for row in rows], total=total, page=page, per_page=per_page)
