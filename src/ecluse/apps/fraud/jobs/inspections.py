"""Share what every job does that has a row of inspections: read the row, fetch the version, record the result."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecluse import models
from ecluse.apps.fraud.jobs.tables import table_of
from ecluse.apps.fraud.rows import datasets, inspections
from ecluse.apps.fraud.rows.tables import Dataset, Inspection
from ecluse.catalog import models as model_rows
from ecluse.catalog.tables import ModelVersion
from ecluse.errors import JobCancelled
from ecluse.jobs import Task
from ecluse.runtime import Runtime
from ecluse.sentences import _

if TYPE_CHECKING:
    pass


def record_result(
    runtime: Runtime, inspection_id: str, result: dict[str, Any], other_version: str | None = None
) -> None:
    with runtime.catalog.write() as transaction:
        recorded = inspections.set_done(transaction, inspection_id, result, other_version=other_version)
    if not recorded:
        raise JobCancelled(_("The job was cancelled."))


def inspection_and_table(runtime: Runtime, task: Task, inspection_id: str) -> tuple[Inspection, Dataset]:
    with runtime.catalog.read() as transaction:
        inspection = inspections.inspection_of(transaction, task.user_id, inspection_id)
    dataset = table_of(runtime, task.user_id, inspection.dataset_id)
    while dataset.state == "profiling":
        task.report("read", 0.0, _("Waiting for the table to be read"))
        time.sleep(0.5)
        with runtime.catalog.read() as transaction:
            dataset = datasets.dataset_of(transaction, task.user_id, dataset.id)
    return inspection, dataset


def inspected_version(runtime: Runtime, inspection: Inspection, version: str) -> ModelVersion:
    with runtime.catalog.read() as transaction:
        return model_rows.version_of(transaction, inspection.user_id, inspection.model_name, version)


def checked_out(runtime: Runtime, version: ModelVersion, destination: Path) -> Path:
    """Return the verified files of a version, for reading only."""
    models.checkout(runtime, version, destination)
    return destination


def scoring_progress(task: Task, dataset: Dataset, share: float) -> Callable[[int], None]:
    total = max(dataset.rows or 0, 1)
    return lambda rows: task.report(
        "score", min(rows / total, 1) * share, _("%(done)s / %(total)s", done=rows, total=total)
    )
