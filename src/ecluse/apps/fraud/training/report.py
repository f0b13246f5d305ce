"""Tell what a trained model does on rows it has never seen, and how it came to be."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.evaluation.metrics import (
    average_precision,
    bootstrap_intervals,
    calibration_curve,
    confusion,
    costs,
    measure,
    precision_recall_curve,
    roc_curve,
    score_histogram,
)
from ecluse.apps.fraud.evaluation.segments import by_period, weakest_groups
from ecluse.apps.fraud.evaluation.split import Split
from ecluse.apps.fraud.families import FittedModel
from ecluse.apps.fraud.features.selection import best_single
from ecluse.apps.fraud.profiling.checks import FEW_POSITIVES
from ecluse.apps.fraud.profiling.parts import (
    contradictions,
    drifts,
    label_suspects,
    repeats,
    step_to,
    warn_of_contradictions,
    warn_of_drift,
    warn_of_repeats,
)
from ecluse.apps.fraud.training.labelled import LabelledRows, days_between
from ecluse.apps.fraud.training.plan import TrainingPlan
from ecluse.apps.fraud.training.preparation import Prepared
from ecluse.apps.fraud.training.record import library_versions
from ecluse.apps.fraud.training.search import Blend, SearchResult
from ecluse.sentences import _, num

FORMAT = 1
MOST_DRIFTS = 20
# Alerts come in bursts: so many times the number asked for is more than a burst.
MORE_ALERTS = 1.5
# A column that alone reaches this average precision, and this share of the model's, may be filled in afterwards.
GIVES_AWAY = 0.97
# From this average precision on the figures are doubted before they are believed.
TOO_GOOD = 0.99
RESPONSIBLE = 3


@dataclass(frozen=True)
class TrainingReport:
    """The content of `performance.json`: `content` holds plain JSON values."""

    content: dict[str, Any]

    @property
    def metrics(self) -> dict[str, float]:
        """Figures on the untouched test rows."""
        metrics: dict[str, float] = self.content["metrics"]
        return metrics

    @property
    def threshold(self) -> float:
        return float(self.content["threshold"])

    def to_dict(self) -> dict[str, Any]:
        return self.content

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> TrainingReport:
        return cls(data)


@dataclass(frozen=True)
class FinalModel:
    """The model that is measured, with its own features."""

    prepared: Prepared
    model: FittedModel
    refitted: bool


@dataclass(frozen=True)
class MeasuredRows:
    """The rows that all figures are of: the test part, or without one the rows each fold held out."""

    part: Literal["test", "folds"]
    at: NDArray[np.int64]
    labels: NDArray[np.int8]
    probabilities: NDArray[np.float64]

    def only(self, rows: NDArray[np.bool_]) -> MeasuredRows:
        """Some of these rows."""
        return MeasuredRows(self.part, self.at[rows], self.labels[rows], self.probabilities[rows])


def report_of(
    rows: LabelledRows,
    split: Split,
    final: FinalModel,
    found: SearchResult,
    chosen: Blend,
    plan: TrainingPlan,
    measured: MeasuredRows,
    threshold: float,
) -> dict[str, Any]:
    """The content of the report."""
    prepared = final.prepared
    labels, test = measured.labels, measured.probabilities
    intervals = _intervals(rows, measured, threshold, plan.seed)
    parts = {name: part for name, part in split.parts().items() if len(part)}
    baseline = _baseline(prepared, measured)
    metrics, importances = measure(labels, test, threshold), _importances(final)
    told = [*prepared.warnings, *_warnings(measured, baseline, prepared.warnings)]
    told += _missed_goal(rows, measured, plan, threshold, intervals)
    closer, more = _look_closer(rows, split, measured, prepared, plan, threshold)
    return {
        "format": FORMAT,
        "target": plan.target,
        "positive_value": rows.meaning.value,
        "positive_share": float(rows.labels.mean()),
        "positive_reason": rows.meaning.reason,
        "family": final.model.family,
        "params": dict(chosen.members[0][0].params) if len(chosen.members) == 1 else {},
        "members": _members(chosen),
        "out_of_fold": _out_of_fold(found, chosen, plan),
        "fitted_on": ["train", "validation"] if final.refitted else ["train"],
        "measured_on": measured.part,
        "metrics": metrics,
        "doubt": _doubt(metrics["average_precision"], importances),
        "intervals": {name: list(bounds) for name, bounds in intervals.items()},
        "threshold": threshold,
        "goal": plan.goal.to_dict(),
        "confusion": confusion(labels, test, threshold),
        "cost": costs(labels, test, threshold, plan.goal) if plan.goal.kind == "cost" else None,
        "curves": {
            "pr": precision_recall_curve(labels, test),
            "roc": roc_curve(labels, test),
            "calibration": calibration_curve(labels, test),
        },
        "histogram": score_histogram(labels, test),
        "baseline": baseline,
        "importances": importances,
        "leaderboard": list(found.leaderboard),
        "giveaways": [one.to_dict() | {"kept": one.column in plan.keep} for one in rows.giveaways],
        "dropped": [asdict(item) for item in prepared.selector.dropped],
        "warnings": [*told, *more],
        **closer,
        "rows": {name: len(part) for name, part in parts.items()},
        "fraud_rate": {name: float(rows.labels[part].mean()) for name, part in parts.items()},
        "frauds_repeat": rows.frauds_repeat,
        "distinct_frauds": {name: rows.distinct_frauds(part) for name, part in parts.items()},
        "split": split.to_dict() | {"cuts": _shown_cuts(rows, split, plan)},
        "features": len(prepared.selector.features),
        "budget_s": plan.budget_s,
        "seed": plan.seed,
        "versions": library_versions(),
    }


def say_doubt(report: dict[str, Any]) -> list[str]:
    """What to say first of figures that are too good to be believed."""
    doubt = report["doubt"]
    if doubt is None:
        return []
    columns = ", ".join(f"{column} ({100 * share:.0f} %)" for column, share in doubt["columns"])
    reached = doubt["average_precision"]
    return [
        _(
            "An average precision of %(count)s is rarely true of fraud. The model goes by "
            "%(columns)s most: check that each is known before the outcome, and that no row is in "
            "the table twice.",
            count=num(reached, ".3f"),
            columns=columns,
        )
    ]


def _doubt(reached: float, importances: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The columns most responsible for figures that are too good, with their shares; None where they are not."""
    if reached < TOO_GOOD:
        return None
    shares: dict[str, float] = {}
    for item in importances:
        shares[item["column"]] = shares.get(item["column"], 0.0) + item["share"]
    ranked = sorted(shares.items(), key=lambda item: -item[1])[:RESPONSIBLE]
    return {"average_precision": reached, "columns": [[column, round(share, 4)] for column, share in ranked]}


def _members(chosen: Blend) -> list[dict[str, Any]]:
    """The models in the blend, heaviest first; weights sum to 1."""
    return [
        {
            "name": candidate.name,
            "family": candidate.family,
            "params": dict(candidate.params),
            "rounds": candidate.rounds,
            "weight": round(weight, 4),
            "validation_average_precision": candidate.average_precision,
        }
        for candidate, weight in chosen.members
    ]


def _out_of_fold(found: SearchResult, chosen: Blend, plan: TrainingPlan) -> dict[str, Any]:
    """How the blend ranks the rows that its folds held out; the interval is that of the first draw of folds."""
    at = found.panels == 0
    labels = found.labels[at]
    intervals = bootstrap_intervals(labels, chosen.margins[at], float("inf"), seed=plan.seed)
    return {
        "average_precision": chosen.average_precision,
        "interval": list(intervals["average_precision"]),
        "folds": found.folds,
        "draws": int(found.panels.max()) + 1,
        "rows": len(labels),
        "frauds": int(labels.sum()),
    }


def _intervals(
    rows: LabelledRows, measured: MeasuredRows, threshold: float, seed: int
) -> dict[str, tuple[float, float]]:
    """Of all measured rows; where frauds among them repeat, so wide that those of the distinct ones are within."""
    found = bootstrap_intervals(measured.labels, measured.probabilities, threshold, seed=seed)
    apart = rows.told_apart(measured.at)
    if apart.all():
        return found
    distinct = measured.only(apart)
    other = bootstrap_intervals(distinct.labels, distinct.probabilities, threshold, seed=seed)
    return {
        name: (min(low, other[name][0]), max(high, other[name][1])) for name, (low, high) in found.items()
    }


def _baseline(prepared: Prepared, measured: MeasuredRows) -> dict[str, Any]:
    data = prepared.data
    matrix, labels = (
        (prepared.test, prepared.test_labels) if len(prepared.test) else (data.train, data.train_labels)
    )
    at, found = best_single(data.train, data.train_labels, matrix, labels)
    return {
        "fraud_rate": float(measured.labels.mean()),
        "best_feature": prepared.selector.features[at],
        "best_column": _column_of(prepared, at),
        "best_feature_average_precision": found,
    }


def _column_of(prepared: Prepared, at: int) -> str:
    wanted = prepared.selector.features[at]
    return next(feature.column for feature in prepared.engineer.features if feature.name == wanted)


def _look_closer(
    rows: LabelledRows,
    split: Split,
    measured: MeasuredRows,
    prepared: Prepared,
    plan: TrainingPlan,
    threshold: float,
) -> tuple[dict[str, Any], list[str]]:
    """Where the model does worse, what makes its figures promise too much, and what to warn of."""
    # Numbers of rows and other columns that the model does not read tell every row apart, and say nothing.
    read = frozenset(prepared.engineer.columns) - {plan.time_column}
    lasting = {spec.name: spec.kind for spec in rows.columns if spec.name in read}
    labels, test, frame = measured.labels, measured.probabilities, rows.frame[measured.at]
    learned, new = (split.learning, split.test) if len(split.test) else (split.train, split.validation)
    found = repeats(rows.frame, lasting, learned, new)
    twins = contradictions(rows.frame, list(lasting), rows.labels)
    early = rows.frame[learned[:: step_to(len(learned))]]
    moved = drifts(early, rows.frame[new], lasting) if split.kind == "time" else ()
    warnings = [
        *warn_of_repeats(found),
        *warn_of_contradictions(twins, int(rows.labels.sum())),
        *warn_of_drift(moved),
    ]
    return {
        "groups": weakest_groups(frame, lasting, labels, test >= threshold),
        "periods": _periods(rows, measured, plan, threshold),
        "repeated": asdict(found),
        "contradicted_frauds": twins,
        "label_suspects": label_suspects(labels, test),
        "drift": [drift.to_dict() for drift in moved[:MOST_DRIFTS]],
    }, warnings


def _periods(
    rows: LabelledRows, measured: MeasuredRows, plan: TrainingPlan, threshold: float
) -> list[dict[str, Any]]:
    times = None if plan.time_column is None else rows.frame[plan.time_column][measured.at]
    if times is None or times.dtype != pl.Datetime("us") or times.is_null().all():
        return []
    return by_period(times, measured.labels, measured.probabilities, threshold)


def _importances(final: FinalModel) -> list[dict[str, Any]]:
    by_name = {feature.name: feature for feature in final.prepared.engineer.features}
    names, shares = final.prepared.selector.features, final.model.importances()
    ranked = sorted(zip(names, shares, strict=True), key=lambda item: -item[1])
    return [
        {"column": by_name[name].column, "feature": name, "share": round(float(share), 6)}
        for name, share in ranked
    ]


def _warnings(measured: MeasuredRows, baseline: dict[str, Any], told: Sequence[str]) -> list[str]:
    warnings = []
    labels, test = measured.labels, measured.probabilities
    reached, alone = average_precision(labels, test), baseline["best_feature_average_precision"]
    column = baseline["best_column"]
    named = any(warning.startswith(f"{column} alone ") for warning in told)
    if alone >= max(GIVES_AWAY, GIVES_AWAY * reached) and not named:
        warnings.append(
            _(
                "%(column)s alone ranks the test rows almost as well as the model (average precision "
                "%(count)s of %(total)s): check that it is known before the outcome, or leave it out.",
                column=column,
                count=num(alone, ".3f"),
                total=num(reached, ".3f"),
            )
        )
    if reached < 1.5 * float(labels.mean()):
        warnings.append(
            _("The model ranks the test rows little better than chance; do not rely on its scores.")
        )
    if measured.part == "test" and int(labels.sum()) < FEW_POSITIVES:
        warnings.append(
            _("The test part holds only %(count)s frauds; see the intervals.", count=int(labels.sum()))
        )
    return warnings


def _missed_goal(
    rows: LabelledRows,
    measured: MeasuredRows,
    plan: TrainingPlan,
    threshold: float,
    intervals: dict[str, tuple[float, float]],
) -> list[str]:
    """What to say of a threshold that met its goal where it was chosen, and clearly does not on the test rows."""
    goal, flagged = plan.goal, measured.probabilities >= threshold
    if measured.part != "test" or goal.value is None:
        return []
    reached = measure(measured.labels, measured.probabilities, threshold)
    if goal.kind == "recall" and intervals["recall"][1] < goal.value:
        return [
            _(
                "The threshold was chosen to find %(share)s of fraud; of the test rows it finds %(rate)s.",
                share=num(goal.value, ".0%"),
                rate=num(reached["recall"], ".0%"),
            )
        ]
    if goal.kind == "precision" and intervals["precision"][1] < goal.value:
        return [
            _(
                "The threshold was chosen so that %(share)s of alerts are right; of the test rows "
                "%(rate)s are.",
                share=num(goal.value, ".0%"),
                rate=num(reached["precision"], ".0%"),
            )
        ]
    days = days_between(rows, measured.at, plan)
    if goal.kind == "alerts_per_day" and days and flagged.sum() > MORE_ALERTS * goal.value * days:
        return [
            _(
                "The threshold was chosen for %(count)s alerts a day; on the test rows it raises %(number)s.",
                count=num(goal.value, "g"),
                number=num(flagged.sum() / days, ".1f"),
            )
        ]
    return []


def _shown_cuts(rows: LabelledRows, split: Split, plan: TrainingPlan) -> list[str] | None:
    """The first time of the validation and of the test part, as ISO 8601 or as the number it is."""
    if split.cuts is None or plan.time_column is None:
        return None
    if rows.frame[plan.time_column].dtype != pl.Datetime("us"):
        return [f"{cut:.15g}" for cut in split.cuts]
    zone = datetime.UTC
    return [datetime.datetime.fromtimestamp(cut, zone).replace(tzinfo=None).isoformat() for cut in split.cuts]
