"""Turn rows and jobs into the bodies the API answers with."""

from __future__ import annotations

from ecluse.catalog import models, predictions, training
from ecluse.catalog.tables import Dataset, ModelVersion, Prediction, TrainingRun
from ecluse.jobs import Job
from ecluse.runtime import Runtime
from ecluse.web.api.schemas import (
    DatasetBody,
    JobBody,
    ModelBody,
    PredictionBody,
    TrainingBody,
)

_SHOWN = ("average_precision", "roc_auc", "precision", "recall", "f1", "brier")


def dataset_body(row: Dataset) -> DatasetBody:
    return DatasetBody.model_validate(
        {
            "id": row.id,
            "filename": row.filename,
            "filepath": row.url,
            "size_bytes": row.size_bytes,
            "sha256": row.sha256,
            "state": row.state,
            "error": row.error,
            "rows": row.rows,
            "job": row.job_id,
            "created_at": row.created_at,
        }
    )


def model_body(runtime: Runtime, row: ModelVersion) -> ModelBody:
    metrics = row.report.get("metrics", {})
    return ModelBody(
        name=row.name,
        version=row.version,
        url=row.url,
        size_bytes=row.size_bytes,
        metrics={name: metrics.get(name) for name in _SHOWN},
        threshold=row.report.get("threshold"),
        created_at=row.created_at,
    )


def training_body(row: TrainingRun) -> TrainingBody:
    return TrainingBody.model_validate(
        {
            "id": row.id,
            "job": row.job_id,
            "dataset": row.dataset_id,
            "model_name": row.model_name,
            "version": row.version,
            "target_column": row.target_column,
            "status": row.status,
            "metrics": row.metrics,
            "model_path": row.model_path,
            "error": row.error,
            "created_at": row.created_at,
            "finished_at": row.finished_at,
        }
    )


def prediction_body(runtime: Runtime, row: Prediction) -> PredictionBody:
    return PredictionBody.model_validate(
        {
            "id": row.id,
            "job": row.job_id,
            "dataset": row.dataset_id,
            "model_name": row.model_name,
            "version": row.version,
            "format": row.format,
            "status": row.status,
            "key": row.key,
            "filepath": row.url,
            "download_url": f"/api/predictions/{row.id}/download" if row.key else None,
            "rows": row.rows,
            "flagged": row.flagged,
            "error": row.error,
            "created_at": row.created_at,
            "finished_at": row.finished_at,
        }
    )


def job_body(job: Job) -> JobBody:
    return JobBody.model_validate(
        {name: getattr(job, name) for name in JobBody.model_fields if name != "result"}
    )


def job_result(runtime: Runtime, job: Job) -> dict[str, object] | None:
    """What a finished job made: a profile, a model version or a prediction."""
    if job.status != "done":
        return None
    with runtime.catalog.read() as transaction:
        if job.kind == "train" and (run := training.run_by_job(transaction, job.id)) and run.status == "done":
            version = models.version_of(transaction, job.user_id, run.model_name, run.version)
            return model_body(runtime, version).model_dump(mode="json")
        if job.kind == "predict" and (row := predictions.prediction_by_job(transaction, job.id)):
            return prediction_body(runtime, row).model_dump(mode="json")
    return dict(job.subject)
