"""Say where the results of this application's jobs are, and where to go on from one that came to nothing."""

from __future__ import annotations

from ecluse.apps.fraud.rows import inspections, predictions, training
from ecluse.apps.fraud.rows.tables import Inspection
from ecluse.catalog import Transaction
from ecluse.jobs import Job, Link
from ecluse.models import page_of, segment_of
from ecluse.sentences import N_


def profiled_table(transaction: Transaction, job: Job) -> Link | None:
    return _table(job.subject["dataset_id"])


def trained_model(transaction: Transaction, job: Job) -> Link | None:
    run = training.run_by_job(transaction, job.id)
    if run is None or run.version is None or run.status != "done":
        return None
    return _model(run.model_name, run.version)


def train_again(transaction: Transaction, job: Job) -> tuple[Link, ...]:
    run = training.run_by_job(transaction, job.id)
    if run is None or run.dataset_id is None:
        return ()
    return Link(f"/fraud/d/{run.dataset_id}#train", N_("Train again")), _table(run.dataset_id)


def match_again(transaction: Transaction, job: Job) -> tuple[Link, ...]:
    run = training.run_by_job(transaction, job.id)
    if run is None or run.dataset_id is None:
        return ()
    return Link(f"/fraud/m/{run.dataset_id}", N_("Match again")), _table(run.dataset_id)


def scores(transaction: Transaction, job: Job) -> Link | None:
    prediction = predictions.prediction_by_job(transaction, job.id)
    return Link(f"/fraud/p/{prediction.id}", N_("Open the scores")) if prediction else None


def score_again(transaction: Transaction, job: Job) -> tuple[Link, ...]:
    prediction = predictions.prediction_by_job(transaction, job.id)
    if prediction is None:
        return ()
    model = _model(prediction.model_name, prediction.version)
    return (_table(prediction.dataset_id), model) if prediction.dataset_id else (model,)


def inspection(transaction: Transaction, job: Job) -> Link | None:
    """Return where what a monitoring, a comparison or a retraining has found is shown."""
    row = inspections.inspection_by_job(transaction, job.id)
    if row is None:
        return None
    if row.kind == "monitor":
        href = f"{page_of(row.model_name, row.version)}/monitor?look={row.id}"
        return Link(href, N_("Open what was found"))
    return Link(f"/models/{segment_of(row.model_name)}/compare/{row.id}", N_("Open the comparison"))


def monitor_again(transaction: Transaction, job: Job) -> tuple[Link, ...]:
    row = inspections.inspection_by_job(transaction, job.id)
    if row is None:
        return ()
    return (Link(f"{page_of(row.model_name, row.version)}/monitor", N_("Monitor the model")),)


def labelling(transaction: Transaction, job: Job) -> Link | None:
    """Return where rows are labelled, or the version that was learned from them."""
    row = inspections.inspection_by_job(transaction, job.id)
    return None if row is None else _labelling(row)


def label_again(transaction: Transaction, job: Job) -> tuple[Link, ...]:
    row = inspections.inspection_by_job(transaction, job.id)
    return (_labelling(row),) if row is not None and row.dataset_id else ()


def reference(transaction: Transaction, job: Job) -> Link | None:
    return Link(f"/fraud/references/{job.title}", N_("Open the reference"))


def _labelling(row: Inspection) -> Link:
    if row.kind == inspections.LEARNING and row.other_version:
        return _model(row.model_name, row.other_version)
    model = f"{row.model_name}@{row.version}"
    return Link(f"/datasets/{row.dataset_id}/label?model={model}", N_("Label rows"))


def _model(name: str, version: str) -> Link:
    return Link(page_of(name, version), N_("Open the model"))


def _table(dataset_id: str) -> Link:
    return Link(f"/fraud/d/{dataset_id}", N_("Open the table"))
