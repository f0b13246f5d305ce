"""Do the jobs that monitor a version on a table, compare two, and train one again.

What they say is the `result` of an inspection's row. A step may run twice and then leaves the same result.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ecluse.apps.fraud import links
from ecluse.apps.fraud.actions.monitoring import is_poorer, learned_counts
from ecluse.apps.fraud.jobs import main as work
from ecluse.apps.fraud.jobs.inspections import (
    checked_out,
    inspected_version,
    inspection_and_table,
    record_result,
    scoring_progress,
)
from ecluse.apps.fraud.jobs.labelling import run_learning, run_questions
from ecluse.apps.fraud.jobs.seen import Seen, rows_learned
from ecluse.apps.fraud.jobs.tables import open_stored, table_of
from ecluse.apps.fraud.monitoring.compared import ComparisonReport, comparison_content
from ecluse.apps.fraud.performance.reports import (
    read_report,
    report_content,
    threshold_of,
)
from ecluse.apps.fraud.rows import inspections
from ecluse.apps.fraud.rows.tables import Inspection
from ecluse.catalog import runs
from ecluse.checkpoints import checkpoints_of
from ecluse.errors import InvalidInput
from ecluse.jobs import JobKind, Task, patiently
from ecluse.runtime import Runtime
from ecluse.sentences import N_, _, num

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ecluse.tabular.dataset import Table


def run_monitor(runtime: Runtime, task: Task, inspection_id: str) -> None:
    task.step("monitor", _monitor, runtime, task, inspection_id)


def run_comparison(runtime: Runtime, task: Task, inspection_id: str) -> None:
    task.step("compare", _compare, runtime, task, inspection_id)


def run_retraining(runtime: Runtime, task: Task, run_id: str, inspection_id: str) -> None:
    trained = task.step("train", _retrain, runtime, task, run_id)
    task.step("publish", _publish_retrained, runtime, task, run_id, inspection_id, trained)
    task.step("compare", _compare_retrained, runtime, task, run_id, inspection_id)


# Questions and learning


# Monitoring


def _monitor(runtime: Runtime, task: Task, inspection_id: str) -> None:
    from ecluse.apps.fraud.evaluation.drift import TrainingSketch
    from ecluse.apps.fraud.monitoring.measuring import MonitoredVersion, monitor_table
    from ecluse.apps.fraud.monitoring.outcomes import Outcomes, label_column, outcomes_within, read_outcomes
    from ecluse.apps.fraud.monitoring.report import monitoring_content
    from ecluse.apps.fraud.scorers import load_scorer

    inspection, dataset = inspection_and_table(runtime, task, inspection_id)
    request = inspection.request
    with runtime.scratch() as folder:
        task.report("read", 0.0)
        version = inspected_version(runtime, inspection, inspection.version)
        files = checked_out(runtime, version, folder / "model")
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
                progress=scoring_progress(task, dataset, 1.0),
            )
    notes = list(report.notes)
    if outcomes is not None and report.outcomes is not None:
        notes.append(outcomes.says())
    notes += seen_notes(_("This version"), seen, report.rows)
    report = replace(report, seen=seen.count, notes=tuple(notes))
    record_result(runtime, inspection_id, monitoring_content(report))


# Comparing and retraining


def _compare(runtime: Runtime, task: Task, inspection_id: str) -> None:

    inspection, dataset = inspection_and_table(runtime, task, inspection_id)
    with runtime.scratch() as folder:
        task.report("read", 0.0)
        with open_stored(runtime, dataset, folder, task) as table:
            seen = {
                letter: rows_learned(
                    runtime,
                    inspected_version(runtime, inspection, name or ""),
                    dataset,
                    table,
                    folder / f"seen-{letter}",
                )
                for letter, name in (("a", inspection.version), ("b", inspection.other_version))
            }
            report = _compared(
                runtime,
                task,
                inspection,
                inspection.other_version,
                table,
                folder,
                seen=seen["a"].rows | seen["b"].rows,
            )
    notes = [note for letter, side in seen.items() for note in seen_notes(letter.upper(), side, report.rows)]
    report = replace(report, seen={letter: side.count for letter, side in seen.items()}, notes=tuple(notes))
    record_result(runtime, inspection_id, comparison_content(report))


def seen_notes(who: str, seen: Seen, rows: int) -> list[str]:
    """Return what to say of rows that a version learned from, and of a table of its that is gone."""
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
) -> ComparisonReport:
    from ecluse.apps.fraud.monitoring.comparison import Side, compare_on
    from ecluse.apps.fraud.monitoring.outcomes import outcomes_within
    from ecluse.apps.fraud.scorers import load_scorer

    sides = []
    target, positive = "", None
    for name in (inspection.version, other_version or ""):
        version = inspected_version(runtime, inspection, name)
        files = checked_out(runtime, version, folder / f"model-{name}")
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
    from ecluse.apps.fraud.training.training import SearchControl, TrainingPlan, train
    from ecluse.tabular.dataset import open_table

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
    return uploaded | {"report": content, "trials": trials.tried}


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
    from ecluse.apps.fraud.training.plan import TrainingPlan
    from ecluse.tabular.dataset import open_table

    run = work.run_of(runtime, task, run_id)
    inspection, dataset = inspection_and_table(runtime, task, inspection_id)
    old = inspected_version(runtime, inspection, inspection.version)
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
            report = _compared(runtime, task, inspection, run.version, rest, folder)
    notes = []
    if seen.gone:
        notes.append(
            _("The table of the old version is gone: rows that it learned from may be among those compared.")
        )
    new = inspected_version(runtime, inspection, run.version or "")
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
    report = replace(report, held_out=before, left_out=before - kept, notes=tuple(notes), learned=learned)
    record_result(runtime, inspection_id, comparison_content(report), other_version=run.version)


# What all share


def _target(files: Path) -> tuple[str, str | None]:
    """Return the column a model predicts, and the value of it that means fraud; empty where it predicts none."""
    from ecluse.apps.fraud.scoring.model import read_json

    info = read_json(files / "model.json")
    return str(info.get("target") or ""), info.get("positive_value")


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
        verb=N_("Monitor"),
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
