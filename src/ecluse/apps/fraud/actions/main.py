"""Take tables in, ask for trainings and scorings, stop and remove them: what a page, the API or a command does.

Each function checks what is asked, writes a row and queues a job; it is quick and imports nothing heavy. What the
jobs then do stands in `jobs/`.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from anyio import to_thread

from ecluse import unclaimed
from ecluse.apps.fraud.actions.versions import expect_may_score
from ecluse.apps.fraud.goal import Goal
from ecluse.apps.fraud.performance.reports import read_trained_report
from ecluse.apps.fraud.rows import datasets, predictions, training
from ecluse.apps.fraud.rows.tables import Dataset, Prediction
from ecluse.apps.fraud.rows.training import TrainingRun
from ecluse.apps.fraud.scoring.formats import DEFAULT, ResultName
from ecluse.apps.fraud.tables.meaning import candidates, meaning_in_profile, require_meaning
from ecluse.apps.fraud.training.plan import TrainingPlan
from ecluse.apps.fraud.training.request import TrainingRequest
from ecluse.catalog import audit, models, quotas, work
from ecluse.catalog.fences import not_counted
from ecluse.catalog.tables import new_id, now
from ecluse.errors import CannotRepeat, InvalidInput, NotFound
from ecluse.jobs import title_of
from ecluse.models import place_of
from ecluse.registry import checked_name
from ecluse.runtime import Runtime, predictions_prefix, uploads_prefix
from ecluse.sentences import _
from ecluse.storage import Stored, is_within, join_key, read_chunks, safe_filename, timestamp
from ecluse.storage.to_the_end import to_the_end
from ecluse.tabular.layout import LOOK, Layout

Reasons = Literal["all", "risky", "none"]


# Tables


async def store_upload(runtime: Runtime, user_id: str, filename: str, chunks: AsyncIterator[bytes]) -> Stored:
    """Stream a table from a request into the store; `record_dataset` then makes it the user's.

    Raises:
        UploadTooLarge, InvalidInput: from `chunks`; nothing is kept.
    """
    key = _upload_key(user_id, filename)
    await to_thread.run_sync(unclaimed.expect, runtime, key)
    try:
        return await runtime.data.put_stream_async(key, chunks)
    except CancelledError:  # it may have been written all the same
        await to_the_end(runtime.data.delete, key)
        raise


def add_table(
    runtime: Runtime, user_id: str, filename: str, chunks: Iterable[bytes], layout: Layout = LOOK
) -> Dataset:
    """Store a table from chunks at hand, such as those of a local file, and record it."""
    key = _upload_key(user_id, filename)
    unclaimed.expect(runtime, key)
    stored = runtime.data.put_stream(key, chunks)
    return record_dataset(runtime, user_id, filename, stored, layout)


def record_dataset(
    runtime: Runtime, user_id: str, filename: str, stored: Stored, layout: Layout = LOOK
) -> Dataset:
    """Make a stored table the user's and queue its profile; all of it, or nothing at all.

    `layout` is the sheet and the row of names that a person chose; what it leaves open is found as it is profiled.
    """
    dataset = Dataset(
        id=new_id(),
        user_id=user_id,
        filename=Path(filename.replace("\\", "/")).name[:300] or "table",
        key=stored.key,
        url=runtime.data.url_of(stored.key),
        size_bytes=stored.size,
        sha256=stored.sha256,
        layout=layout.to_dict() | {"asked": layout.asked},
        created_at=now(),
    )
    dataset.job_id = f"profile-{dataset.id}"
    try:
        with runtime.catalog.write() as transaction:
            quotas.expect_to_keep(transaction, user_id, stored.size)
            datasets.add_dataset(transaction, dataset)
            audit.record(transaction, user_id, "dataset.upload", dataset.filename, bytes=stored.size)
            with not_counted():  # the upload was
                runtime.jobs.enqueue(
                    "profile", "profile", user_id, dataset.filename, {"dataset_id": dataset.id},
                    job_id=dataset.job_id, transaction=transaction,
                )  # fmt: skip
    except Exception:
        runtime.data.delete(stored.key)
        raise
    return dataset


def add_sample(runtime: Runtime, user_id: str) -> tuple[Dataset, Dataset]:
    """Put the labelled and the unlabelled sample among the user's tables, unless they are there already."""
    from ecluse.apps.fraud.sample import write_sample

    with runtime.catalog.read() as transaction:
        known = {
            row.filename: row for row in datasets.list_datasets(transaction, user_id) if row.error is None
        }
    if {"transactions.csv", "to_score.csv"} <= known.keys():
        return known["transactions.csv"], known["to_score.csv"]
    with runtime.scratch() as folder:
        paths = write_sample(folder)
        labelled, unlabelled = (
            known.get(path.name) or add_table(runtime, user_id, path.name, read_chunks(path))
            for path in (paths.labelled, paths.unlabelled)
        )
    return labelled, unlabelled


def find_dataset(runtime: Runtime, user_id: str, dataset: str) -> Dataset:
    """Find the user's dataset by its id, or by the address that its upload returned.

    Raises:
        NotFound: there is none, or it is not for the user.
        Forbidden: it is someone else's, and shared with the user to be read.
    """
    with runtime.catalog.read() as transaction:
        if "/" in dataset:
            return datasets.dataset_by_url(transaction, user_id, dataset)
        return datasets.dataset_of(transaction, user_id, dataset)


def find_readable(runtime: Runtime, reader_id: str, dataset: str) -> Dataset:
    """Find a dataset that this person may see, by its id; one of their own also by the address of its upload.

    Raises:
        NotFound: there is none, or it is not for them.
    """
    with runtime.catalog.read() as transaction:
        if "/" in dataset:
            return datasets.dataset_by_url(transaction, reader_id, dataset)
        return datasets.readable_dataset(transaction, reader_id, dataset)


def read_again(runtime: Runtime, user_id: str, dataset_id: str, layout: Layout) -> Dataset:
    """Read a stored table from another sheet, or with its names in another row, and queue its profile.

    Raises:
        InvalidInput: it has neither, is being read, or something was made from it as it is read now.
    """
    dataset = find_dataset(runtime, user_id, dataset_id)
    job_id = f"profile-{dataset.id}-{new_id()}"
    with runtime.catalog.write() as transaction:
        # Of two that ask at the same moment the row of work lets one through; what was read before that may be old.
        if not work.queue_again(transaction, dataset.id, job_id):
            raise InvalidInput(
                _("%(file)s is being read. Wait for the end, then choose.", file=dataset.filename)
            )
        dataset = datasets.dataset_of(transaction, user_id, dataset.id)
        if not dataset.layout or not dataset.layout.get("preview"):
            raise InvalidInput(
                _(
                    "%(file)s is read in one way only. Upload it again to read it otherwise.",
                    file=dataset.filename,
                )
            )
        if datasets.is_used(transaction, dataset.id):
            raise InvalidInput(
                _(
                    "Something was made from %(file)s as it is read now, and would mean other columns. "
                    "Upload the file again to read it otherwise.",
                    file=dataset.filename,
                )
            )
        subject = {"dataset_id": dataset.id, "layout": layout.to_dict() | {"asked": layout.asked}}
        with not_counted():
            runtime.jobs.enqueue(
                "profile",
                "profile",
                user_id,
                dataset.filename,
                subject,
                job_id=job_id,
                transaction=transaction,
            )
    return dataset


def find_same_table(
    runtime: Runtime, user_id: str, filename: str, sha256: str, layout: Layout = LOOK
) -> Dataset | None:
    """Find the user's table of this name and content that was read as `layout` asks, if there is one."""
    with runtime.catalog.read() as transaction:
        same = datasets.ready_datasets(transaction, user_id, filename, sha256)
    return next((row for row in same if (row.layout or {}).get("asked") == layout.asked), None)


def remove_dataset(runtime: Runtime, user_id: str, dataset_id: str) -> None:
    """Delete a table. Models and predictions made from it stay."""
    dataset = find_dataset(runtime, user_id, dataset_id)
    with runtime.catalog.write() as transaction:
        url = datasets.remove_dataset(transaction, user_id, dataset.id)
        if url is None:
            return
        audit.record(transaction, user_id, "dataset.remove", dataset.filename)
    runtime.stores.remove(url)


# Training and scoring


def start_training(runtime: Runtime, user_id: str, dataset_id: str, request: TrainingRequest) -> TrainingRun:
    """Queue a training.

    Raises:
        InvalidInput: a choice cannot be used with this table.
        NotFound: the user has no such dataset.
    """
    request.check()
    dataset = find_dataset(runtime, user_id, dataset_id)
    # A table that is still being read is planned for once its profile is there, so that the guesses count.
    waits = dataset.state == "profiling"
    plan = {"request": request.to_dict()} if waits else plan_training(dataset, request).to_dict()
    target = str(plan.get("target") or request.target_column or "")
    return _queue_training(runtime, user_id, dataset, checked_name(request.model_name), target, plan)


def start_repeat(runtime: Runtime, user_id: str, run_id: str) -> TrainingRun:
    """Queue a training that makes the version of an earlier one again, file by file, without a clock.

    Raises:
        NotFound: the user has no such training, or its table or its version was deleted.
        CannotRepeat: it cannot be made again.
    """
    with runtime.catalog.read() as transaction:
        before = training.run_of(transaction, user_id, run_id)
        if before.version is None or before.status != "done":
            raise CannotRepeat(
                _("Training %(id)s has published nothing that could be made again. Train anew.", id=run_id)
            )
        version = models.version_of(transaction, user_id, before.model_name, before.version)
        if before.plan.get("kind") == "ensemble" or read_trained_report(version.report).held_out is not None:
            raise CannotRepeat(
                _(
                    "Training %(id)s is no search on a whole table; only such trainings can be made again.",
                    id=run_id,
                )
            )
        if before.dataset_id is None:
            raise CannotRepeat(
                _("The table of training %(id)s was deleted. Upload it and train anew.", id=run_id)
            )
        dataset = datasets.dataset_of(transaction, user_id, before.dataset_id)
    return _queue_training(
        runtime, user_id, dataset, before.model_name, before.target_column, before.plan, repeats=before.id
    )


def _queue_training(
    runtime: Runtime,
    user_id: str,
    dataset: Dataset,
    model_name: str,
    target: str,
    plan: Mapping[str, Any],
    **repeated: str,
) -> TrainingRun:
    """Write the rows of a training and queue its job; `repeats` names the run that it repeats."""
    with runtime.catalog.write() as transaction:
        run = training.add_run(
            transaction,
            training.NewTraining(
                user_id=user_id,
                job_id=new_id(),
                dataset_id=dataset.id,
                model_name=model_name,
                target_column=target,
                plan=plan,
                tags=repeated,
            ),
        )
        datasets.touch_dataset(transaction, dataset.id)
        audit.record(transaction, user_id, "model.train", model_name, dataset=dataset.filename)
        title, subject = title_of(model_name, dataset.filename), {"run_id": run.id, **repeated}
        runtime.jobs.enqueue(
            "train", "train", user_id, title, subject, job_id=run.job_id, transaction=transaction
        )
    return run


def plan_training(dataset: Dataset, request: TrainingRequest) -> TrainingPlan:
    """Fill the gaps of a request from the profile of its table."""
    if dataset.state == "failed":
        raise InvalidInput(
            _("%(file)s could not be read: %(error)s", file=dataset.filename, error=dataset.error)
        )
    guesses = (dataset.profile or {}).get("guesses", {})
    target = request.target_column or _guessed(guesses, "target")
    if target is None:
        raise InvalidInput(_no_label(dataset.profile))
    identifiers = request.identifier_columns
    if identifiers is None:
        identifiers = tuple(guess["column"] for guess in guesses.get("identifiers", []))
    time_column = request.time_column or (
        None if "time" in request.without else _guessed(guesses, "timestamp")
    )
    customer = request.customer_column or (
        None if "customer" in request.without else _guessed(guesses, "customer")
    )
    chosen = (target, time_column, customer, *identifiers, *request.excluded, *request.keep)
    named = [c for c in chosen if c is not None]
    _check_columns(dataset, named)
    goal = Goal.parse(request.goal)
    _check_goal(dataset, goal.kind, time_column)
    meaning = meaning_in_profile(dataset.profile, target, request.positive_value)
    positive = request.positive_value if meaning is None else require_meaning(meaning)
    return TrainingPlan(
        target,
        positive_value=positive,
        time_column=None if time_column == target else time_column,
        customer_column=None if customer == target else customer,
        identifier_columns=tuple(c for c in identifiers if c != target),
        excluded=tuple(c for c in request.excluded if c != target),
        keep=tuple(c for c in request.keep if c != target),
        budget_s=request.budget_s,
        goal=goal,
        seed=request.seed,
        refit=request.refit,
    )


@dataclass(frozen=True)
class ScoringRequest:
    """With which version of a model to score a table, and how; the latest version when none is named.

    `model_name` is @OWNER/NAME of a model that is shared.

    `reasons` says which rows are explained. Explaining a row costs a hundred times its score. `columns`
    {the model's: the table's} says what the table calls a column of the model.
    """

    model_name: str
    version: str | None = None
    result_format: ResultName = DEFAULT
    reasons: Reasons = "risky"
    columns: Mapping[str, str] = field(default_factory=dict)


def start_prediction(runtime: Runtime, user_id: str, dataset_id: str, request: ScoringRequest) -> Prediction:
    """Queue the scoring of a table that the user may see; the scores are the user's.

    Raises:
        NotFound, ModelNotFound, VersionNotFound: not there, or the user may not see it.
        InvalidInput: the table could not be read, or has no such column; the model is of another application.
    """
    dataset = find_readable(runtime, user_id, dataset_id)
    if dataset.state == "failed":
        raise InvalidInput(
            _("%(file)s could not be read: %(error)s", file=dataset.filename, error=dataset.error)
        )
    _check_columns(dataset, list(request.columns.values()))
    job_id = new_id()
    with runtime.catalog.write() as transaction:
        place = place_of(transaction, user_id, request.model_name)
        model = expect_may_score(models.version_of(transaction, place.owner_id, place.name, request.version))
        prediction = predictions.add_prediction(
            transaction,
            Prediction(
                user_id=user_id,
                job_id=job_id,
                dataset_id=dataset.id,
                model_name=place.address,
                version=model.version,
                format=request.result_format,
            ),
        )
        if dataset.user_id == user_id:
            datasets.touch_dataset(transaction, dataset.id)
        audit.record(transaction, user_id, "model.predict", place.address, dataset=dataset.filename)
        title = title_of(model.name, dataset.filename)
        subject = {
            "prediction_id": prediction.id,
            "reasons": request.reasons,
            "columns": dict(request.columns),
        }
        runtime.jobs.enqueue(
            "predict", "predict", user_id, title, subject, job_id=job_id, transaction=transaction
        )
    return prediction


def prediction_by_owned_key(runtime: Runtime, user_id: str, key: str) -> Prediction:
    """Find the user's finished prediction at a key.

    Raises:
        NotFound: the key is not under this user's predictions, segment by segment, or no row of theirs has it.
    """
    if not is_within(key, predictions_prefix(user_id)):
        raise NotFound(
            _("No prediction of yours is stored at %(value)s. See: GET /api/predictions", value=key)
        )
    with runtime.catalog.read() as transaction:
        return predictions.prediction_by_key(transaction, user_id, key)


def _upload_key(user_id: str, filename: str) -> str:
    unique = f"{user_id}_{timestamp()}_{new_id()[:6]}_{safe_filename(filename)}"
    return join_key(uploads_prefix(user_id), unique)


def _check_goal(dataset: Dataset, goal: str, time_column: str | None) -> None:
    """Alerts per day need dates: a counter or a year does not say how long a day is."""
    if goal != "alerts_per_day":
        return
    kinds = {column["name"]: column["kind"] for column in (dataset.profile or {"columns": []})["columns"]}
    if time_column is None or kinds.get(time_column) != "datetime":
        what = (
            _("%(column)s holds no dates", column=repr(time_column))
            if time_column
            else _("no time column is chosen")
        )
        raise InvalidInput(
            _(
                "A number of alerts per day needs a column of dates, and %(trouble)s. Choose another goal.",
                trouble=what,
            )
        )


def _no_label(profile: dict[str, Any] | None) -> str:
    shown = [
        f"{candidate.column} ({', '.join(f'{value}: {share:.1%}' for value, share in candidate.meaning.values[:3])})"
        for candidate in candidates(profile)
    ]
    if not shown:
        return _(
            "No label column could be guessed. Name it: in the form, with --target COLUMN, or as "
            "target_column in the API."
        )
    return _(
        "No label column could be guessed. Name it: in the form, with --target COLUMN, or as "
        "target_column in the API. Columns of few values: %(values)s.",
        values="; ".join(shown),
    )


def _guessed(guesses: dict[str, Any], role: str) -> str | None:
    guess = guesses.get(role)
    return None if guess is None else str(guess["column"])


def _check_columns(dataset: Dataset, columns: list[str]) -> None:
    if dataset.profile is None:
        return
    known = {column["name"] for column in dataset.profile["columns"]}
    missing = [column for column in columns if column not in known]
    if missing:
        raise InvalidInput(
            _(
                "%(file)s has no column %(column)s. It has: %(columns)s.",
                file=dataset.filename,
                column=", ".join(map(repr, missing)),
                columns=", ".join(sorted(known)[:30]),
            )
        )
