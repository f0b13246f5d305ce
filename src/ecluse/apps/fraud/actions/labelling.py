"""Ask for labels of a table, take them, and learn from them: what a page, the API or a command does.

Each function checks, writes a row and queues a job; it is quick and imports nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ecluse import models
from ecluse.apps.fraud.actions.main import find_dataset
from ecluse.apps.fraud.actions.versions import expect_may_score
from ecluse.apps.fraud.rows import datasets, inspections, labels
from ecluse.apps.fraud.rows.datasets import layout_of
from ecluse.apps.fraud.rows.tables import Dataset, Inspection
from ecluse.catalog import audit
from ecluse.catalog.tables import new_id
from ecluse.errors import InvalidInput
from ecluse.jobs import title_of
from ecluse.runtime import Runtime
from ecluse.sentences import _, num

FEWEST, MOST, QUESTIONS = 5, 200, 40
MOST_LABELS: Final = 20_000
RATES: Final = (0.0001, 0.5)
QUEUE: Final = "predict"
#: Kind of inspection → kind of job.
JOBS: Final = {"questions": "questions", "learning": "learn", "monitor": "monitor", "comparison": "compare"}


def start_questions(
    runtime: Runtime, user_id: str, dataset_id: str, model: str, *, count: int = QUESTIONS, seed: int = 0
) -> Inspection:
    """Queue the choice of the rows of a table whose label would tell most of a model (NAME, NAME@VERSION).

    Raises:
        NotFound, ModelNotFound, VersionNotFound: not the user's, or not there.
        InvalidInput: the table could not be read, or so many questions are not asked.
    """
    if not FEWEST <= count <= MOST:
        raise InvalidInput(
            _(
                "%(count)s questions are out of range; ask %(least)s to %(most)s.",
                count=count,
                least=FEWEST,
                most=MOST,
            )
        )
    return queue_inspection(runtime, user_id, "questions", dataset_id, model, {"count": count, "seed": seed})


def start_learning(
    runtime: Runtime,
    user_id: str,
    dataset_id: str,
    model: str,
    *,
    fraud_rate: float | None = None,
    seed: int = 0,
) -> Inspection:
    """Queue learning from the labels of a table: a new version of the model, on a better scale or in a better order.

    `fraud_rate` is what is held to be true beforehand; the model's own without it.

    Raises:
        InvalidInput: the table has too few labels, or the rate is none.
    """
    low, high = RATES
    if fraud_rate is not None and not low <= fraud_rate <= high:
        raise InvalidInput(
            _(
                "A fraud rate of %(number)s is out of range; use %(count)s to %(total)s, such as 0.01.",
                number=num(fraud_rate, "g"),
                count=num(low, "g"),
                total=num(high, "g"),
            )
        )
    dataset = find_dataset(runtime, user_id, dataset_id)
    with runtime.catalog.read() as transaction:
        rows, frauds = labels.count_labels(transaction, user_id, dataset.id)
    check_labels(rows, frauds)
    request = {"fraud_rate": fraud_rate, "seed": seed}
    return queue_inspection(runtime, user_id, "learning", dataset_id, model, request)


def check_labels(rows: int, frauds: int) -> None:
    """`InvalidInput` for labels too few to learn from."""
    least = 3
    if min(frauds, rows - frauds) < least:
        raise InvalidInput(
            _(
                "%(done)s of %(count)s labels are fraud; at least %(least)s of each kind are needed "
                "to learn. Label more rows.",
                done=frauds,
                count=rows,
                least=least,
            )
        )


def put_labels(
    runtime: Runtime, user_id: str, dataset_id: str, given: Mapping[int, int | None]
) -> tuple[int, int]:
    """Note labels {row from 1: 1 fraud, 0 legitimate, None to forget}; how many rows have one now, and frauds.

    Raises:
        InvalidInput: no such row, no such label, or more labels than are kept of a table.
    """
    dataset = find_dataset(runtime, user_id, dataset_id)
    _check(dataset, given)
    with runtime.catalog.write() as transaction:
        known = labels.labels_of(transaction, user_id, dataset.id)
        kept = {row: label for row, label in (known | dict(given)).items() if label is not None}
        if len(kept) > MOST_LABELS:
            raise InvalidInput(
                _(
                    "%(count)s labels are more than %(most)s, which are kept of a table. Add them as a "
                    "column and train a model.",
                    count=len(kept),
                    most=MOST_LABELS,
                )
            )
        said = {row: label for row, label in given.items() if label is not None}
        labels.remove_labels(transaction, dataset.id, [row for row, label in given.items() if label is None])
        labels.put_labels(transaction, user_id, dataset.id, said)
        datasets.touch_dataset(transaction, dataset.id)
        audit.record(transaction, user_id, "labels.put", dataset.filename, rows=len(given))
    return len(kept), sum(kept.values())


def labels_from_table(runtime: Runtime, user_id: str, dataset_id: str) -> dict[int, int]:
    """Return the labels of an uploaded table with the columns row (from 1) and label (0 or 1, yes or no, fraud …).

    Raises:
        InvalidInput: it has other columns, other values, or more rows than labels are kept of a table.
    """
    from ecluse.apps.fraud.actions.uploads import labels_of_upload

    dataset = find_dataset(runtime, user_id, dataset_id)
    located = runtime.stores.locate(dataset.url)
    with runtime.scratch() as folder:
        path = folder / "labels"
        located.store.download(located.key, path, sha256=dataset.sha256)
        memory = runtime.settings.reader_max_bytes
        return labels_of_upload(path, dataset.filename, layout_of(dataset), most=MOST_LABELS, memory=memory)


def latest_questions(
    runtime: Runtime, user_id: str, dataset_id: str, model: str | None = None
) -> Inspection | None:
    """Return the questions last chosen for a table (and a version: NAME, NAME@VERSION), None where there are none yet.

    Raises ModelNotFound, VersionNotFound.
    """
    used = None if model is None else models.resolve(runtime, user_id, model)
    with runtime.catalog.read() as transaction:
        newest = inspections.list_inspections(
            transaction,
            user_id,
            inspections.InspectionFilter(
                kind="questions",
                dataset_id=dataset_id,
                model_name=used.name if used else None,
                version=used.version if used else None,
                status="done",
            ),
            limit=1,
        )
    return newest[0] if newest else None


def queue_inspection(
    runtime: Runtime,
    user_id: str,
    kind: str,
    dataset_id: str,
    model: str,
    request: Mapping[str, Any],
    *,
    other_version: str | None = None,
) -> Inspection:
    """Write the row of an inspection and queue its job."""
    dataset = find_dataset(runtime, user_id, dataset_id)
    if dataset.state == "failed":
        raise InvalidInput(
            _("%(file)s could not be read: %(error)s", file=dataset.filename, error=dataset.error)
        )
    used = expect_may_score(models.resolve(runtime, user_id, model))
    inspection = Inspection(
        user_id=user_id,
        kind=kind,
        job_id=new_id(),
        dataset_id=dataset.id,
        model_name=used.name,
        version=used.version,
        other_version=other_version,
        request=dict(request),
    )
    with runtime.catalog.write() as transaction:
        inspections.add_inspection(transaction, inspection)
        datasets.touch_dataset(transaction, dataset.id)
        audit.record(transaction, user_id, f"model.{JOBS[kind]}", used.name, dataset=dataset.filename)
        runtime.jobs.enqueue(
            JOBS[kind], QUEUE, user_id, title_of(used.name, dataset.filename), {"inspection_id": inspection.id},
            job_id=inspection.job_id, transaction=transaction,
        )  # fmt: skip
    return inspection


def _check(dataset: Dataset, given: Mapping[int, int | None]) -> None:
    if dataset.rows is None:
        raise InvalidInput(_("%(file)s has not been read yet. Wait until it is.", file=dataset.filename))
    for row, label in given.items():
        if not 1 <= row <= dataset.rows:
            raise InvalidInput(
                _(
                    "%(file)s has no row %(number)s; its rows are 1 to %(count)s.",
                    file=dataset.filename,
                    number=row,
                    count=dataset.rows,
                )
            )
        if label not in (0, 1, None):
            raise InvalidInput(_('"%(value)s" is no label. Use 1 or fraud, 0 or legitimate.', value=label))
