"""Do the jobs of this application: profile a table, train a model, score a table.

A job reads at the start, computes with the pure functions of this package, and writes at the end. Its steps
may run twice and then leave the same result: a version is claimed anew by each attempt and published once.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ecluse import models, unclaimed
from ecluse.apps.fraud import links
from ecluse.apps.fraud.actions.main import Reasons, plan_training
from ecluse.apps.fraud.jobs.tables import fetch_table, open_stored, readable_table_of, table_of
from ecluse.apps.fraud.metrics import SUMMARY
from ecluse.apps.fraud.performance.reports import AnyReport, read_report, read_trained_report, report_content
from ecluse.apps.fraud.performance.trained import TrainedReport
from ecluse.apps.fraud.rows import datasets, labels, predictions, training
from ecluse.apps.fraud.rows.tables import Dataset, Prediction
from ecluse.apps.fraud.rows.training import TrainingRun
from ecluse.apps.fraud.training.request import TrainingRequest
from ecluse.catalog import Transaction, runs
from ecluse.catalog.tables import ModelVersion, Publication
from ecluse.checkpoints import checkpoints_of
from ecluse.errors import CannotRepeat, CatalogUnavailable, JobCancelled, UnreadableTable
from ecluse.jobs import JobKind, Task, patiently
from ecluse.registry import ManifestFile
from ecluse.runtime import Runtime, predictions_prefix
from ecluse.sentences import N_, _
from ecluse.storage import join_key, safe_filename, timestamp
from ecluse.tabular.layout import Layout

if TYPE_CHECKING:
    from ecluse.apps.fraud.scoring.results import Known, ScoreSummary
    from ecluse.apps.fraud.scoring.scorer import Scorer
    from ecluse.apps.fraud.training.record import TrainingRecord
    from ecluse.tabular.dataset import Table

T = TypeVar("T")
#: The metric of a run that each candidate of its search adds a value to.
_TRIED: Final = "validation_average_precision"
logger = logging.getLogger(__name__)
#: Seconds between two looks at whether a training is to end with the best so far.
ASKED_EVERY: Final = 1.0


def run_profile(runtime: Runtime, task: Task, dataset_id: str, layout: dict[str, Any] | None = None) -> None:
    """Read a table; with `layout`, in another way than before, which counts once it has been read so."""
    task.step("profile", _profile, runtime, task, dataset_id, layout)


def run_training(runtime: Runtime, task: Task, run_id: str, repeats: str | None = None) -> None:
    """Train and publish; with `repeats`, the training of that id again as it was recorded."""
    task.step("plan", _plan, runtime, task, run_id)
    trained = task.step("train", _train, runtime, task, run_id, repeats)
    task.step("publish", publish, runtime, task, run_id, trained)


def run_prediction(
    runtime: Runtime,
    task: Task,
    prediction_id: str,
    reasons: Reasons,
    columns: Mapping[str, str] | None = None,
) -> None:
    key = task.step("name", _result_key, runtime, task, prediction_id)
    task.step("score", _score, runtime, task, prediction_id, key, reasons, columns)


def summary_of(report: AnyReport) -> dict[str, float | None]:
    """Return what of a report its run keeps for lists: headline metrics and the threshold."""
    return {name: report.metrics.get(name) for name in SUMMARY} | {"threshold": report.threshold}


def _tags(report: AnyReport) -> dict[str, Any]:
    """Return what a training chose by itself."""
    if not isinstance(report, TrainedReport):
        return {}
    chosen = {"family": report.family, "calibration": report.calibration}
    return {name: value for name, value in chosen.items() if value is not None}


def _profile(runtime: Runtime, task: Task, dataset_id: str, chosen: dict[str, Any] | None) -> None:
    from ecluse.apps.fraud.actions.uploads import profile_upload

    dataset = table_of(runtime, task.user_id, dataset_id)
    asked = chosen or dataset.layout or {}
    with runtime.scratch() as folder:
        task.report("read", 0.0)
        path = fetch_table(runtime, dataset, folder)
        task.report("profile", 0.2)
        try:
            profile, layout = profile_upload(
                path,
                dataset.filename,
                Layout.from_dict(asked),
                folder=folder,
                memory=runtime.settings.reader_max_bytes,
                heard=lambda fraction, message: task.report("profile", 0.2 + 0.8 * fraction, message),
            )
        except UnreadableTable:
            if dataset.rows is None:  # else it was read before, and stays as it was
                runtime.stores.remove(dataset.url)  # the row stays, to say why
            raise
    with runtime.catalog.write() as transaction:
        kept = ({} if layout is None else layout.to_dict()) | {"asked": asked.get("asked")}
        if not datasets.set_profile(transaction, dataset_id, profile.to_dict(), profile.rows, kept):
            raise JobCancelled(_("The job was cancelled."))


def _plan(runtime: Runtime, task: Task, run_id: str) -> None:
    """Plan a training that was asked for before its table was read: wait for the guesses."""
    run = run_of(runtime, task, run_id)
    if "request" not in run.plan:
        return
    while (dataset := table_of(runtime, task.user_id, run.dataset_id)).state == "profiling":
        task.report("read", 0.0, _("Waiting for the table to be read"))
        time.sleep(0.5)
    plan = plan_training(dataset, TrainingRequest.from_dict(run.plan["request"]))
    with runtime.catalog.write() as transaction:
        training.set_plan(transaction, run_id, plan.to_dict())


def _train(runtime: Runtime, task: Task, run_id: str, repeats: str | None) -> dict[str, Any]:
    """Train and upload under a version claimed by this attempt; what `publish` needs to make it visible."""
    from ecluse.apps.fraud.training.training import SearchControl, TrainingPlan, train

    run = run_of(runtime, task, run_id)
    dataset = table_of(runtime, task.user_id, run.dataset_id)
    with runtime.scratch() as folder:
        task.report("read", 0.0)
        destination = folder / "model"
        destination.mkdir()
        before = _recorded(runtime, task, repeats, folder / "before") if repeats else None
        with open_stored(runtime, dataset, folder, task) as table:
            plan, stop = TrainingPlan.from_dict(run.plan), FinishRequest(runtime, run_id)
            trials = Trials(runtime, run_id)
            report = train(
                table,
                plan,
                destination,
                task.report,
                control=SearchControl(stop, trials),
                repeat=None if before is None else before.record,
                checkpoints=checkpoints_of(runtime, task),
            )
            trials.end()
        if before is not None:
            before.expect_same(destination)
        task.report("save", 0.97)
        uploaded = patiently(lambda: upload(runtime, task, run.model_name, destination))
    return uploaded | {"report": report_content(report), "trials": trials.tried}


@dataclass(frozen=True)
class _Before:
    """A version that is to be made again: how it came to be, and its files as {name: SHA-256}."""

    record: TrainingRecord
    files: dict[str, str]

    def expect_same(self, folder: Path) -> None:
        """Raise CannotRepeat where a file of the folder is not the one that was published."""
        from ecluse.apps.fraud.training.record import differing
        from ecluse.apps.fraud.training.training import digest_of

        made = {
            path.relative_to(folder).as_posix(): digest_of(path)
            for path in folder.rglob("*")
            if path.is_file()
        }
        if others := differing(self.files, made):
            raise CannotRepeat(
                _(
                    "The training came out differently, though its table and libraries are the same: "
                    "%(files)s. Nothing is published. Repeat it on the kind of processor it was made on.",
                    files=", ".join(others[:5]),
                )
            )


def _recorded(runtime: Runtime, task: Task, run_id: str, folder: Path) -> _Before:
    from ecluse.apps.fraud.training.record import TrainingRecord

    before = run_of(runtime, task, run_id)
    version = models.resolve(runtime, task.user_id, f"{before.model_name}@{before.version}")
    models.checkout(runtime, version, folder)
    files = models.manifest_of(runtime, version).files
    return _Before(TrainingRecord.load(folder), {file.path: file.sha256 for file in files})


class FinishRequest:
    """Whether the person asked to stop with the best so far; the catalog is asked once a second at most."""

    def __init__(self, runtime: Runtime, run_id: str) -> None:
        self._runtime, self._run_id = runtime, run_id
        self._asked, self._looked_at = False, 0.0

    def __call__(self) -> bool:
        if not self._asked and time.monotonic() - self._looked_at >= ASKED_EVERY:
            self._looked_at = time.monotonic()
            try:
                with self._runtime.catalog.read() as transaction:
                    self._asked = runs.is_to_finish(transaction, self._run_id)
            except CatalogUnavailable as error:
                logger.warning("Whether training %s is to end is not known now: %s", self._run_id, error)
        return self._asked


class Trials:
    """Keeps the average precision of each candidate of a search, by its number from 1, while the search runs.

    `tried` has them all as [number, value], for the result of the search: the catalog may not have taken some. A
    candidate of an attempt before this one stays in the catalog where this attempt comes to the same value.
    """

    def __init__(self, runtime: Runtime, run_id: str) -> None:
        self._runtime, self._run_id = runtime, run_id
        self.tried: list[tuple[int, float]] = []
        with runtime.catalog.read() as transaction:
            self._before = _tried_before(transaction, run_id)

    def __call__(self, number: int, average_precision: float) -> None:
        self.tried.append((number, average_precision))
        if self._before.get(number) == average_precision:
            return
        try:
            with self._runtime.catalog.write() as transaction:
                self._forget(transaction, number - 1)
                log_trials(transaction, self._run_id, self.tried[-1:], self.tried)
        except CatalogUnavailable as error:
            logger.warning("A trial of training %s is kept until it ends: %s", self._run_id, error)
        else:
            self._before = {earlier: value for earlier, value in self._before.items() if earlier < number}

    def end(self) -> None:
        """End the search: forget what an attempt before it reported besides."""
        with self._runtime.catalog.write() as transaction:
            self._forget(transaction, len(self.tried))

    def _forget(self, transaction: Transaction, after: int) -> None:
        if any(number > after for number in self._before):
            runs.forget_metrics(transaction, self._run_id, after=after)


def _tried_before(transaction: Transaction, run_id: str) -> dict[int, float]:
    """Return what the candidates of a search said by their number, as far as the run knows."""
    curves = runs.curves_of(transaction, run_id)
    return {point.step: point.value for point in curves.get(_TRIED, ())}


def log_trials(
    transaction: Transaction,
    run_id: str,
    some: Sequence[Sequence[float]],
    reported: Sequence[Sequence[float]],
) -> None:
    """Keep some of the trials of a search, each with the best up to it."""
    for number, value in some:
        best = max(other for earlier, other in reported if earlier <= number)
        figures = {_TRIED: value, "best_validation_average_precision": best}
        runs.log_metrics(transaction, run_id, int(number), figures)


def upload(runtime: Runtime, task: Task, model_name: str, folder: Path) -> dict[str, Any]:
    return models.upload_claimed(runtime.registry(task.user_id), model_name, folder, task.job_id)


def publish(runtime: Runtime, task: Task, run_id: str, trained: dict[str, Any]) -> None:
    run, url, report = run_of(runtime, task, run_id), str(trained["url"]), read_report(trained["report"])
    version = url.rsplit("/", 1)[1]
    publication = Publication(
        user_id=run.user_id,
        name=run.model_name,
        version=version,
        url=url,
        nonce=trained["nonce"],
        application="fraud",
        dataset_id=run.dataset_id,
        report=trained["report"],
    )
    metrics = summary_of(report)
    with runtime.catalog.write() as transaction:
        if not runs.begin_publishing(transaction, run_id, version, metrics=metrics, tags=_tags(report)):
            raise JobCancelled(_("The training was cancelled, or another attempt at it has published."))
        models.announce(transaction, publication)
    manifest = runtime.registry_at(url).commit(
        run.model_name,
        version,
        tuple(ManifestFile(**file) for file in trained["files"]),
        created_by=task.user_id,
        nonce=trained["nonce"],
        metadata={"application": "fraud", "metrics": metrics, "plan": run.plan, "dataset": run.dataset_id},
    )
    with runtime.catalog.write() as transaction:
        reported = trained.get("trials", ())
        held = _tried_before(transaction, run.id)  # with the time at which it was tried
        log_trials(
            transaction,
            run.id,
            [trial for trial in reported if held.get(int(trial[0])) != trial[1]],
            reported,
        )
        models.record(transaction, publication, manifest)


def _result_key(runtime: Runtime, task: Task, prediction_id: str) -> str:
    with runtime.catalog.read() as transaction:
        prediction = predictions.prediction_of(transaction, task.user_id, prediction_id)
        dataset = datasets.readable_dataset(transaction, task.user_id, prediction.dataset_id or "")
    name = safe_filename(Path(dataset.filename).name.split(".")[0])
    filename = f"{task.user_id}_{timestamp()}_{name}_{prediction_id}.{prediction.format}"
    return join_key(predictions_prefix(task.user_id), filename)


def _score(
    runtime: Runtime,
    task: Task,
    prediction_id: str,
    key: str,
    reasons: Reasons,
    columns: Mapping[str, str] | None,
) -> None:
    from ecluse.apps.fraud.evaluation.drift import TrainingSketch
    from ecluse.apps.fraud.scorers import load_scorer
    from ecluse.apps.fraud.scoring.formats import result_format
    from ecluse.apps.fraud.scoring.kept_scores import KeptScores, identity
    from ecluse.apps.fraud.scoring.own_values import own_values
    from ecluse.apps.fraud.scoring.results import write_scores

    with runtime.catalog.read() as transaction:
        prediction = predictions.prediction_of(transaction, task.user_id, prediction_id)
    dataset = readable_table_of(runtime, task.user_id, prediction.dataset_id)
    with runtime.scratch() as folder:
        task.report("read", 0.0)
        version, files = _model_files(runtime, task.user_id, prediction, folder)
        scorer = load_scorer(files)
        result = folder / f"result.{prediction.format}"
        total = max(dataset.rows or 0, 1)
        deciding = [dataset.sha256, dataset.layout, version.manifest_digest, reasons, columns]
        kept = KeptScores(checkpoints_of(runtime, task), identity(deciding))
        with open_stored(runtime, dataset, folder, task) as table:
            batches = scorer.score_table(
                table,
                reasons_for=None if reasons == "none" else reasons,
                columns=columns,
                progress=lambda rows: task.report(
                    "score", min(rows / total, 1) * 0.9, _("%(done)s / %(total)s", done=rows, total=total)
                ),
                kept=kept,
            )
            # What the owner said of the rows, and which of them a model has learned from, is told the owner alone.
            is_own = task.user_id == dataset.user_id
            known = _unseen_labels(runtime, version, files, dataset, table) if is_own else None
            summary = write_scores(batches, result, result_format(prediction.format).name, known)
            if reasons != "none":
                summary = replace(summary, top=_with_sentences(scorer, table, summary, columns or {}))
            values = own_values(
                table,
                summary.top_places,
                list(read_report(version.report).columns),
                TrainingSketch.load(files),
                columns or {},
            )
        task.report("save", 0.95)
        store = runtime.data
        unclaimed.expect(runtime, key)
        stored = patiently(lambda: store.upload(result, key))
    with runtime.catalog.write() as transaction:
        recorded = predictions.set_done(
            transaction,
            prediction_id,
            predictions.StoredScores(
                key=key,
                url=store.url_of(key),
                size_bytes=stored.size,
                sha256=stored.sha256,
                rows=summary.rows,
                flagged=summary.flagged,
                summary=summary.to_dict() | {"own": values},
                ranking=None if summary.ranking is None else summary.ranking.to_bytes(),
            ),
        )
    if not recorded:
        store.delete(key)
        raise JobCancelled(_("The scoring was cancelled."))


def _with_sentences(
    scorer: Scorer, table: Table, summary: ScoreSummary, columns: Mapping[str, str]
) -> tuple[dict[str, Any], ...]:
    """Return the riskiest rows with their reasons as sentences: columns of a file hold their English alone."""
    from ecluse.apps.fraud.scoring.own_values import rows_at
    from ecluse.apps.fraud.scoring.reasons import kept_sentences, with_sentences

    names = {name: columns.get(name, name) for name in scorer.required_columns}
    with kept_sentences() as sentences:
        scorer.score_frame(rows_at(table, summary.top_places, names), reasons_for="all")
    return tuple(with_sentences(row, sentences) for row in summary.top)


def _model_files(
    runtime: Runtime, user_id: str, prediction: Prediction, folder: Path
) -> tuple[ModelVersion, Path]:
    """Return a prediction's model, and its verified files in one folder, for reading only."""
    destination = folder / "model"
    row = models.resolve_readable(runtime, user_id, f"{prediction.model_name}@{prediction.version}")
    models.checkout(runtime, row, destination)
    return row, destination


def _unseen_labels(
    runtime: Runtime, version: ModelVersion, files: Path, dataset: Dataset, table: Table
) -> Known | None:
    """Return the table's labels, but for the rows the model has learned from: its figures would promise too much."""
    from ecluse.apps.fraud.jobs.seen import rows_learned
    from ecluse.apps.fraud.labelling.scoring import LEARNED_FILE
    from ecluse.apps.fraud.scoring.results import known_labels
    from ecluse.apps.fraud.tables.labels import UNKNOWN

    # Of what another's model has learned from, whose table that is alone may ask.
    if version.user_id != dataset.user_id or (files / LEARNED_FILE).exists():
        return None
    with runtime.catalog.read() as transaction:
        given = labels.labels_of(transaction, dataset.user_id, dataset.id)
    report = read_trained_report(version.report)
    known = known_labels(table, report.target, report.positive_value, given)
    if known is None:
        return None
    seen = rows_learned(runtime, version, dataset, table, files.parent / "seen")
    if seen.gone:
        return None
    known[seen.rows] = UNKNOWN
    return known if (known != UNKNOWN).any() else None


def run_of(runtime: Runtime, task: Task, run_id: str) -> TrainingRun:
    with runtime.catalog.read() as transaction:
        return training.run_of(transaction, task.user_id, run_id)


#: Every kind of job of this application; a worker is started with them.
#: Stages of the search for a model.
SEARCH_STAGES: Final = {
    "read": N_("Read"),
    "features": N_("Features"),
    "search": N_("Search"),
    "calibrate": N_("Calibrate"),
    "test": N_("Test"),
    "save": N_("Save"),
}
KINDS: Final[dict[str, JobKind]] = {
    "profile": JobKind(
        run=run_profile,
        queue="profile",
        at_once=2,
        verb=N_("Read"),
        stages={"read": N_("Read"), "profile": N_("Look at columns")},
        result=links.profiled_table,
    ),
    "train": JobKind(
        run=run_training,
        queue="train",
        verb=N_("Train"),
        stages=SEARCH_STAGES,
        finish=runs.ask_to_finish,
        result=links.trained_model,
        ways=links.train_again,
        answer="ecluse.apps.fraud.api.bodies:trained_model",
    ),
    "predict": JobKind(
        run=run_prediction,
        queue="predict",
        verb=N_("Score"),
        stages={"read": N_("Read"), "score": N_("Score"), "save": N_("Save")},
        result=links.scores,
        ways=links.score_again,
        answer="ecluse.apps.fraud.api.bodies:scores",
    ),
}
