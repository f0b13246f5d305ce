"""Do the jobs that look at a model beside a table: questions, learning, monitoring, comparing, retraining.

What is found is the `result` of an inspection's row. A step may run twice and then leaves the same result.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ecluse import models
from ecluse.apps.fraud import links
from ecluse.apps.fraud.actions.monitoring import is_poorer, learned_counts
from ecluse.apps.fraud.jobs import main as work
from ecluse.apps.fraud.jobs.seen import Seen, rows_learned
from ecluse.apps.fraud.jobs.tables import open_stored, table_of
from ecluse.apps.fraud.metrics import SUMMARY
from ecluse.apps.fraud.performance.reports import (
    AnyReport,
    read_report,
    read_trained_report,
    report_content,
    threshold_of,
    write_report,
)
from ecluse.apps.fraud.rows import datasets, inspections, labels
from ecluse.catalog import models as model_rows
from ecluse.catalog import runs
from ecluse.catalog.tables import Dataset, Inspection, ModelVersion
from ecluse.checkpoints import checkpoints_of
from ecluse.errors import InvalidInput, JobCancelled
from ecluse.jobs import JobKind, Task, patiently
from ecluse.runtime import Runtime
from ecluse.sentences import N_, _, num

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ecluse.apps.fraud.labelling.asking import Made
    from ecluse.apps.fraud.tables.dataset import Table


def run_questions(runtime: Runtime, task: Task, inspection_id: str) -> None:
    task.step("ask", _ask, runtime, task, inspection_id)


def run_learning(runtime: Runtime, task: Task, inspection_id: str) -> None:
    task.step("learn", _learn, runtime, task, inspection_id)


def run_monitor(runtime: Runtime, task: Task, inspection_id: str) -> None:
    task.step("monitor", _monitor, runtime, task, inspection_id)


def run_comparison(runtime: Runtime, task: Task, inspection_id: str) -> None:
    task.step("compare", _compare, runtime, task, inspection_id)


def run_retraining(runtime: Runtime, task: Task, run_id: str, inspection_id: str) -> None:
    trained = task.step("train", _retrain, runtime, task, run_id)
    task.step("publish", _publish_retrained, runtime, task, run_id, inspection_id, trained)
    task.step("compare", _compare_retrained, runtime, task, run_id, inspection_id)


# Questions and learning


def _ask(runtime: Runtime, task: Task, inspection_id: str) -> None:
    from ecluse.apps.fraud.labelling.asking import ask_about
    from ecluse.apps.fraud.scorers import load_scorer
    from ecluse.apps.fraud.scoring.scorer import AlertingScorer

    inspection, dataset = _inspection(runtime, task, inspection_id)
    with runtime.catalog.read() as transaction:
        known = labels.labels_of(transaction, task.user_id, dataset.id)
    with runtime.scratch() as folder:
        task.report("read", 0.0)
        version = _version(runtime, inspection, inspection.version)
        scorer = load_scorer(_files(runtime, version, folder / "model"))
        with open_stored(runtime, dataset, folder, task) as table:
            result = ask_about(
                table,
                AlertingScorer(scorer, threshold_of(read_report(version.report))),
                known=tuple(known),
                left_out=_targets(dataset, version),
                progress=_scoring(task, dataset, 0.9),
                **inspection.request,
            )
    _done(runtime, inspection_id, result)


def _learn(runtime: Runtime, task: Task, inspection_id: str) -> None:
    """Learn and publish; the version published by an attempt that died is found again by its nonce."""
    from ecluse.apps.fraud.evaluation.plots import FOLDER as PLOTS
    from ecluse.apps.fraud.labelling.asking import LabelledTable, learn_about
    from ecluse.apps.fraud.labelling.learned_report import learned_report
    from ecluse.apps.fraud.labelling.questions import QuestionSet
    from ecluse.apps.fraud.labelling.scoring import LEARNED_FILE, save_learned
    from ecluse.apps.fraud.scorers import base_scorer, load_scorer
    from ecluse.apps.fraud.scoring.scorer import AlertingScorer
    from ecluse.apps.fraud.training.card import add_learned

    inspection, dataset = _inspection(runtime, task, inspection_id)
    with runtime.catalog.read() as transaction:
        labels_by_row = labels.labels_of(transaction, task.user_id, dataset.id)
    asked = _questions_of(runtime, inspection, dataset)
    version = _version(runtime, inspection, inspection.version)
    with runtime.scratch() as folder:
        task.report("read", 0.0)
        files = _files(runtime, version, folder / "model")
        request = inspection.request
        with open_stored(runtime, dataset, folder, task) as table:
            labelled = LabelledTable(
                table,
                labels_by_row,
                asked=QuestionSet.from_dict(asked.result or {}) if asked else None,
                asked_elsewhere=asked is not None and not _is_of(asked, inspection),
                left_out=_targets(dataset, version),
            )
            made = learn_about(
                labelled,
                AlertingScorer(load_scorer(files), threshold_of(read_report(version.report))),
                base_scorer(files) if (files / LEARNED_FILE).exists() else None,
                fraud_rate=request["fraud_rate"],
                seed=request["seed"],
                progress=_scoring(task, dataset, 0.45),
                tell=lambda fraction, message: task.report("learn", fraction, message),
            )
        made_folder = folder / "learned"
        shutil.copytree(files, made_folder, ignore=shutil.ignore_patterns(PLOTS))
        save_learned(made_folder, made.learned, made.threshold, made.medium_threshold)
        save_scores(made_folder, made)
        report = learned_report(version, dataset, made, load_scorer(made_folder).required_columns)
        write_report(made_folder, report)
        add_learned(made_folder, version.version, dataset.filename, made.result)
        task.report("save", 0.97)
        with runtime.catalog.read() as transaction:
            if inspections.inspection_of(transaction, task.user_id, inspection_id).status == "cancelled":
                raise JobCancelled(_("The job was cancelled."))
        published = patiently(
            lambda: models.publish(
                runtime,
                task.user_id,
                version.name,
                [made_folder],
                metadata=_learned_metadata(version, dataset, report, made.result),
                application="fraud",
                dataset_id=version.dataset_id,
                report=report_content(report),
                nonce=f"learn-{task.job_id}",
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


def _questions_of(runtime: Runtime, inspection: Inspection, dataset: Dataset) -> Inspection | None:
    """The questions last asked for a version; else those for another, by which the labelled rows were chosen."""
    with runtime.catalog.read() as transaction:
        for name, version in ((inspection.model_name, inspection.version), (None, None)):
            found = inspections.list_inspections(
                transaction,
                inspection.user_id,
                kind="questions",
                dataset_id=dataset.id,
                model_name=name,
                version=version,
                status="done",
                limit=1,
            )
            if found:
                return found[0]
    return None


def _is_of(asked: Inspection, inspection: Inspection) -> bool:
    return (asked.model_name, asked.version) == (inspection.model_name, inspection.version)


def save_scores(folder: Path, made: Made) -> None:
    """Bring what monitoring compares the score with to the new scale: the scores of the table that was labelled."""
    import numpy as np

    from ecluse.apps.fraud.evaluation.drift import TrainingSketch, score_reference

    sketch = TrainingSketch.load(folder)
    if sketch is not None:
        rate = float(np.mean(made.scores >= made.threshold))
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


# Monitoring


def _monitor(runtime: Runtime, task: Task, inspection_id: str) -> None:
    from ecluse.apps.fraud.evaluation.drift import TrainingSketch
    from ecluse.apps.fraud.monitoring.measuring import MonitoredVersion, monitor_table
    from ecluse.apps.fraud.monitoring.outcomes import Outcomes, label_column, outcomes_within, read_outcomes
    from ecluse.apps.fraud.monitoring.report import monitoring_content
    from ecluse.apps.fraud.scorers import load_scorer

    inspection, dataset = _inspection(runtime, task, inspection_id)
    request = inspection.request
    with runtime.scratch() as folder:
        task.report("read", 0.0)
        version = _version(runtime, inspection, inspection.version)
        files = _files(runtime, version, folder / "model")
        target, positive = _target(files)
        outcomes: Outcomes | None = None
        with open_stored(runtime, dataset, folder, task) as table:
            if request.get("outcomes"):
                other = table_of(runtime, task.user_id, request["outcomes"])
                (folder / "outcomes").mkdir()
                with open_stored(runtime, other, folder / "outcomes", task) as given:
                    column = request["label"] or label_column(given.columns, request["identifier"], target)
                    outcomes = read_outcomes(
                        given,
                        request["identifier"],
                        column,
                        positive,
                        target=target,
                        named=request.get("positive"),
                    )
            elif request["label"] or target in table.columns:
                outcomes = outcomes_within(
                    table,
                    request["label"] or target,
                    positive,
                    target=target,
                    named=request.get("positive"),
                )
            seen = rows_learned(runtime, version, dataset, table, folder / "seen")
            threshold = threshold_of(read_report(version.report))
            report = monitor_table(
                table,
                MonitoredVersion(load_scorer(files), TrainingSketch.load(files), threshold),
                outcomes=outcomes,
                seen=seen.rows,
                time_column=request["time_column"],
                progress=_scoring(task, dataset, 1.0),
            )
    notes = list(report.notes)
    if outcomes is not None and report.outcomes is not None:
        notes.append(outcomes.says())
    notes += seen_notes(_("This version"), seen, report.rows)
    report = replace(report, seen=seen.count, notes=tuple(notes))
    _done(runtime, inspection_id, monitoring_content(report))


# Comparing and retraining


def _compare(runtime: Runtime, task: Task, inspection_id: str) -> None:

    inspection, dataset = _inspection(runtime, task, inspection_id)
    with runtime.scratch() as folder:
        task.report("read", 0.0)
        with open_stored(runtime, dataset, folder, task) as table:
            seen = {
                letter: rows_learned(
                    runtime,
                    _version(runtime, inspection, name or ""),
                    dataset,
                    table,
                    folder / f"seen-{letter}",
                )
                for letter, name in (("a", inspection.version), ("b", inspection.other_version))
            }
            result = _compared(
                runtime,
                task,
                inspection,
                inspection.other_version,
                table,
                folder,
                seen=seen["a"].rows | seen["b"].rows,
            )
    notes = [note for letter, one in seen.items() for note in seen_notes(letter.upper(), one, result["rows"])]
    result |= {"seen": {letter: one.count for letter, one in seen.items()}, "notes": notes}
    _done(runtime, inspection_id, result)


def seen_notes(who: str, seen: Seen, rows: int) -> list[str]:
    """What to say of rows that a version learned from, and of a table of its that is gone."""
    notes = []
    if seen.count:
        notes.append(
            _(
                "%(who)s learned from %(count)s of these %(total)s rows: no figure counts them.",
                who=who,
                count=num(seen.count, ","),
                total=num(rows, ","),
            )
        )
    if seen.gone:
        notes.append(_("%(who)s learned from a table that is gone: rows of it may be among these.", who=who))
    return notes


def _compared(
    runtime: Runtime,
    task: Task,
    inspection: Inspection,
    other_version: str | None,
    table: Table,
    folder: Path,
    *,
    seen: NDArray[np.bool_] | None = None,
) -> dict[str, Any]:
    from ecluse.apps.fraud.monitoring.comparison import Side, compare_on
    from ecluse.apps.fraud.monitoring.outcomes import outcomes_within
    from ecluse.apps.fraud.scorers import load_scorer

    sides = []
    target, positive = "", None
    for name in (inspection.version, other_version or ""):
        version = _version(runtime, inspection, name)
        files = _files(runtime, version, folder / f"model-{name}")
        if not target:
            target, positive = _target(files)
        sides.append(Side(name, load_scorer(files), threshold_of(read_report(version.report))))
    label = inspection.request.get("label") or (target if target in table.columns else None)
    named = inspection.request.get("positive")
    outcomes = outcomes_within(table, label, positive, target=target, named=named) if label else None
    total = table.row_count()
    return compare_on(
        table,
        *sides,
        outcomes=outcomes,
        seen=seen,
        progress=lambda done: task.report(
            "compare", min(done / total, 1) * 0.95, _("%(done)s / %(total)s", done=done, total=total)
        ),
    )


def _retrain(runtime: Runtime, task: Task, run_id: str) -> dict[str, Any]:
    """Train on the rows that are not kept for comparing, and upload; what publishing needs."""
    from ecluse.apps.fraud.monitoring.holding import hold_out, write_rows
    from ecluse.apps.fraud.tables.dataset import open_table
    from ecluse.apps.fraud.training.training import SearchControl, TrainingPlan, train

    run = work.run_of(runtime, task, run_id)
    dataset = table_of(runtime, task.user_id, run.dataset_id)
    plan = TrainingPlan.from_dict(run.plan)
    with runtime.scratch() as folder:
        task.report("read", 0.0, _("Keeping rows for the comparison"))
        destination, part = folder / "model", folder / "part"
        destination.mkdir()
        with open_stored(runtime, dataset, folder, task) as table:
            held = hold_out(table, plan)
            write_rows(table, ~held, part)
        # The rows to measure on are kept already: of the others all are learned from.
        plan = replace(plan, test_share=0.0)
        with open_table(part, dataset.filename) as rest:
            stop, trials = work.FinishRequest(runtime, run_id), work.Trials(runtime, run_id)
            report = train(
                rest,
                plan,
                destination,
                task.report,
                control=SearchControl(stop, trials),
                checkpoints=checkpoints_of(runtime, task),
            )
            trials.end()
        task.report("save", 0.97)
        uploaded = patiently(lambda: work.upload(runtime, task, run.model_name, destination))
    # Rows that no version of this training has learned from, whatever `refitted` says of the others.
    content = report_content(replace(report, held_out=int(held.sum())))
    return uploaded | {"report": content, "trials": trials.told}


def _publish_retrained(
    runtime: Runtime, task: Task, run_id: str, inspection_id: str, trained: dict[str, Any]
) -> None:
    """Publish, and name the version in the comparison at once: it stays when that is cancelled."""
    work.publish(runtime, task, run_id, trained)
    version = work.run_of(runtime, task, run_id).version
    if version is not None:
        with runtime.catalog.write() as transaction:
            inspections.set_other_version(transaction, inspection_id, version)


def _compare_retrained(runtime: Runtime, task: Task, run_id: str, inspection_id: str) -> None:
    """Both versions on the rows kept from the new one, but for those that the old one may have learned from."""
    from ecluse.apps.fraud.monitoring.holding import hold_out, write_rows
    from ecluse.apps.fraud.tables.dataset import open_table
    from ecluse.apps.fraud.training.plan import TrainingPlan

    run = work.run_of(runtime, task, run_id)
    inspection, dataset = _inspection(runtime, task, inspection_id)
    old = _version(runtime, inspection, inspection.version)
    with runtime.scratch() as folder:
        part = folder / "part"
        with open_stored(runtime, dataset, folder, task) as table:
            held = hold_out(table, TrainingPlan.from_dict(run.plan))
            before = int(held.sum())
            seen = rows_learned(runtime, old, dataset, table, folder / "seen")
            held &= ~seen.rows
            kept = int(held.sum())
            if kept == 0:
                raise InvalidInput(
                    _(
                        "The old version learned from every row that was kept for the comparison. Use later "
                        "rows."
                    )
                )
            write_rows(table, held, part)
        with open_table(part, dataset.filename) as rest:
            result = _compared(runtime, task, inspection, run.version, rest, folder)
    notes = []
    if seen.gone:
        notes.append(
            _("The table of the old version is gone: rows that it learned from may be among those compared.")
        )
    new = _version(runtime, inspection, run.version or "")
    learned = {"a": learned_counts(read_report(old.report)), "b": learned_counts(read_report(new.report))}
    if learned["a"] and learned["b"] and is_poorer(learned["b"][1], learned["a"][1]):
        notes.append(
            _(
                "The new version learned from %(count)s frauds alone, the old one from %(total)s. "
                "Train on one table that holds the rows of both.",
                count=num(learned["b"][1], ","),
                total=num(learned["a"][1], ","),
            )
        )
    result |= {"held_out": before, "left_out": before - kept, "notes": notes, "learned": learned}
    _done(runtime, inspection_id, result, other_version=run.version)


# What all share


def _done(
    runtime: Runtime, inspection_id: str, result: dict[str, Any], other_version: str | None = None
) -> None:
    with runtime.catalog.write() as transaction:
        recorded = inspections.set_done(transaction, inspection_id, result, other_version=other_version)
    if not recorded:
        raise JobCancelled(_("The job was cancelled."))


def _inspection(runtime: Runtime, task: Task, inspection_id: str) -> tuple[Inspection, Dataset]:
    with runtime.catalog.read() as transaction:
        inspection = inspections.inspection_of(transaction, task.user_id, inspection_id)
    dataset = table_of(runtime, task.user_id, inspection.dataset_id)
    while dataset.state == "profiling":
        task.report("read", 0.0, _("Waiting for the table to be read"))
        time.sleep(0.5)
        with runtime.catalog.read() as transaction:
            dataset = datasets.dataset_of(transaction, task.user_id, dataset.id)
    return inspection, dataset


def _version(runtime: Runtime, inspection: Inspection, version: str) -> ModelVersion:
    with runtime.catalog.read() as transaction:
        return model_rows.version_of(transaction, inspection.user_id, inspection.model_name, version)


def _files(runtime: Runtime, version: ModelVersion, destination: Path) -> Path:
    """The verified files of a version, for reading only."""
    models.checkout(runtime, version, destination)
    return destination


def _target(files: Path) -> tuple[str, str | None]:
    """The column a model predicts, and the value of it that means fraud; empty where it predicts none."""
    info = json.loads((files / "model.json").read_text(encoding="utf-8"))
    return str(info.get("target") or ""), info.get("positive_value")


def _scoring(task: Task, dataset: Dataset, share: float) -> Callable[[int], None]:
    total = max(dataset.rows or 0, 1)
    return lambda rows: task.report(
        "score", min(rows / total, 1) * share, _("%(done)s / %(total)s", done=rows, total=total)
    )


#: Every kind of job that looks at a model beside a table.
KINDS: Final[dict[str, JobKind]] = {
    "questions": JobKind(
        run=run_questions,
        queue="predict",
        verb=N_("Choose rows"),
        stages={"read": N_("Read"), "score": N_("Score"), "ask": N_("Choose rows")},
        result=links.labelling,
        ways=links.label_again,
    ),
    "learn": JobKind(
        run=run_learning,
        queue="predict",
        verb=N_("Learn from labels"),
        stages={
            "read": N_("Read"),
            "score": N_("Score"),
            "learn": N_("Learn from labels"),
            "save": N_("Save"),
        },
        result=links.labelling,
        ways=links.label_again,
    ),
    "monitor": JobKind(
        run=run_monitor,
        queue="predict",
        verb=N_("Watch"),
        stages={"read": N_("Read"), "score": N_("Score")},
        result=links.inspection,
        ways=links.monitor_again,
    ),
    "compare": JobKind(
        run=run_comparison,
        queue="predict",
        verb=N_("Compare"),
        stages={"read": N_("Read"), "compare": N_("Compare")},
        result=links.inspection,
        ways=links.monitor_again,
    ),
    "retrain": JobKind(
        run=run_retraining,
        queue="train",
        verb=N_("Train again"),
        stages={**work.SEARCH_STAGES, "compare": N_("Compare")},
        finish=runs.ask_to_finish,
        result=links.inspection,
        ways=links.monitor_again,
    ),
}
