"""Measure how well scores rank and separate fraud, and choose the threshold that serves a goal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecluse.apps.fraud.goal import Goal
from ecluse.apps.fraud.measures import (
    Floats,
    Labels,
    count_by_score,
    rates_of,
)
from ecluse.apps.fraud.metrics import METRICS, ScoredRows, WeightedRows
from ecluse.apps.fraud.performance.parts import Confusion, Cost, PrecisionRecallPoint, RocPoint, ScoreBin
from ecluse.errors import InvalidInput
from ecluse.intervals import wilson
from ecluse.sentences import _

CURVE_POINTS = 200
RESAMPLES = 200


def confusion(labels: Labels, probabilities: Floats, threshold: float) -> Confusion:
    """Count rows flagged (probability >= threshold) against outcomes."""
    flagged = probabilities >= threshold
    positive = labels == 1
    return Confusion(
        tp=int(np.sum(flagged & positive)),
        fp=int(np.sum(flagged & ~positive)),
        fn=int(np.sum(~flagged & positive)),
        tn=int(np.sum(~flagged & ~positive)),
    )


def choose_threshold(
    labels: Labels, probabilities: Floats, goal: Goal, *, days: float | None = None
) -> float:
    """Choose the probability from which to flag, so that the goal is met on these rows.

    Of a recall the fewest alerts that reach it; of a precision the most alerts that keep it, and the most precise
    where none does; of a cost the least, which may be above every row. `days` is the length of the period the rows
    cover; `alerts_per_day` needs it. Raises InvalidInput when it is absent.
    """
    hits, flagged, cuts = count_by_score(labels, probabilities)
    if goal.kind == "alerts_per_day":
        if not days or goal.value is None:
            raise InvalidInput(
                _("A goal in alerts a day needs a time column. Name one, or choose another goal.")
            )
        return _cut_for_alerts(flagged, cuts, goal.value * days)
    if goal.kind == "recall":
        least_hits = (goal.value or 1.0) * hits[-1]
        return float(cuts[min(int(np.searchsorted(hits, least_hits - 1e-9)), len(cuts) - 1)])
    if goal.kind == "precision":
        precision = hits / flagged
        kept = np.flatnonzero(precision >= min((goal.value or 1.0) - 1e-9, float(precision.max())))
        return float(cuts[kept[-1]])
    if goal.kind == "cost":
        costs = _cost(goal, hits[-1] - hits, flagged - hits)
        # Where even the first alert costs more than it saves, nothing is flagged.
        none = float(_cost(goal, hits[-1], 0.0))
        return float(cuts[int(np.argmin(costs))]) if costs.min() < none else above(probabilities)
    f1 = 2 * hits / (flagged + max(hits[-1], 1.0))
    return float(cuts[int(np.argmax(f1))])


def above(probabilities: Floats) -> float:
    """Return the least threshold of six decimals that flags none of these rows."""
    return round(float(probabilities.max()) + 1e-6, 6)


def costs(labels: Labels, probabilities: Floats, threshold: float, goal: Goal) -> Cost:
    """Measure what 1,000 rows like these cost: with this threshold, without any alert, and with an alert for each."""
    counts, share = confusion(labels, probabilities, threshold), len(labels) / 1000
    return Cost(
        per_1000_rows=float(_cost(goal, counts.fn, counts.fp)) / share,
        per_1000_rows_without_alerts=float(_cost(goal, counts.frauds, 0)) / share,
        per_1000_rows_with_all_alerts=float(_cost(goal, 0, counts.legitimate)) / share,
    )


def alert_cut(probabilities: Floats, alerts: float) -> float:
    """Return the lowest probability above which at most `alerts` rows fall, ties taken together."""
    _rest, flagged, cuts = count_by_score(np.zeros(len(probabilities), dtype=np.int8), probabilities)
    return _cut_for_alerts(flagged, cuts, alerts)


def measure(labels: Labels, probabilities: Floats, threshold: float) -> dict[str, float]:
    """Measure every metric of `METRICS` on these rows."""
    rows = ScoredRows(labels, probabilities, confusion(labels, probabilities, threshold))
    return {metric.name: metric.measure(rows) for metric in METRICS}


def bootstrap_intervals(
    labels: Labels, probabilities: Floats, threshold: float, *, seed: int, resamples: int = RESAMPLES
) -> dict[str, tuple[float, float]]:
    """Find the 95 % interval of each metric that has one; the model and the threshold stay as they are.

    Precision and recall are shares of counted rows (Wilson, 1927). The others come from rows
    drawn again with replacement (Efron, 1979), each time with and without `half_rows`: a model that ranks 17 frauds
    first would else be said to rank any fraud first. That of average precision
    held in 97 to 100 % of draws with 17 frauds.
    """
    rng = np.random.default_rng(seed)
    order = np.argsort(-probabilities, kind="stable")
    truth, scores = labels[order].astype(np.float64), probabilities[order]
    ends = np.flatnonzero(np.append(np.diff(scores) != 0, True))
    intervals = share_intervals(labels, probabilities, threshold)
    drawn = [metric for metric in METRICS if metric.weighted is not None and metric.share is None]
    if not 0 < truth.sum() < len(truth):
        return {metric.name: (0.0, 1.0) for metric in drawn} | intervals
    ranked = RankedRows(ends, int(np.sum(scores >= threshold)))

    def measured(positive: Floats, negative: Floats) -> Floats:
        rows = ranked.weighted(positive, negative)
        return np.array([metric.weighted(rows) for metric in drawn if metric.weighted])

    draws = [measured(*weights) for _ in range(resamples) for weights in _resampled(rng, truth)]
    seen = measured(truth, 1 - truth)
    plain, widened = np.array(draws[::2]), np.array(draws[1::2])
    ends_of = [np.percentile(part, [2.5, 97.5], axis=0) for part in (plain, widened)]
    low = np.min([seen, *(part[0] for part in ends_of)], axis=0)
    high = np.max([seen, *(part[1] for part in ends_of)], axis=0)
    return {metric.name: (float(low[i]), float(high[i])) for i, metric in enumerate(drawn)} | intervals


@dataclass(frozen=True)
class RankedRows:
    """Rows from the highest score down: where each distinct score ends, and how many rows the threshold flags."""

    ends: NDArray[np.intp]
    alerts: int

    def weighted(self, positive: Floats, negative: Floats) -> WeightedRows:
        """Sum the weights (rows,) of frauds and of legitimate rows, in the order of the ranking."""
        frauds = np.cumsum(positive)
        rows = frauds + np.cumsum(negative)
        last = self.alerts - 1
        alert_frauds, alerts = (float(frauds[last]), float(rows[last])) if self.alerts else (0.0, 0.0)
        return WeightedRows(frauds[self.ends], rows[self.ends], alert_frauds, alerts)


def share_intervals(
    labels: Labels, probabilities: Floats, threshold: float
) -> dict[str, tuple[float, float]]:
    """Find the 95 % intervals of the metrics that are shares, such as precision and recall at a threshold."""
    rows = ScoredRows(labels, probabilities, confusion(labels, probabilities, threshold))
    return {metric.name: wilson(*metric.share(rows)) for metric in METRICS if metric.share}


def half_rows(
    rng: np.random.Generator, labels: Labels | Floats
) -> tuple[tuple[int, float], tuple[int, float]]:
    """(position, weight) of half a fraud at the place of a legitimate row, and of half a legitimate row at a fraud's.

    Weights are drawn with the mean one half. What Jeffreys' prior is for a share (half a success and half a failure
    beforehand) they are for an order of rows: the next fraud may look like any legitimate row, however few have.
    """
    others, frauds = np.flatnonzero(labels == 0), np.flatnonzero(labels == 1)
    first, second = rng.gamma(0.5, size=2).tolist()
    return (int(rng.choice(others)), float(first)), (int(rng.choice(frauds)), float(second))


def precision_recall_curve(labels: Labels, probabilities: Floats) -> tuple[PrecisionRecallPoint, ...]:
    """Draw at most 200 points by rising recall."""
    hits, flagged, cuts = count_by_score(labels, probabilities)
    recall, precision = hits / max(hits[-1], 1.0), hits / flagged
    return tuple(
        PrecisionRecallPoint(float(recall[i]), float(precision[i]), float(cuts[i]))
        for i in _thin(len(cuts), recall)
    )


def roc_curve(labels: Labels, probabilities: Floats) -> tuple[RocPoint, ...]:
    """Draw at most 200 points from (0, 0) to (1, 1)."""
    hits, flagged, _rest = count_by_score(labels, probabilities)
    recall, false_rate = rates_of(hits, flagged)
    return tuple(RocPoint(float(false_rate[i]), float(recall[i])) for i in _thin(len(recall), false_rate))


def score_histogram(labels: Labels, probabilities: Floats, bins: int = 20) -> tuple[ScoreBin, ...]:
    """Count rows per probability bin of equal width."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    fraud, _ = np.histogram(probabilities[labels == 1], edges)
    legitimate, _ = np.histogram(probabilities[labels == 0], edges)
    return tuple(
        ScoreBin(float(edges[i]), float(edges[i + 1]), int(legitimate[i]), int(fraud[i])) for i in range(bins)
    )


def _cost(goal: Goal, missed: Any, false_alarms: Any) -> Any:
    return (goal.missed or 0.0) * missed + (goal.false_alarm or 0.0) * false_alarms


def _cut_for_alerts(flagged: Floats, cuts: Floats, alerts: float) -> float:
    within = int(np.searchsorted(flagged, alerts + 1e-9, side="right"))
    # When even the first tie exceeds the budget, flag nothing less certain than it.
    return float(cuts[max(within - 1, 0)])


def _resampled(rng: np.random.Generator, truth: Floats) -> Iterator[tuple[Floats, Floats]]:
    """Draw rows again: weights as frauds and as legitimate rows, and the same with `half_rows`."""
    weights = np.bincount(rng.integers(0, len(truth), len(truth)), minlength=len(truth)).astype(np.float64)
    positive, negative = weights * truth, weights * (1 - truth)
    yield positive.copy(), negative.copy()
    (hidden, fraud), (mistaken, other) = half_rows(rng, truth)
    positive[hidden] += fraud
    negative[mistaken] += other
    yield positive, negative


def _thin(points: int, spread: Floats) -> list[int]:
    """Return the indices of at most 200 points, evenly spread along `spread`, both ends kept."""
    if points <= CURVE_POINTS:
        return list(range(points))
    spots = np.linspace(spread[0], spread[-1], CURVE_POINTS)
    nearest = np.clip(np.searchsorted(spread, spots), 0, points - 1)
    return sorted({0, points - 1} | {int(i) for i in nearest[1:-1]})
