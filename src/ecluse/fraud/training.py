"""Train a fraud model from a labelled table, and measure it on rows it has never seen."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecluse.fraud.calibration import Calibration, fit_calibration
from ecluse.fraud.card import write_card
from ecluse.fraud.clock import Clock, Progress, with_heartbeat
from ecluse.fraud.dataset import Table
from ecluse.fraud.evaluation import Goal, alert_cut, choose_threshold
from ecluse.fraud.labelled import LabelledRows, days_between, read_labelled, split_labelled
from ecluse.fraud.models import family
from ecluse.fraud.plan import TrainingPlan
from ecluse.fraud.preparation import Prepared, prepare, prepare_again
from ecluse.fraud.report import FORMAT, FinalModel, TrainingReport, report_of
from ecluse.fraud.search import Candidate, SearchResult, search_models
from ecluse.fraud.split import Split

__all__ = ["Goal", "Progress", "TrainingPlan", "TrainingReport", "train"]

MODEL_FILE = "model.json"
FEATURES_FILE = "features.json"
REPORT_FILE = "performance.json"

SEARCH_UNTIL = 0.97
# The best settings are fitted again on a third more rows: for that, time is kept for features and the fit.
REFIT_ROWS = 200_000
REFIT_SHARE = 0.25
OVERRUN = 1.1
MORE_TIME = 1.4
# More rows carry a few more rounds before the fit learns noise.
MORE_ROUNDS = 1.1
MEDIUM_ALERTS = 3


def train(
    table: Table,
    plan: TrainingPlan,
    destination: Path,
    progress: Progress,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> TrainingReport:
    """Read the table, train within `plan.budget_s` seconds, and write the model's files into `destination`.

    Models are fitted on the training part, and chosen, calibrated and given a threshold on the validation
    part. The chosen settings are then fitted on both parts, when time is left, and measured on the test part:
    the model that was measured is the one that is written.

    `stop` is asked between fits and rounds; once it is true the search ends, and the best so far is calibrated,
    measured and saved. `progress` may raise to cancel instead.

    Raises:
        UnusableTarget: the target is missing, or has not two usable classes.
        InvalidInput: another named column is missing or does not fit its role.
    """
    clock = Clock(time.monotonic(), plan.budget_s, progress)
    rows = read_labelled(table, plan, clock)
    split, warnings = split_labelled(rows, plan)
    prepared = prepare(rows, split, plan, clock, warnings)
    found = _search(prepared, plan, clock, stop)
    calibration, cuts = _calibrate(rows, split, prepared, found.best, plan, clock)
    final = _refit(rows, split, prepared, found.best, plan, clock)
    return _finish(rows, split, final, found, calibration, cuts, plan, destination, clock)


def _search(prepared: Prepared, plan: TrainingPlan, clock: Clock, stop: Callable[[], bool]) -> SearchResult:
    begun = clock.seconds()
    left = max(SEARCH_UNTIL * plan.budget_s - _reserve(prepared) - begun, 0.0)
    refit = _affords_refit(prepared, left)
    end = left * (1 - MORE_TIME * REFIT_SHARE) - MORE_TIME * prepared.seconds if refit else left
    longest = REFIT_SHARE * left if refit else None

    def report(message: str) -> None:
        share = (clock.seconds() - begun) / max(plan.budget_s - begun, 1e-9)
        clock.say("search", 0.1 + 0.8 * min(share, 1.0), message, always=False)

    deadline = clock.started + begun + end
    return search_models(
        prepared.data, seed=plan.seed, deadline=deadline, longest_fit=longest, report=report, stop=stop
    )


def _affords_refit(prepared: Prepared, left: float) -> bool:
    """Whether to keep time for a second fit: it helps small data, and large data needs the time to be fitted once."""
    return len(prepared.data.train) <= REFIT_ROWS and MORE_TIME * prepared.seconds <= 0.3 * left


def _reserve(prepared: Prepared) -> float:
    """Seconds for the measurement at the end, which grows with the test rows: 200 resamples of each."""
    return 0.2 + 2e-5 * len(prepared.test_labels)


@dataclass(frozen=True)
class _Cuts:
    """Probabilities from which the risk is HIGH and MEDIUM."""

    high: float
    medium: float


def _calibrate(
    rows: LabelledRows, split: Split, prepared: Prepared, best: Candidate, plan: TrainingPlan, clock: Clock
) -> tuple[Calibration, _Cuts]:
    clock.say("calibrate", 0.9, "Calibrating on the validation rows")
    labels, margins = prepared.data.valid_labels, best.model.predict_margin(prepared.data.valid)
    calibration = fit_calibration(labels, margins)
    valid = calibration.probabilities(margins)
    high = choose_threshold(labels, valid, plan.goal, days=days_between(rows, split.validation, plan))
    medium = alert_cut(valid, MEDIUM_ALERTS * float(np.sum(valid >= high)))
    return calibration, _Cuts(high, min(medium, high))


def _refit(
    rows: LabelledRows, split: Split, prepared: Prepared, best: Candidate, plan: TrainingPlan, clock: Clock
) -> FinalModel:
    """The best settings fitted on training and validation rows together, when the budget allows it."""
    expected = MORE_TIME * (prepared.seconds + best.seconds)
    too_late = clock.seconds() + expected + _reserve(prepared) > SEARCH_UNTIL * plan.budget_s
    if too_late or len(prepared.data.train) > REFIT_ROWS:
        return FinalModel(prepared, best.model, refitted=False)
    tick = clock.tick("calibrate", 0.92, "Fitting the best settings on training and validation rows")
    again = prepare_again(rows, split, prepared, plan.seed, tick)
    params = {**best.params, "fixed_rounds": round(MORE_ROUNDS * best.model.rounds)}
    model = family(best.family).fit(
        again.data, params, seed=plan.seed, deadline=clock.started + SEARCH_UNTIL * plan.budget_s, tick=tick
    )
    return FinalModel(again, model, refitted=True)


def _finish(
    rows: LabelledRows,
    split: Split,
    final: FinalModel,
    found: SearchResult,
    calibration: Calibration,
    cuts: _Cuts,
    plan: TrainingPlan,
    destination: Path,
    clock: Clock,
) -> TrainingReport:
    clock.say("test", 0.94, "Measuring on the test rows")
    test = calibration.probabilities(final.model.predict_margin(final.prepared.test))
    tick = clock.tick("test", 0.95, "Measuring on the test rows")
    content = with_heartbeat(lambda: report_of(rows, split, final, found, plan, test, cuts.high), tick)
    content |= {"medium_threshold": cuts.medium, "calibration": calibration.method}
    clock.say("save", 0.97, "Saving the model")
    content["seconds"] = round(clock.seconds(), 2)
    if clock.seconds() > OVERRUN * plan.budget_s:
        content["warnings"].append(
            f"Training took {clock.seconds():.0f} s instead of {plan.budget_s:g} s: reading and describing so many "
            "values takes longer. Leave columns out, or give it more time."
        )
    _save(rows, final, calibration, content, plan, destination)
    clock.say("save", 1.0, "Saved")
    return TrainingReport(content)


def _save(
    rows: LabelledRows,
    final: FinalModel,
    calibration: Calibration,
    content: dict[str, Any],
    plan: TrainingPlan,
    destination: Path,
) -> None:
    destination.mkdir(parents=True, exist_ok=True)
    prepared, model_file = final.prepared, final.model.save(destination)
    files = [model_file, prepared.selector.save(destination), *prepared.engineer.save(destination)]
    specs = {spec.name: spec for spec in rows.specs}
    columns = [specs[name].to_dict() for name in prepared.engineer.columns]
    _write_json(
        destination / FEATURES_FILE, {"columns": columns, "features": list(prepared.selector.features)}
    )
    _write_json(destination / REPORT_FILE, content)
    write_card(destination, content)
    passed_on = dict.fromkeys([*plan.identifier_columns, plan.customer_column, plan.time_column])
    model = {
        "format": FORMAT,
        "family": final.model.family,
        "model_file": model_file,
        "files": [*files, FEATURES_FILE, REPORT_FILE, "model_card.md"],
        "target": plan.target,
        "positive_value": content["positive_value"],
        "threshold": content["threshold"],
        "medium_threshold": content["medium_threshold"],
        "calibration": calibration.to_dict(),
        "passed_on": [name for name in passed_on if name is not None],
        "customer_column": plan.customer_column,
        "time_column": plan.time_column,
        "usual_fraud_rate": content["fraud_rate"]["train"],
    }
    _write_json(destination / MODEL_FILE, model)


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8")
