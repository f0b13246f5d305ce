"""Describe what the API takes and gives of labels, monitoring and comparing."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ecluse.apps.fraud.rows.tables import Inspection


class RowLabel(BaseModel):
    """What a person says of one row, counted from 1: 1 fraud, 0 legitimate; null forgets it."""

    model_config = ConfigDict(extra="forbid")

    row: int = Field(ge=1)
    label: Literal[0, 1] | None


class LabelsRequest(BaseModel):
    """Labels of rows of a table of yours; or another table of yours with the columns row and label."""

    model_config = ConfigDict(extra="forbid")

    dataset: str = Field(description="Dataset id")
    labels: list[RowLabel] = Field([], max_length=20_000)
    table: str | None = Field(None, description="Dataset id of a table with the columns row and label")


class QuestionsRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    dataset: str
    model: str = Field(examples=["payments", "payments@v20251121_041000"])
    count: int = Field(40, ge=5, le=200)
    seed: int = Field(0, ge=0, lt=2**31)


class LearnRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    dataset: str
    model: str = Field(examples=["payments"])
    fraud_rate: float | None = Field(
        None, ge=0.0001, le=0.5, description="Held to be true beforehand; without it the model's own"
    )
    seed: int = Field(0, ge=0, lt=2**31)


class InspectionAccepted(BaseModel):
    """A job was queued; follow it at `status_url`."""

    job: str
    status_url: str
    inspection: str
    training: str | None = None


class FigureWithInterval(BaseModel):
    """A share, and its 95 % interval."""

    low: float
    high: float
    value: float = Field(description="The estimated share; says nothing where the interval is not telling")
    telling: bool = Field(True, description="Whether the interval is narrow enough to name one number")


class LabelFiguresBody(BaseModel):
    """What answers say of the model on the whole table; null: they do not say it yet, `notes` tell why."""

    labels: int
    frauds: int
    threshold: float
    precision: FigureWithInterval | None
    recall: FigureWithInterval | None
    average_precision: FigureWithInterval | None
    fraud_rate: FigureWithInterval | None
    notes: list[str]


class QuestionBody(BaseModel):
    row: int
    why: Literal["highest", "threshold", "disagreement", "diverse", "random"]
    score: float
    anomaly: float | None
    values: dict[str, Any] = Field(description="The row as it is in the table")
    reasons: list[tuple[str, float]] = Field(description="What moves its score most, and how far")


class LabelsBody(BaseModel):
    dataset: str
    rows: int = Field(description="Rows with a label")
    frauds: int
    labels: list[RowLabel]
    model: str | None = Field(description="The model that the questions are about")
    questions: list[QuestionBody] = Field(description="Those without a label yet, in the order of asking")
    figures: LabelFiguresBody | None


class InspectionBody(BaseModel):
    """A check, a comparison or a learning of a model on a table; `result` is there once it is done."""

    model_config = ConfigDict(protected_namespaces=())

    id: str
    kind: Literal["questions", "learning", "monitor", "comparison", "transfer"]
    job: str | None
    status: Literal["queued", "running", "done", "failed", "cancelled"]
    dataset: str | None
    model_name: str
    version: str
    other_version: str | None
    result: dict[str, Any] | None
    error: str | None
    created_at: datetime
    finished_at: datetime | None


class MonitorBody(BaseModel):
    """The latest finished check of a version, and all checks with their results, newest first."""

    latest: InspectionBody | None
    history: list[InspectionBody]


class MonitorRequest(BaseModel):
    """A table to check a version on. Outcomes: a column of it, or another table of yours, joined by `identifier`."""

    model_config = ConfigDict(extra="forbid")

    dataset: str
    outcomes: str | None = Field(None, description="Dataset id of a table of identifiers and outcomes")
    identifier: str | None = Field(None, description="Column of both tables; guessed without it")
    label: str | None = Field(None, description="Column of the outcomes; the model's target without it")
    positive: str | None = Field(
        None, description="Value of that column that means fraud, where it is not clear"
    )
    time_column: str | None = None


class CompareRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    versions: list[str] = Field(
        min_length=2, max_length=2, description="Versions or aliases: a, and b beside it"
    )
    dataset: str
    label: str | None = Field(None, description="Column of the outcomes; the model's target without it")
    positive: str | None = Field(
        None, description="Value of that column that means fraud, where it is not clear"
    )


class RetrainRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    dataset: str
    version: str | None = Field(None, description="Version or alias to train again; the latest without it")
    budget_s: float | None = Field(
        None, ge=2, le=86400, description="Seconds of work, as of a training; as before without it"
    )


def inspection_body(row: Inspection, *, is_listed: bool = False) -> InspectionBody:
    """Describe an inspection; in a list its result is left out."""
    return InspectionBody.model_validate(
        {
            "id": row.id,
            "kind": row.kind,
            "job": row.job_id,
            "status": row.status,
            "dataset": row.dataset_id,
            "model_name": row.model_name,
            "version": row.version,
            "other_version": row.other_version,
            "result": None if is_listed else row.result,
            "error": row.error,
            "created_at": row.created_at,
            "finished_at": row.finished_at,
        }
    )


def accepted(row: Inspection, training: str | None = None) -> InspectionAccepted:
    return InspectionAccepted(
        job=row.job_id or "", status_url=f"/api/status/{row.job_id}", inspection=row.id, training=training
    )
