"""Tell what a trained model does on rows it has never seen, and how it came to be."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.evaluation.metrics import (
    bootstrap_intervals,
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
from ecluse.apps.fraud.measures import average_precision, calibration_curve
from ecluse.apps.fraud.performance.parts import (
    Baseline,
    BlendMember,
    ColumnDrift,
    Curves,
    Doubt,
    DroppedColumn,
    GiveawayColumn,
    Group,
    Importance,
    LabelSuspects,
    OutOfFold,
    Period,
    Refit,
    Repeated,
    SplitFacts,
    TrainingEffort,
)
from ecluse.apps.fraud.performance.trained import TrainingReport
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
from ecluse.apps.fraud.risk import Thresholds
from ecluse.apps.fraud.tables.meaning import require_meaning
from ecluse.apps.fraud.training.labelled import LabelledRows, days_between
from ecluse.apps.fraud.training.plan import TrainingPlan
from ecluse.apps.fraud.training.preparation import Prepared
from ecluse.apps.fraud.training.record import library_versions
from ecluse.apps.fraud.training.search import Blend, SearchResult
from ecluse.sentences import _, ngettext, num

MOST_DRIFTS = 20
# Alerts come in bursts: so many times the number asked for is more than a burst.
MORE_ALERTS = 1.5
# A column that alone reaches this average precision, and this share of the model's, may be filled in afterwards.
GIVES_AWAY = 0.97
# From this average precision on the figures are doubted before they are believed.
TOO_GOOD = 0.99
RESPONSIBLE = 3


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
        """Return these rows alone."""
        return MeasuredRows(self.part, self.at[rows], self.labels[rows], self.probabilities[rows])


@dataclass(frozen=True)
class TrainedModel:
    """A training up to its measurement: its rows, what was searched and chosen, and the model that is measured."""

    rows: LabelledRows
    split: Split
    plan: TrainingPlan
    search: SearchResult
    chosen: Blend
    final: FinalModel
    calibration: str
    thresholds: Thresholds
    warnings: tuple[str, ...]
    simulated: bool


@dataclass(frozen=True)
class Conduct:
    """How a training went: what it spent, whether the model in use was fitted on all rows, and which were tested."""

    effort: TrainingEffort
    refit: Refit
    tested_rows: str


def report_of(trained: TrainedModel, measured: MeasuredRows, conduct: Conduct) -> TrainingReport:
    """Measure the model on these rows and tell how it came to be."""
    rows, plan, final = trained.rows, trained.plan, trained.final
    prepared, threshold = final.prepared, trained.thresholds.flagged
    labels, probabilities = measured.labels, measured.probabilities
    intervals = _intervals(rows, measured, threshold, plan.seed)
    baseline, metrics = _baseline(prepared, measured), measure(labels, probabilities, threshold)
    importances = _importances(final)
    doubt = _doubt(metrics["average_precision"], importances)
    closer = _look_closer(trained, measured)
    warnings = [
        *_say_doubt(doubt),
        *trained.warnings,
        *prepared.warnings,
        *_warnings(measured, baseline, prepared.warnings),
        *_missed_goal(trained, measured, intervals),
        *closer.warnings(int(rows.labels.sum())),
    ]
    return TrainingReport(
        **_origin(trained),
        **_part_facts(trained),
        **trained.thresholds.to_dict(),
        measured_on=measured.part,
        metrics=metrics,
        doubt=doubt,
        intervals=intervals,
        goal=plan.goal,
        confusion=confusion(labels, probabilities, threshold),
        cost=costs(labels, probabilities, threshold, plan.goal) if plan.goal.kind == "cost" else None,
        curves=Curves(
            pr=precision_recall_curve(labels, probabilities),
            roc=roc_curve(labels, probabilities),
            calibration=calibration_curve(labels, probabilities),
        ),
        histogram=score_histogram(labels, probabilities),
        baseline=baseline,
        importances=importances,
        warnings=tuple(warnings),
        groups=closer.groups,
        periods=closer.periods,
        repeated=closer.repeated,
        contradicted_frauds=closer.contradicted_frauds,
        label_suspects=closer.label_suspects,
        drift=closer.drift[:MOST_DRIFTS],
        refitted=conduct.refit == "done",
        refit=conduct.refit,
        tested_rows=conduct.tested_rows,
        seconds=conduct.effort.wall_s,
        effort=conduct.effort,
    )


def _origin(trained: TrainedModel) -> dict[str, Any]:
    """Tell what the model was made of, and how: fields of a report."""
    rows, plan, final = trained.rows, trained.plan, trained.final
    return {
        "target": plan.target,
        "positive_value": require_meaning(rows.meaning),
        "positive_share": float(rows.labels.mean()),
        "positive_reason": rows.meaning.reason,
        "family": final.model.family,
        "params": dict(trained.chosen.members[0][0].params) if len(trained.chosen.members) == 1 else {},
        "members": _members(trained.chosen),
        "out_of_fold": _out_of_fold(trained.search, trained.chosen, plan),
        "fitted_on": ("train", "validation") if final.refitted else ("train",),
        "leaderboard": tuple(candidate.as_tried() for candidate in trained.search.ranked),
        "giveaways": tuple(
            GiveawayColumn(giveaway.column, giveaway.reason, giveaway.column in plan.keep)
            for giveaway in rows.giveaways
        ),
        "dropped": tuple(DroppedColumn(left.column, left.reason) for left in final.prepared.selector.dropped),
        "features": len(final.prepared.selector.features),
        "budget_s": plan.budget_s,
        "seed": plan.seed,
        "versions": library_versions(),
        "simulated": trained.simulated,
        "calibration": trained.calibration,
    }


def _part_facts(trained: TrainedModel) -> dict[str, Any]:
    """Tell how many rows and frauds each part of the split holds: fields of a report."""
    rows, split = trained.rows, trained.split
    parts = {name: part for name, part in split.parts().items() if len(part)}
    return {
        "rows": {name: len(part) for name, part in parts.items()},
        "fraud_rate": {name: float(rows.labels[part].mean()) for name, part in parts.items()},
        "frauds_repeat": rows.frauds_repeat,
        "distinct_frauds": {name: rows.distinct_frauds(part) for name, part in parts.items()},
        "split": SplitFacts(split.kind, split.description, _shown_cuts(rows, split, trained.plan)),
    }


def _say_doubt(doubt: Doubt | None) -> list[str]:
    """Say first of figures that are too good to be believed what to check."""
    if doubt is None:
        return []
    columns = ", ".join(f"{column} ({100 * share:.0f} %)" for column, share in doubt.columns)
    return [
        _(
            "An average precision of %(count)s is rarely true of fraud. The model goes by "
            "%(columns)s most: check that each is known before the outcome, and that no row is in "
            "the table twice.",
            count=num(doubt.average_precision, ".3f"),
            columns=columns,
        )
    ]


def _doubt(reached: float, importances: Sequence[Importance]) -> Doubt | None:
    """Name the columns most responsible for figures that are too good; None where they are not."""
    if reached < TOO_GOOD:
        return None
    shares = column_shares(importances)
    ranked = sorted(shares.items(), key=lambda item: -item[1])[:RESPONSIBLE]
    return Doubt(reached, tuple((column, round(share, 4)) for column, share in ranked))


def column_shares(importances: Sequence[Importance]) -> dict[str, float]:
    """Add the shares of the features of each column."""
    shares: dict[str, float] = {}
    for item in importances:
        shares[item.column] = shares.get(item.column, 0.0) + item.share
    return shares


def _members(chosen: Blend) -> tuple[BlendMember, ...]:
    """List the models in the blend, heaviest first; weights sum to 1."""
    return tuple(
        BlendMember(
            name=candidate.name,
            family=candidate.family,
            params=dict(candidate.params),
            rounds=candidate.rounds,
            weight=round(weight, 4),
            validation_average_precision=candidate.average_precision,
        )
        for candidate, weight in chosen.members
    )


def _out_of_fold(search: SearchResult, chosen: Blend, plan: TrainingPlan) -> OutOfFold:
    """Measure how the blend ranks the rows that its folds held out; the interval is that of the first draw of folds."""
    at = search.panels == 0
    labels = search.labels[at]
    intervals = bootstrap_intervals(labels, chosen.margins[at], float("inf"), seed=plan.seed)
    return OutOfFold(
        average_precision=chosen.average_precision,
        interval=intervals["average_precision"],
        folds=search.folds,
        draws=int(search.panels.max()) + 1,
        rows=len(labels),
        frauds=int(labels.sum()),
    )


def _intervals(
    rows: LabelledRows, measured: MeasuredRows, threshold: float, seed: int
) -> dict[str, tuple[float, float]]:
    """Of all measured rows; where frauds among them repeat, so wide that those of the distinct ones are within."""
    intervals = bootstrap_intervals(measured.labels, measured.probabilities, threshold, seed=seed)
    apart = rows.told_apart(measured.at)
    if apart.all():
        return intervals
    distinct = measured.only(apart)
    other = bootstrap_intervals(distinct.labels, distinct.probabilities, threshold, seed=seed)
    return {
        name: (min(low, other[name][0]), max(high, other[name][1])) for name, (low, high) in intervals.items()
    }


def _baseline(prepared: Prepared, measured: MeasuredRows) -> Baseline:
    data = prepared.data
    matrix, labels = (
        (prepared.test, prepared.test_labels) if len(prepared.test) else (data.train, data.train_labels)
    )
    at, reached = best_single(data.train, data.train_labels, matrix, labels)
    feature = prepared.selector.features[at]
    column = next(made.column for made in prepared.engineer.features if made.name == feature)
    return Baseline(
        fraud_rate=float(measured.labels.mean()),
        best_feature=feature,
        best_column=column,
        best_feature_average_precision=reached,
    )


@dataclass(frozen=True)
class _Closer:
    """Where the model does worse, and what makes its figures promise too much."""

    groups: tuple[Group, ...]
    periods: tuple[Period, ...]
    repeated: Repeated
    contradicted_frauds: int
    label_suspects: LabelSuspects
    drift: tuple[ColumnDrift, ...]

    def warnings(self, frauds: int) -> list[str]:
        return [
            *warn_of_repeats(self.repeated),
            *warn_of_contradictions(self.contradicted_frauds, frauds),
            *warn_of_drift(self.drift),
        ]


def _look_closer(trained: TrainedModel, measured: MeasuredRows) -> _Closer:
    rows, split, plan, prepared = trained.rows, trained.split, trained.plan, trained.final.prepared
    # Numbers of rows and other columns that the model does not read tell every row apart, and say nothing.
    read = frozenset(prepared.engineer.columns) - {plan.time_column}
    lasting = {spec.name: spec.kind for spec in rows.columns if spec.name in read}
    labels, probabilities, frame = measured.labels, measured.probabilities, rows.frame[measured.at]
    learned, new = (split.learning, split.test) if len(split.test) else (split.train, split.validation)
    early = rows.frame[learned[:: step_to(len(learned))]]
    return _Closer(
        groups=weakest_groups(frame, lasting, labels, probabilities >= trained.thresholds.flagged),
        periods=_periods(trained, measured),
        repeated=repeats(rows.frame, lasting, learned, new),
        contradicted_frauds=contradictions(rows.frame, list(lasting), rows.labels),
        label_suspects=label_suspects(labels, probabilities),
        drift=drifts(early, rows.frame[new], lasting) if split.kind == "time" else (),
    )


def _periods(trained: TrainedModel, measured: MeasuredRows) -> tuple[Period, ...]:
    name = trained.plan.time_column
    times = None if name is None else trained.rows.frame[name][measured.at]
    if times is None or times.dtype != pl.Datetime("us") or times.is_null().all():
        return ()
    return by_period(times, measured.labels, measured.probabilities, trained.thresholds.flagged)


def _importances(final: FinalModel) -> tuple[Importance, ...]:
    by_name = {feature.name: feature for feature in final.prepared.engineer.features}
    names, shares = final.prepared.selector.features, final.model.importances()
    ranked = sorted(zip(names, shares, strict=True), key=lambda item: -item[1])
    return tuple(Importance(by_name[name].column, name, round(float(share), 6)) for name, share in ranked)


def _warnings(measured: MeasuredRows, baseline: Baseline, warned: Sequence[str]) -> list[str]:
    warnings = []
    labels, probabilities = measured.labels, measured.probabilities
    reached, alone = average_precision(labels, probabilities), baseline.best_feature_average_precision
    is_named = any(warning.startswith(f"{baseline.best_column} alone ") for warning in warned)
    if alone >= max(GIVES_AWAY, GIVES_AWAY * reached) and not is_named:
        warnings.append(
            _(
                "%(column)s alone ranks the test rows almost as well as the model (average precision "
                "%(count)s of %(total)s): check that it is known before the outcome, or leave it out.",
                column=baseline.best_column,
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
            ngettext(
                "The test part holds only %(count)s fraud; see the intervals.",
                "The test part holds only %(count)s frauds; see the intervals.",
                int(labels.sum()),
            )
        )
    return warnings


def _missed_goal(
    trained: TrainedModel, measured: MeasuredRows, intervals: dict[str, tuple[float, float]]
) -> list[str]:
    """Warn of a threshold that met its goal where it was chosen, and clearly does not on the test rows."""
    goal, threshold = trained.plan.goal, trained.thresholds.flagged
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
    days = days_between(trained.rows, measured.at, trained.plan)
    alerts = int(np.sum(measured.probabilities >= threshold))
    if goal.kind == "alerts_per_day" and days and alerts > MORE_ALERTS * goal.value * days:
        return [
            _(
                "The threshold was chosen for %(count)s alerts a day; on the test rows it raises %(number)s.",
                count=num(goal.value, "g"),
                number=num(alerts / days, ".1f"),
            )
        ]
    return []


def _shown_cuts(rows: LabelledRows, split: Split, plan: TrainingPlan) -> tuple[str, ...] | None:
    """Tell the first time of the validation and of the test part, as ISO 8601 or as the number it is."""
    if split.cuts is None or plan.time_column is None:
        return None
    if rows.frame[plan.time_column].dtype != pl.Datetime("us"):
        return tuple(f"{cut:.15g}" for cut in split.cuts)
    zone = datetime.UTC
    return tuple(
        datetime.datetime.fromtimestamp(cut, zone).replace(tzinfo=None).isoformat() for cut in split.cuts
    )
