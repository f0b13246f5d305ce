"""Do the jobs that choose rows to ask about, and learn from the answers.

What they say is the `result` of an inspection's row. A step may run twice and then leaves the same result.
"""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecluse import models
from ecluse.apps.fraud.jobs import main as work
from ecluse.apps.fraud.jobs.tables import open_stored
from ecluse.apps.fraud.metrics import SUMMARY
from ecluse.apps.fraud.performance.reports import (
    AnyReport,
    read_report,
    read_trained_report,
    report_content,
    threshold_of,
    write_report,
)
from ecluse.apps.fraud.rows import inspections, labels
from ecluse.apps.fraud.rows.tables import Dataset, Inspection
from ecluse.catalog.tables import ModelVersion
from ecluse.errors import JobCancelled
from ecluse.jobs import Task, patiently
from ecluse.runtime import Runtime
from ecluse.sentences import _

if TYPE_CHECKING:
    from ecluse.apps.fraud.labelling.asking import Made
from ecluse.apps.fraud.jobs.inspections import (
    checked_out,
    inspected_version,
    inspection_and_table,
    record_result,
    scoring_progress,
)


def run_questions(runtime: Runtime, task: Task, inspection_id: str) -> None:
    task.step("ask", _ask, runtime, task, inspection_id)


def run_learning(runtime: Runtime, task: Task, inspection_id: str) -> None:
    task.step("learn", _learn, runtime, task, inspection_id)


def _ask(runtime: Runtime, task: Task, inspection_id: str) -> None:
    from ecluse.apps.fraud.labelling.asking import ask_about
    from ecluse.apps.fraud.scorers import load_scorer
    from ecluse.apps.fraud.scoring.scorer import AlertingScorer

    inspection, dataset = inspection_and_table(runtime, task, inspection_id)
    with runtime.catalog.read() as transaction:
        known = labels.labels_of(transaction, task.user_id, dataset.id)
    with runtime.scratch() as folder:
        task.report("read", 0.0)
        version = inspected_version(runtime, inspection, inspection.version)
        scorer = load_scorer(checked_out(runtime, version, folder / "model"))
        with open_stored(runtime, dataset, folder, task) as table:
            result = ask_about(
                table,
                AlertingScorer(scorer, threshold_of(read_report(version.report))),
                known=tuple(known),
                left_out=_targets(dataset, version),
                progress=scoring_progress(task, dataset, 0.9),
                **inspection.request,
            )
    record_result(runtime, inspection_id, result)


def _learn(runtime: Runtime, task: Task, inspection_id: str) -> None:
    """Learn, publish and record the version that labels made of another."""
    inspection, dataset = inspection_and_table(runtime, task, inspection_id)
    version = inspected_version(runtime, inspection, inspection.version)
    with runtime.scratch() as folder:
        task.report("read", 0.0)
        files = checked_out(runtime, version, folder / "model")
        made = _learned_from(runtime, task, inspection, dataset, version, files)
        report = _write_learned(folder / "learned", files, version, dataset, made)
        task.report("save", 0.97)
        with runtime.catalog.read() as transaction:
            if inspections.inspection_of(transaction, task.user_id, inspection_id).status == "cancelled":
                raise JobCancelled(_("The job was cancelled."))
        published = patiently(
            lambda: models.publish(
                runtime,
                task.user_id,
                version.name,
                [folder / "learned"],
                metadata=_learned_metadata(version, dataset, report, made.result),
                origin=models.Origin(
                    application="fraud",
                    dataset_id=version.dataset_id,
                    report=report_content(report),
                    # An attempt that died has published it already: it is found again by this.
                    nonce=f"learn-{task.job_id}",
                ),
            )
        )
    made_files = patiently(lambda: models.manifest_of(runtime, published).files)
    with runtime.catalog.write() as transaction:
        recorded = inspections.set_done(
            transaction,
            inspection_id,
            made.result,
            other_version=published.version,
            url=published.url,
            metrics={name: report.metrics.get(name) for name in SUMMARY},
            artifacts=models.artifacts_of(made_files),
        )
    if not recorded:
        raise JobCancelled(_("The job was cancelled."))


def _learned_from(
    runtime: Runtime,
    task: Task,
    inspection: Inspection,
    dataset: Dataset,
    version: ModelVersion,
    files: Path,
) -> Made:
    """Learn from the labels of a table what to change of the scores of a version, whose `files` are here."""
    from ecluse.apps.fraud.labelling.asking import LabelledTable, learn_about
    from ecluse.apps.fraud.labelling.questions import QuestionSet
    from ecluse.apps.fraud.labelling.scoring import LEARNED_FILE
    from ecluse.apps.fraud.scorers import base_scorer, load_scorer
    from ecluse.apps.fraud.scoring.scorer import AlertingScorer

    with runtime.catalog.read() as transaction:
        labels_by_row = labels.labels_of(transaction, task.user_id, dataset.id)
    asked = _questions_of(runtime, inspection, dataset)
    with open_stored(runtime, dataset, files.parent, task) as table:
        labelled = LabelledTable(
            table,
            labels_by_row,
            asked=QuestionSet.from_dict(asked.result or {}) if asked else None,
            asked_elsewhere=asked is not None and not _is_of(asked, inspection),
            left_out=_targets(dataset, version),
        )
        return learn_about(
            labelled,
            AlertingScorer(load_scorer(files), threshold_of(read_report(version.report))),
            base_scorer(files) if (files / LEARNED_FILE).exists() else None,
            fraud_rate=inspection.request["fraud_rate"],
            seed=inspection.request["seed"],
            progress=scoring_progress(task, dataset, 0.45),
            tell=lambda fraction, message: task.report("learn", fraction, message),
        )


def _write_learned(
    folder: Path, files: Path, version: ModelVersion, dataset: Dataset, made: Made
) -> AnyReport:
    """Write the files of the new version to `folder`: those of the old one, and what was learned."""
    from ecluse.apps.fraud.evaluation.plots import FOLDER as PLOTS
    from ecluse.apps.fraud.labelling.learned_report import learned_report
    from ecluse.apps.fraud.labelling.scoring import save_learned
    from ecluse.apps.fraud.scorers import load_scorer
    from ecluse.apps.fraud.training.card import add_learned

    shutil.copytree(files, folder, ignore=shutil.ignore_patterns(PLOTS))
    save_learned(folder, made.learned, made.thresholds)
    save_scores(folder, made)
    report = learned_report(version, dataset, made, load_scorer(folder).required_columns)
    write_report(folder, report)
    add_learned(folder, version.version, dataset.filename, made.result)
    return report


def _questions_of(runtime: Runtime, inspection: Inspection, dataset: Dataset) -> Inspection | None:
    """Return the questions last asked for a version; else those for another, by which the labelled rows were chosen."""
    with runtime.catalog.read() as transaction:
        for name, version in ((inspection.model_name, inspection.version), (None, None)):
            newest = inspections.list_inspections(
                transaction,
                inspection.user_id,
                inspections.InspectionFilter(
                    kind="questions", dataset_id=dataset.id, model_name=name, version=version, status="done"
                ),
                limit=1,
            )
            if newest:
                return newest[0]
    return None


def _is_of(asked: Inspection, inspection: Inspection) -> bool:
    return (asked.model_name, asked.version) == (inspection.model_name, inspection.version)


def save_scores(folder: Path, made: Made) -> None:
    """Bring what monitoring compares the score with to the new scale: the scores of the table that was labelled."""
    import numpy as np

    from ecluse.apps.fraud.evaluation.drift import TrainingSketch, score_reference

    sketch = TrainingSketch.load(folder)
    if sketch is not None:
        rate = float(np.mean(made.scores >= made.thresholds.flagged))
        replace(sketch, score=score_reference(made.scores), alert_rate=rate).save(folder)


def _learned_metadata(
    version: ModelVersion, dataset: Dataset, report: AnyReport, result: dict[str, Any]
) -> dict[str, Any]:
    return {
        **version.details,
        "application": "fraud",
        "metrics": work.summary_of(report),
        "learned": {
            "from": version.version,
            "way": result["way"],
            "labels": result["labels"],
            "dataset": dataset.id,
        },
    }


def _targets(dataset: Dataset, version: ModelVersion) -> tuple[str, ...]:
    """Columns that say the outcome: nothing is learned from them."""
    guess = ((dataset.profile or {}).get("guesses") or {}).get("target")
    target = read_trained_report(version.report).target
    return tuple(name for name in {target, guess["column"] if guess else None} if name)
