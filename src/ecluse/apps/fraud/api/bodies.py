"""Make the answers of the API from rows."""

from __future__ import annotations

from ecluse.apps.fraud.api.schemas import DatasetBody, PredictionBody, ReferenceBody, TrainingBody
from ecluse.apps.fraud.references import library
from ecluse.apps.fraud.rows import predictions, training
from ecluse.apps.fraud.rows.tables import Dataset, Prediction, ReferenceModel
from ecluse.apps.fraud.rows.training import TrainingRun
from ecluse.catalog import Transaction, models
from ecluse.catalog import aliases as alias_rows
from ecluse.jobs import Job
from ecluse.runtime import Runtime
from ecluse.web.api.bodies import model_body


def dataset_body(row: Dataset, owner: str | None = None) -> DatasetBody:
    """Describe a table. `owner`: the handle of its owner where that is not who asks, who is told less of it."""
    body = DatasetBody.model_validate(
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
            "layout": row.layout if row.layout and row.layout.get("preview") else None,
            "created_at": row.created_at,
        }
    )
    return body if owner is None else body.model_copy(update={"owner": owner, "job": None, "filepath": None})


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


def prediction_body(runtime: Runtime, row: Prediction, owner: str | None = None) -> PredictionBody:
    """Describe a scoring. `owner`: the handle of its owner where that is not who asks, who is told less of it."""
    body = PredictionBody.model_validate(
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
    if owner is None:
        return body
    return body.model_copy(
        update={"owner": owner, "job": None, "dataset": None, "key": None, "filepath": None}
    )


def reference_body(row: ReferenceModel) -> ReferenceBody:
    readable = library.is_readable(row)
    return ReferenceBody(
        name=row.name,
        domain=row.domain,
        version=row.version or None,
        rows=row.rows,
        fraud_rate=row.fraud_rate,
        columns=row.columns,
        performance=row.performance if readable else {},
        transfer=row.transfer,
        matchable=readable and bool(row.sketches),
        size_bytes=row.size_bytes,
        created_at=row.created_at,
    )


def trained_model(runtime: Runtime, transaction: Transaction, job: Job) -> dict[str, object] | None:
    """Return the version that a training published."""
    run = training.run_by_job(transaction, job.id)
    if run is None or run.status != "done":
        return None
    version = models.version_of(transaction, job.user_id, run.model_name, run.version)
    aliases = alias_rows.list_aliases(transaction, job.user_id, version.name)
    return model_body(version, aliases).model_dump(mode="json")


def made_ensemble(runtime: Runtime, transaction: Transaction, job: Job) -> dict[str, object] | None:
    """Return the version of an ensemble, with its members and how much each says."""
    run = training.run_by_job(transaction, job.id)
    if run is None or not run.version:
        return None
    version = models.version_of(transaction, job.user_id, run.model_name, run.version)
    aliases = alias_rows.list_aliases(transaction, job.user_id, version.name)
    members = {name: version.report.get(name) for name in ("matches", "weights", "warnings")}
    return model_body(version, aliases).model_dump(mode="json") | members


def scores(runtime: Runtime, transaction: Transaction, job: Job) -> dict[str, object] | None:
    """Return the scored table."""
    row = predictions.prediction_by_job(transaction, job.id)
    return None if row is None else prediction_body(runtime, row).model_dump(mode="json")
