"""Say what a training measured, spent and decided, and write its files."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.clock import Effort
from ecluse.apps.fraud.evaluation.calibration import Calibration
from ecluse.apps.fraud.evaluation.drift import TrainingSketch, sketch_training
from ecluse.apps.fraud.evaluation.plots import write_plots
from ecluse.apps.fraud.families import FittedModel
from ecluse.apps.fraud.features.history import times_of
from ecluse.apps.fraud.performance.parts import FORMAT, REPORT_FILE, TrainingEffort
from ecluse.apps.fraud.performance.reports import write_report
from ecluse.apps.fraud.performance.trained import TrainingReport
from ecluse.apps.fraud.training.card import CARD_FILE, write_card
from ecluse.apps.fraud.training.folds import Chosen, Training
from ecluse.apps.fraud.training.plan import TrainingPlan
from ecluse.apps.fraud.training.preparation import Prepared
from ecluse.apps.fraud.training.record import TrainingRecord
from ecluse.apps.fraud.training.report import FinalModel, MeasuredRows, column_shares
from ecluse.apps.fraud.training.search import SearchResult
from ecluse.sentences import _, num, pack

MODEL_FILE = "model.json"
FEATURES_FILE = "features.json"
OVERRUN = 1.1
SKETCH_ROWS = 20_000


def record_of(training: Training, chosen: Chosen, report: TrainingReport, spent: Effort) -> TrainingRecord:
    course, search = chosen.course, chosen.search
    return TrainingRecord(
        table=training.digest,
        plan=training.plan.to_dict(),
        versions=report.versions,
        threads=course.maker.threads,
        salt=course.maker.salt,
        groups=None if course.groups is None else tuple(sorted(course.groups)),
        folds=search.folds,
        refit=course.refit,
        trials=search.trials,
        planned=search.planned,
        begun=search.begun,
        ended=search.ended,
        for_use=report.refit,
        spent=asdict(spent),
    )


def effort_of(training: Training, search: SearchResult, spent: Effort | None = None) -> TrainingEffort:
    """Tell how much was tried, and with how much time and processor; by now where no effort is given."""
    spent = training.clock.watch.effort() if spent is None else spent
    return TrainingEffort(
        budget_s=training.plan.budget_s,
        wall_s=round(spent.wall, 2),
        work_s=round(spent.work, 2),
        processor_s=round(spent.processor, 2),
        processor_share=round(spent.share, 3),
        folds=search.folds,
        candidates=len(search.trials),
        candidates_begun=search.begun,
        candidates_planned=search.planned,
        rounds=sum(fit.rounds for trial in search.trials for fit in trial.fits),
        cut_short=tuple(candidate.name for candidate in search.ranked if candidate.was_cut),
        ended=search.ended,
    )


def slowness_warnings(plan: TrainingPlan, spent: Effort) -> list[str]:
    """Say why the training took longer than its budget, if it did."""
    warnings = []
    if spent.work > OVERRUN * plan.budget_s:
        warnings.append(
            _(
                "Training took %(count)s s of work instead of %(budget)s s: so many values take "
                "longer to read, describe and learn once. Leave columns out, or give it more time.",
                count=num(spent.work, ".0f"),
                budget=num(plan.budget_s, "g"),
            )
        )
    if spent.is_busy and spent.wall > OVERRUN * max(plan.budget_s, spent.work):
        warnings.append(
            _(
                "Other programs had the processor: %(work)s s of work took %(count)s s. As much was "
                "tried as on a quiet machine.",
                work=num(spent.work, ".0f"),
                count=num(spent.wall, ".0f"),
            )
        )
    return warnings


def tested_digest(training: Training, measured: MeasuredRows) -> str:
    """Digest which rows were measured: the same for the same rows and labels, of whichever upload of the table."""
    rows, plan = training.rows, training.plan
    subject = json.dumps([training.digest, plan.target, rows.meaning.fraud, measured.part])
    digest = hashlib.sha256(subject.encode())
    digest.update(np.sort(measured.at).astype("<i8").tobytes())
    return digest.hexdigest()


def measured_rows(training: Training, chosen: Chosen, final: FinalModel) -> MeasuredRows:
    """Take the test rows with their probabilities; without a test part, what the folds said of rows they held out.

    Where frauds repeat, each distinct one is there once; by time all are, as they will be in use.
    """
    split, prepared, calibration, search = training.split, final.prepared, chosen.calibration, chosen.search
    if len(prepared.test):
        probabilities = calibration.probabilities(final.model.predict_margin(prepared.test))
        rows = MeasuredRows("test", split.test, prepared.test_labels, probabilities)
    else:
        at = search.panels == 0
        probabilities = calibration.probabilities(chosen.blend.margins[at])
        rows = MeasuredRows("folds", chosen.course.held(search.folds), search.labels[at], probabilities)
    return rows if split.kind == "time" else rows.only(training.rows.told_apart(rows.at))


def sketch_of(
    training: Training, prepared: Prepared, unseen: NDArray[np.float64], report: TrainingReport
) -> TrainingSketch:
    """Keep what later rows are compared with: a sample of the training rows, and scores of rows not learned from."""
    rows, split, plan = training.rows, training.split, training.plan
    specs = {spec.name: spec for spec in rows.specs}
    sample = rows.frame[split.train[:: max(1, -(-len(split.train) // SKETCH_ROWS))]]
    until = None
    if plan.time_column is not None:
        parts = [split.learning, split.test] if report.refitted else [split.learning]
        learned = rows.frame[plan.time_column][np.concatenate(parts)]
        times = times_of(learned) if learned.dtype != pl.String else np.array([np.nan])
        until = None if np.isnan(times).all() else float(np.nanmax(times))
    return sketch_training(
        sample,
        [specs[name] for name in prepared.engineer.columns],
        importance=column_shares(report.importances),
        scores=unseen,
        threshold=report.threshold,
        until=until,
        time=specs[plan.time_column] if plan.time_column is not None else None,
    )


@dataclass(frozen=True)
class FinishedTraining:
    """What is written of a training."""

    training: Training
    prepared: Prepared
    model: FittedModel
    calibration: Calibration
    report: TrainingReport
    sketch: TrainingSketch
    record: TrainingRecord


def save_training(made: FinishedTraining, destination: Path) -> None:
    plan, prepared, report = made.training.plan, made.prepared, made.report
    destination.mkdir(parents=True, exist_ok=True)
    model_files = made.model.save(destination)
    files = [*model_files, prepared.selector.save(destination), *prepared.engineer.save(destination)]
    files += [made.sketch.save(destination), made.record.save(destination)]
    specs = {spec.name: spec for spec in made.training.rows.specs}
    columns = [specs[name].to_dict() for name in prepared.engineer.columns]
    _write_json(
        destination / FEATURES_FILE, {"columns": columns, "features": list(prepared.selector.features)}
    )
    write_report(destination, report)
    write_card(destination, report)
    passed_on = dict.fromkeys([*plan.identifier_columns, plan.customer_column, plan.time_column])
    description = {
        "format": FORMAT,
        "family": made.model.family,
        "model_file": model_files[0],
        "files": [*files, FEATURES_FILE, REPORT_FILE, CARD_FILE, *write_plots(destination, report)],
        "target": plan.target,
        "positive_value": report.positive_value,
        **report.thresholds.to_dict(),
        "calibration": made.calibration.to_dict(),
        "passed_on": [name for name in passed_on if name is not None],
        "customer_column": plan.customer_column,
        "time_column": plan.time_column,
        "usual_fraud_rate": report.fraud_rate["train"],
        "simulated": report.simulated,
    }
    _write_json(destination / MODEL_FILE, description)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(
        json.dumps(pack(content), indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8"
    )
