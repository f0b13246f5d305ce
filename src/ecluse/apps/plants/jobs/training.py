"""Do the job of a training: read the images of a split, learn, measure, and publish a version.

Each step may run twice and then leaves the same result: learning goes on from the last checkpoint, and a version
is claimed anew by each attempt and published once.
"""

from __future__ import annotations

import logging
import os
import platform
import time
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING, Any, Final

from ecluse import models
from ecluse.apps.plants import links
from ecluse.apps.plants import rows as images
from ecluse.apps.plants.callbacks import METRICS, RunCallbacks, log_epoch, remove_checkpoint
from ecluse.apps.plants.report import ClassifierReport, classifier_content, read_classifier_report
from ecluse.apps.plants.training import APPLICATION, KIND, OTHER_FILES, QUEUE, request_of, same_files
from ecluse.catalog import Transaction, runs
from ecluse.catalog.tables import Publication, Run
from ecluse.checkpoints import checkpoints_of
from ecluse.errors import (
    CatalogUnavailable,
    JobCancelled,
    NotFound,
    StoreUnavailable,
)
from ecluse.jobs import JobKind, Task, patiently
from ecluse.registry import ManifestFile
from ecluse.run_values import flat_values
from ecluse.runtime import Runtime
from ecluse.sentences import N_, _

if TYPE_CHECKING:
    from ecluse.apps.plants.recipe import Recipe, RecipeName

#: Which share of a job has passed when its images are read, and when it has learned.
READ, LEARNED = 0.12, 0.85
#: And when its images are compared with each other, before that.
COMPARED: Final = 0.06
#: What a run keeps the versions of, and the longest value of a recipe's own that it keeps.
LIBRARIES: Final = ("numpy", "onnxruntime", "pillow", "scikit-learn", "scipy", "torch")
SHORT: Final = 200
logger = logging.getLogger(__name__)


def run_training(runtime: Runtime, task: Task, run_id: str) -> None:
    try:
        split_id = task.step("split", _split, runtime, task, run_id)
        trained = task.step("learn", _learn, runtime, task, run_id, split_id)
        task.step("publish", publish, runtime, task, run_id, trained)
    finally:
        _tidy(runtime, task.user_id, run_id)


def reconcile(runtime: Runtime) -> int:
    """Remove the checkpoints that runs left which have ended; how many runs those were."""
    with runtime.catalog.read() as transaction:
        left = runs.ended_with_checkpoint(transaction)
    for run in left:
        _tidy(runtime, run.user_id, run.id)
    return len(left)


def _split(runtime: Runtime, task: Task, run_id: str) -> str:
    """Return the split this run learns from and is tested on: the set's newest with its seed, brought up to date.

    A run that repeats another takes that one's, as it was.
    Copies are looked for first, so that none that came since the last audit is tested on what was learned from it.
    """
    from ecluse.apps.plants.looks import group_copies, usable
    from ecluse.apps.plants.splits import split_for

    run = run_of(runtime, task.user_id, run_id)
    if "repeats" in run.subject:
        return str(run.subject["split_id"])
    set_id = run.subject["set_id"]
    rows = usable(runtime, run.user_id, set_id)
    group_copies(
        runtime,
        set_id,
        rows,
        lambda done, text: task.report("read", COMPARED * done, text),
        checkpoints_of(runtime, task),
    )
    split = split_for(runtime, run.user_id, run.subject["set_id"], seed=request_of(run).options.seed)
    with runtime.catalog.write() as transaction:
        runs.set_subject(transaction, run_id, run.subject | {"split_id": split.id})
    return split.id


def _learn(runtime: Runtime, task: Task, run_id: str, split_id: str) -> dict[str, Any]:
    """Learn, measure and upload under a version claimed by this attempt; what `publish` needs to make it visible."""
    from ecluse.apps.plants.publication import write_model
    from ecluse.apps.plants.training_data import read_training_data

    run = run_of(runtime, task.user_id, run_id)
    request, began = request_of(run), time.monotonic()
    with runtime.catalog.read() as transaction:
        split = images.split_of(transaction, run.user_id, split_id)
        images.readable_set(transaction, run.user_id, split.set_id)  # a share may have ended since
    with runtime.scratch() as folder:
        split_images = read_training_data(
            runtime,
            split,
            folder / "images",
            lambda done: task.report("read", COMPARED + (READ - COMPARED) * done),
        )
        read = time.monotonic()
        callbacks = RunCallbacks(runtime, task, run, READ, LEARNED)
        trained = recipe(request.recipe)(split_images.training_data, request.options, callbacks)
        with runtime.catalog.write() as transaction:
            for epoch in trained.history:
                log_epoch(transaction, run_id, epoch)
        trained_model = time.monotonic()
        model = write_model(
            folder / "model",
            trained,
            split_images,
            request,
            seconds={"reading": read - began, "training": trained_model - read},
            progress=lambda done: task.report("test", LEARNED + (0.97 - LEARNED) * done),
            cache_of=callbacks.job_cache,
        )
        task.report("save", 0.97)
        uploaded = patiently(
            lambda: models.upload_claimed(
                runtime.registry(task.user_id), run.name, folder / "model", task.job_id
            )
        )
    environment = how_made(model.report, request.options.device)
    return uploaded | {
        "report": classifier_content(model.report),
        "details": model.details,
        "made": environment,
    }


def how_made(report: ClassifierReport, device: str) -> dict[str, Any]:
    """Return all that is needed to make a version again, beside what was asked for, as parameters of its run.

    What it was divided into and learned from by digest, what the recipe chose by itself, and by which machine and
    libraries: other ones may round differently.
    """
    chosen = {
        f"made.{name}": value
        for name, value in flat_values(report.details).items()
        if isinstance(value, str | int | float | bool) and len(str(value)) <= SHORT
    }
    return chosen | {
        "made.architecture": report.architecture,
        "made.image_size": report.image_size,
        "made.epochs": report.epochs,
        "made.best_epoch": report.best_epoch,
        "made.asked_device": device,
        "made.device": report.device,
        "made.cores": os.cpu_count() or 1,
        "made.machine": f"{platform.system()} {platform.machine()}",
        "made.split": report.split.id,
        "made.split_sha256": report.split.sha256,
        "made.set_sha256": report.data_digest,
        "made.ecluse": report.code_version,
        "made.python": platform.python_version(),
        **{f"made.{name}": version for name in LIBRARIES if (version := _installed(name)) is not None},
    }


def _installed(name: str) -> str | None:
    try:
        return installed_version(name)
    except PackageNotFoundError:
        return None  # the record says that it was not here


def recipe(name: RecipeName) -> Recipe:
    """Return the recipe of a name; what it needs is imported now.

    Raises:
        TorchMissing: it needs torch, which is not installed.
    """
    match name:
        case "features":
            from ecluse.apps.plants.features import features

            return features
        case "finetune":
            from ecluse.apps.plants.finetune import finetune

            return finetune


def publish(runtime: Runtime, task: Task, run_id: str, trained: dict[str, Any]) -> None:
    run, url, report = run_of(runtime, task.user_id, run_id), str(trained["url"]), trained["report"]
    version = url.rsplit("/", 1)[1]
    publication = Publication(
        user_id=run.user_id,
        name=run.name,
        version=version,
        url=url,
        nonce=trained["nonce"],
        application=APPLICATION,
        report=report,
    )
    with runtime.catalog.write() as transaction:
        if not runs.begin_publishing(
            transaction, run_id, version, metrics=summary_of(read_classifier_report(report))
        ):
            raise JobCancelled(_("The training was cancelled, or another attempt at it has published."))
        models.announce(transaction, publication)
    files = tuple(ManifestFile(**file) for file in trained["files"])
    manifest = runtime.registry_at(url).commit(
        run.name,
        version,
        files,
        created_by=task.user_id,
        nonce=trained["nonce"],
        metadata=trained["details"] | {"run": run_id},
    )
    with runtime.catalog.write() as transaction:
        runs.set_parameters(transaction, run_id, trained.get("made", {}))
        models.record(transaction, publication, manifest)
        _compare_with_repeated(transaction, run)


def _compare_with_repeated(transaction: Transaction, run: Run) -> None:
    """Of a run that repeats another, note the files that came out differently: none, or those that tell the time."""
    if "repeats" not in run.subject:
        return
    done = runs.run_of(transaction, run.user_id, run.id)
    before = runs.run_of(transaction, run.user_id, run.subject["repeats"])
    _rest, other = same_files(done, before)
    if other:
        runs.set_tags(transaction, run.id, {OTHER_FILES: ", ".join(other)[:SHORT]})


def summary_of(report: ClassifierReport) -> dict[str, float | None]:
    """Return the metrics of a report that lists and comparisons of runs show."""
    interval, served, published = report.interval, report.served, report.published_epoch
    of_epoch = {name: getattr(published, name, None) for name in METRICS}
    return {
        # What each epoch measured, of the one that was published: the last may be another.
        **{name: value for name, value in of_epoch.items() if value is not None},
        "best_epoch": report.best_epoch,
        "served_accuracy": served.value if served else None,
        "served_accuracy_low": served.low if served else None,
        "served_accuracy_high": served.high if served else None,
        "test_accuracy": report.metrics["accuracy"],
        "test_accuracy_low": interval.low if interval else None,
        "test_accuracy_high": interval.high if interval else None,
        "test_loss": report.metrics["log_loss"],
        "macro_f1": report.metrics["macro_f1"],
        "expected_calibration_error": report.metrics["expected_calibration_error"],
        "training_seconds": report.seconds["training"],
        "size_bytes": report.size_bytes,
    }


def _training_failed(runtime: Runtime, task: Task, message: str, run_id: str) -> None:
    _tidy(runtime, task.user_id, run_id, is_over=True)


def _tidy(runtime: Runtime, user_id: str, run_id: str, *, is_over: bool = False) -> None:
    """Remove the checkpoint of a run that has ended; one that goes on keeps it. What fails is left to `reconcile`."""
    try:
        run = run_of(runtime, user_id, run_id)
        if (is_over or run.status not in runs.ACTIVE) and runs.CHECKPOINT in run.tags:
            remove_checkpoint(runtime, run)
    except (CatalogUnavailable, StoreUnavailable, NotFound) as error:
        logger.warning("The checkpoint of training %s is removed later: %s", run_id, error)


def run_of(runtime: Runtime, user_id: str, run_id: str) -> Run:
    with runtime.catalog.read() as transaction:
        return runs.run_of(transaction, user_id, run_id)


#: Every kind of job of trainings on images; a worker is started with them.
KINDS: Final[dict[str, JobKind]] = {
    KIND: JobKind(
        run=run_training,
        failed=_training_failed,
        queue=QUEUE,
        verb=N_("Train"),
        stages={"read": N_("Read"), "learn": N_("Learn"), "test": N_("Test"), "save": N_("Save")},
        finish=runs.ask_to_finish,
        result=links.trained_model,
        ways=links.train_again,
    ),
}
