"""Take tables in, train on them and score them: what a page, the API or a command asks for, and the jobs that do it.

The `start_…` functions check, write a row and queue a job; they are quick and import nothing heavy. The
`run_…` functions are those jobs: they read at the start, compute with the pure functions of this package,
write at the end, and leave the same result when a crash makes them run again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from ecluse.catalog import audit, datasets, models, predictions, training
from ecluse.catalog.tables import Dataset, ModelVersion, Prediction, TrainingRun, new_id, now
from ecluse.errors import DigestMismatch, InvalidInput, JobCancelled, NotFound
from ecluse.jobs import JobKind, Task
from ecluse.registry import Manifest, ManifestFile, checked_name
from ecluse.runtime import Runtime, predictions_prefix, uploads_prefix
from ecluse.storage import Stored, is_within, join_key, read_chunks, safe_filename, timestamp

ResultFormat = Literal["csv", "parquet"]
Reasons = Literal["all", "risky", "none"]
MIN_BUDGET: Final = 5.0
MAX_BUDGET: Final = 24 * 3600.0
#: What of a report is kept in `training_history.metrics` for lists.
SUMMARY: Final = ("average_precision", "roc_auc", "precision", "recall", "f1", "brier")


@dataclass(frozen=True)
class TrainingRequest:
    """What a person may choose; what is left out is guessed from the table's profile."""

    model_name: str
    target_column: str | None = None
    positive_value: str | None = None
    time_column: str | None = None
    customer_column: str | None = None
    identifier_columns: tuple[str, ...] | None = None
    excluded: tuple[str, ...] = ()
    budget_s: float = 60.0
    goal: str = "f1"
    seed: int = 0
    #: Choices that mean "none", although the profile guesses one.
    without: frozenset[Literal["time", "customer"]] = field(default_factory=frozenset)


# Tables


async def store_upload(runtime: Runtime, user_id: str, filename: str, chunks: AsyncIterator[bytes]) -> Stored:
    """Stream a table from a request into the store; `record_dataset` then makes it the user's.

    Raises:
        UploadTooLarge, InvalidInput: from `chunks`; nothing is kept.
    """
    return await runtime.store.put_stream_async(_upload_key(user_id, filename), chunks)


def add_table(runtime: Runtime, user_id: str, filename: str, chunks: Iterable[bytes]) -> Dataset:
    """Store a table from chunks at hand, such as those of a local file, and record it."""
    stored = runtime.store.put_stream(_upload_key(user_id, filename), chunks)
    return record_dataset(runtime, user_id, filename, stored)


def record_dataset(runtime: Runtime, user_id: str, filename: str, stored: Stored) -> Dataset:
    """Make a stored table the user's and queue its profile; all of it, or nothing at all."""
    dataset = Dataset(
        id=new_id(),
        user_id=user_id,
        filename=Path(filename.replace("\\", "/")).name[:300] or "table",
        key=stored.key,
        url=runtime.store.url_of(stored.key),
        size_bytes=stored.size,
        sha256=stored.sha256,
        created_at=now(),
    )
    dataset.job_id = f"profile-{dataset.id}"
    try:
        with runtime.catalog.write() as transaction:
            datasets.add_dataset(transaction, dataset)
            audit.record(transaction, user_id, "dataset.upload", dataset.filename, bytes=stored.size)
    except Exception:
        runtime.store.delete(stored.key)
        raise
    subject = {"dataset_id": dataset.id}
    try:
        runtime.jobs.enqueue("profile", "profile", user_id, dataset.filename, subject, job_id=dataset.job_id)
    except Exception:
        remove_dataset(runtime, user_id, dataset.id)
        raise
    return dataset


def add_sample(runtime: Runtime, user_id: str) -> tuple[Dataset, Dataset]:
    """Put the labelled and the unlabelled sample among the user's tables, unless they are there already."""
    from ecluse.fraud.sample import write_sample

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
    """The user's dataset by its id, or by the address that its upload returned.

    Raises:
        NotFound: there is none, or it is someone else's.
    """
    with runtime.catalog.read() as transaction:
        if "/" in dataset:
            return datasets.dataset_by_url(transaction, user_id, dataset)
        return datasets.dataset_of(transaction, user_id, dataset)


def remove_dataset(runtime: Runtime, user_id: str, dataset_id: str) -> None:
    """Delete a table. Models and predictions made from it stay."""
    found = find_dataset(runtime, user_id, dataset_id)
    with runtime.catalog.write() as transaction:
        datasets.remove_dataset(transaction, user_id, found.id)
        audit.record(transaction, user_id, "dataset.remove", found.filename)
    runtime.store.delete(found.key)


# Training and scoring


def start_training(runtime: Runtime, user_id: str, dataset_id: str, request: TrainingRequest) -> TrainingRun:
    """Queue a training.

    Raises:
        InvalidInput: a choice cannot be used with this table.
        NotFound: the user has no such dataset.
    """
    dataset = find_dataset(runtime, user_id, dataset_id)
    plan = plan_training(dataset, request)
    job_id = new_id()
    run = TrainingRun(
        user_id=user_id,
        job_id=job_id,
        dataset_id=dataset.id,
        model_name=checked_name(request.model_name),
        target_column=plan["target"],
        plan=plan,
    )
    with runtime.catalog.write() as transaction:
        training.add_run(transaction, run)
        datasets.touch_dataset(transaction, dataset.id)
        audit.record(transaction, user_id, "model.train", request.model_name, dataset=dataset.filename)
    title = f"{request.model_name}: {dataset.filename}"
    try:
        runtime.jobs.enqueue("train", "train", user_id, title, {"run_id": run.id}, job_id=job_id)
    except Exception as error:
        with runtime.catalog.write() as transaction:
            training.set_ended(transaction, run.id, "failed", f"It could not be queued: {error}")
        raise
    return run


def plan_training(dataset: Dataset, request: TrainingRequest) -> dict[str, Any]:
    """The request with its gaps filled from the profile, as `TrainingPlan.from_dict` reads it."""
    from ecluse.fraud.evaluation import Goal

    if dataset.state == "failed":
        raise InvalidInput(f"{dataset.filename} could not be read: {dataset.error}")
    guesses = (dataset.profile or {}).get("guesses", {})
    target = request.target_column or _guessed(guesses, "target")
    if target is None:
        raise InvalidInput("No label column could be guessed. Name it: target_column")
    if not MIN_BUDGET <= request.budget_s <= MAX_BUDGET:
        raise InvalidInput(f"A budget of {request.budget_s:g} s is out of range; use 5 s to 24 h.")
    identifiers = request.identifier_columns
    if identifiers is None:
        identifiers = tuple(guess["column"] for guess in guesses.get("identifiers", []))
    time_column = request.time_column or (
        None if "time" in request.without else _guessed(guesses, "timestamp")
    )
    customer = request.customer_column or (
        None if "customer" in request.without else _guessed(guesses, "customer")
    )
    named = [c for c in (target, time_column, customer, *identifiers, *request.excluded) if c is not None]
    _check_columns(dataset, named)
    return {
        "target": target,
        "positive_value": request.positive_value,
        "time_column": None if time_column == target else time_column,
        "customer_column": None if customer == target else customer,
        "identifier_columns": [c for c in identifiers if c != target],
        "excluded": [c for c in request.excluded if c != target],
        "budget_s": request.budget_s,
        "goal": Goal.parse(request.goal).to_dict(),
        "seed": request.seed,
    }


def start_prediction(
    runtime: Runtime,
    user_id: str,
    dataset_id: str,
    model_name: str,
    version: str | None = None,
    result_format: ResultFormat = "csv",
    reasons: Reasons = "all",
) -> Prediction:
    """Queue the scoring of a table with one version of a model; the latest when none is named.

    `reasons` says which rows are explained. Explaining a row costs a hundred times its score.

    Raises:
        NotFound, ModelNotFound, VersionNotFound: not the user's, or not there.
    """
    dataset = find_dataset(runtime, user_id, dataset_id)
    if dataset.state == "failed":
        raise InvalidInput(f"{dataset.filename} could not be read: {dataset.error}")
    job_id = new_id()
    with runtime.catalog.write() as transaction:
        model = models.version_of(transaction, user_id, model_name, version)
        prediction = predictions.add_prediction(
            transaction,
            Prediction(
                user_id=user_id,
                job_id=job_id,
                dataset_id=dataset.id,
                model_name=model.name,
                version=model.version,
                format=result_format,
            ),
        )
        datasets.touch_dataset(transaction, dataset.id)
        audit.record(transaction, user_id, "model.predict", model.name, dataset=dataset.filename)
    title = f"{model.name}: {dataset.filename}"
    subject = {"prediction_id": prediction.id, "reasons": reasons}
    try:
        runtime.jobs.enqueue("predict", "predict", user_id, title, subject, job_id=job_id)
    except Exception as error:
        with runtime.catalog.write() as transaction:
            predictions.set_ended(transaction, prediction.id, "failed", f"It could not be queued: {error}")
        raise
    return prediction


def cancel_job(runtime: Runtime, user_id: str, job_id: str) -> None:
    """Stop one of the user's jobs; what it would have made is recorded as cancelled."""
    runtime.jobs.cancel(user_id, job_id)
    if runtime.jobs.get(user_id, job_id).status != "cancelled":
        return
    with runtime.catalog.write() as transaction:
        run = training.run_by_job(transaction, job_id)
        if run is not None:
            training.set_ended(transaction, run.id, "cancelled", None)
        prediction = predictions.prediction_by_job(transaction, job_id)
        if prediction is not None:
            predictions.set_ended(transaction, prediction.id, "cancelled", None)
        audit.record(transaction, user_id, "job.cancel", job_id)


def remove_model_version(runtime: Runtime, user_id: str, name: str, version: str) -> None:
    """Delete one version of a model; its predictions stay."""
    with runtime.catalog.read() as transaction:
        models.version_of(transaction, user_id, name, version)
    runtime.registry(user_id).delete(name, version)
    with runtime.catalog.write() as transaction:
        models.remove_version(transaction, user_id, name, version)
        audit.record(transaction, user_id, "model.delete", f"{name} {version}")


def prediction_by_owned_key(runtime: Runtime, user_id: str, key: str) -> Prediction:
    """The user's finished prediction at a key.

    Raises:
        NotFound: the key is not under this user's predictions, segment by segment, or no row of theirs has it.
    """
    if not is_within(key, predictions_prefix(user_id)):
        raise NotFound(f"No prediction of yours is stored at {key}. See: GET /api/predictions")
    with runtime.catalog.read() as transaction:
        return predictions.prediction_by_key(transaction, user_id, key)


# Jobs


def run_profile(runtime: Runtime, task: Task, dataset_id: str) -> None:
    task.step("profile", _profile, runtime, task, dataset_id)


def run_training(runtime: Runtime, task: Task, run_id: str) -> None:
    run = _training_run(runtime, task, run_id)
    with runtime.catalog.write() as transaction:
        training.set_running(transaction, run_id)
    registry = runtime.registry(task.user_id)
    version = task.step("claim", registry.claim, run.model_name, task.job_id)
    trained = task.step("train", _train, runtime, task, run_id, version)
    task.step("publish", _publish, runtime, task, run_id, version, trained)


def run_prediction(runtime: Runtime, task: Task, prediction_id: str, reasons: Reasons) -> None:
    with runtime.catalog.write() as transaction:
        predictions.set_running(transaction, prediction_id)
    key = task.step("name", _result_key, runtime, task, prediction_id)
    scored = task.step("score", _score, runtime, task, prediction_id, key, reasons)
    task.step("record", _record_scores, runtime, prediction_id, key, scored)


def _profile(runtime: Runtime, task: Task, dataset_id: str) -> None:
    from ecluse.fraud.dataset import open_table
    from ecluse.fraud.profile import profile_table

    dataset = _dataset(runtime, task.user_id, dataset_id)
    with runtime.scratch() as folder:
        task.report("read", 0.0)
        path = _fetch(runtime, dataset, folder)
        task.report("profile", 0.2)
        with open_table(path, dataset.filename) as table:
            profile = profile_table(
                table,
                progress=lambda fraction, message: task.report("profile", 0.2 + 0.8 * fraction, message),
            )
    with runtime.catalog.write() as transaction:
        datasets.set_profile(transaction, dataset_id, profile.to_dict(), profile.rows)


def _train(runtime: Runtime, task: Task, run_id: str, version: str) -> dict[str, Any]:
    """Train and upload under the claimed version; what `_publish` needs to make it visible."""
    from dataclasses import asdict

    from ecluse.fraud.dataset import open_table
    from ecluse.fraud.training import TrainingPlan, train

    run = _training_run(runtime, task, run_id)
    dataset = _dataset(runtime, task.user_id, run.dataset_id)
    with runtime.scratch() as folder:
        task.report("read", 0.0)
        path, destination = _fetch(runtime, dataset, folder), folder / "model"
        destination.mkdir()
        with open_table(path, dataset.filename) as table:
            report = train(table, TrainingPlan.from_dict(run.plan), destination, task.report)
        task.report("save", 0.97)
        files = runtime.registry(task.user_id).upload(run.model_name, version, destination)
    return {"files": [asdict(file) for file in files], "report": report.to_dict()}


def _publish(runtime: Runtime, task: Task, run_id: str, version: str, trained: dict[str, Any]) -> None:
    run = _training_run(runtime, task, run_id)
    if run.status == "cancelled":
        raise JobCancelled("The training was cancelled.")
    registry, report = runtime.registry(task.user_id), trained["report"]
    metrics = {name: report["metrics"].get(name) for name in SUMMARY} | {"threshold": report["threshold"]}
    manifest = registry.commit(
        run.model_name,
        version,
        tuple(ManifestFile(**file) for file in trained["files"]),
        created_by=task.user_id,
        nonce=task.job_id,
        metadata={"application": "fraud", "metrics": metrics, "plan": run.plan, "dataset": run.dataset_id},
    )
    _record_version(runtime, run, manifest, report, metrics)
    task.report("save", 1.0)


def _record_version(
    runtime: Runtime, run: TrainingRun, manifest: Manifest, report: dict[str, Any], metrics: dict[str, Any]
) -> None:
    import hashlib

    prefix = join_key("user_models", run.user_id, manifest.name, manifest.version)
    with runtime.catalog.write() as transaction:
        models.add_version(
            transaction,
            ModelVersion(
                user_id=run.user_id,
                name=manifest.name,
                version=manifest.version,
                prefix=prefix,
                size_bytes=manifest.size,
                manifest_digest=hashlib.sha256(manifest.to_json()).hexdigest(),
                dataset_id=run.dataset_id,
                report=report,
            ),
        )
        training.set_done(
            transaction,
            run.id,
            version=manifest.version,
            metrics=metrics,
            model_path=runtime.store.url_of(prefix),
        )


def _result_key(runtime: Runtime, task: Task, prediction_id: str) -> str:
    with runtime.catalog.read() as transaction:
        prediction = predictions.prediction_of(transaction, task.user_id, prediction_id)
        dataset = datasets.dataset_of(transaction, task.user_id, prediction.dataset_id or "")
    name = safe_filename(Path(dataset.filename).name.split(".")[0])
    filename = f"{task.user_id}_{timestamp()}_{name}_{prediction_id}.{prediction.format}"
    return join_key(predictions_prefix(task.user_id), filename)


def _score(runtime: Runtime, task: Task, prediction_id: str, key: str, reasons: Reasons) -> dict[str, Any]:
    from ecluse.fraud.dataset import open_table
    from ecluse.fraud.scoring import load_model, score_table, write_scores

    with runtime.catalog.read() as transaction:
        prediction = predictions.prediction_of(transaction, task.user_id, prediction_id)
    dataset = _dataset(runtime, task.user_id, prediction.dataset_id)
    with runtime.scratch() as folder:
        task.report("read", 0.0)
        model = load_model(model_folder(runtime, task.user_id, prediction, folder))
        path, result = _fetch(runtime, dataset, folder), folder / f"result.{prediction.format}"
        total = max(dataset.rows or 0, 1)
        with open_table(path, dataset.filename) as table:
            batches = score_table(
                model,
                table,
                reasons=reasons != "none",
                reasons_for="all" if reasons == "all" else "risky",
                progress=lambda rows: task.report("score", min(rows / total, 1) * 0.9, f"{rows} / {total}"),
            )
            summary = write_scores(batches, result, "parquet" if prediction.format == "parquet" else "csv")
        task.report("save", 0.95)
        stored = runtime.store.upload(result, key)
    return {"size": stored.size, "sha256": stored.sha256, "summary": summary.to_dict()}


def model_folder(runtime: Runtime, user_id: str, prediction: Prediction, folder: Path) -> Path:
    """The verified files of a prediction's model, linked from the cache into one folder."""
    registry = runtime.registry(user_id)
    destination = folder / "model"
    destination.mkdir()
    registry.download(prediction.model_name, prediction.version, destination)
    return destination


def _record_scores(runtime: Runtime, prediction_id: str, key: str, scored: dict[str, Any]) -> None:
    summary = scored["summary"]
    with runtime.catalog.write() as transaction:
        predictions.set_done(
            transaction,
            prediction_id,
            key=key,
            size_bytes=scored["size"],
            sha256=scored["sha256"],
            rows=summary["rows"],
            flagged=summary["flagged"],
            summary=summary,
        )


def _profile_failed(runtime: Runtime, task: Task, message: str, dataset_id: str) -> None:
    with runtime.catalog.write() as transaction:
        datasets.set_failed(transaction, dataset_id, message)


def _training_failed(runtime: Runtime, task: Task, message: str, run_id: str) -> None:
    with runtime.catalog.write() as transaction:
        training.set_ended(transaction, run_id, "failed", message)


def _prediction_failed(
    runtime: Runtime, task: Task, message: str, prediction_id: str, reasons: Reasons
) -> None:
    with runtime.catalog.write() as transaction:
        predictions.set_ended(transaction, prediction_id, "failed", message)


#: Every kind of job of this application; a worker is started with them.
KINDS: Final[dict[str, JobKind]] = {
    "profile": JobKind(run_profile, _profile_failed, "profile", ("read", "profile")),
    "train": JobKind(
        run_training,
        _training_failed,
        "train",
        ("read", "features", "search", "calibrate", "test", "save"),
    ),
    "predict": JobKind(run_prediction, _prediction_failed, "predict", ("read", "score", "save")),
}


def _upload_key(user_id: str, filename: str) -> str:
    unique = f"{user_id}_{timestamp()}_{new_id()[:6]}_{safe_filename(filename)}"
    return join_key(uploads_prefix(user_id), unique)


def _fetch(runtime: Runtime, dataset: Dataset, folder: Path) -> Path:
    """The table as a local file in a scratch folder, compared with the digest taken at its upload."""
    path = folder / safe_filename(dataset.filename)
    stored = runtime.store.download(dataset.key, path)
    if stored.sha256 != dataset.sha256:
        raise DigestMismatch(
            f"{dataset.filename} was changed in the store after its upload. Upload it again."
        )
    return path


def _dataset(runtime: Runtime, user_id: str, dataset_id: str | None) -> Dataset:
    if dataset_id is None:
        raise NotFound("The table was deleted before the job ran. Upload it again.")
    with runtime.catalog.read() as transaction:
        return datasets.dataset_of(transaction, user_id, dataset_id)


def _training_run(runtime: Runtime, task: Task, run_id: str) -> TrainingRun:
    with runtime.catalog.read() as transaction:
        return training.run_of(transaction, task.user_id, run_id)


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
            f"{dataset.filename} has no column {', '.join(map(repr, missing))}. "
            f"It has: {', '.join(sorted(known)[:30])}."
        )
