"""Compare two versions of a model on the same rows: figures with paired intervals, alerts, rows that change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.errors import ColumnsMissing
from ecluse.apps.fraud.evaluation.metrics import RankedRows, confusion, half_rows, precision_recall_curve
from ecluse.apps.fraud.metrics import ScoredRows, compared
from ecluse.apps.fraud.monitoring.compared import (
    AlertAgreement,
    ChangedRow,
    ComparedMetric,
    ComparedVersion,
    ComparisonReport,
    Difference,
)
from ecluse.apps.fraud.monitoring.outcomes import Outcomes
from ecluse.apps.fraud.scoring.columns import SCORE_COLUMNS
from ecluse.apps.fraud.scoring.model import missing_message
from ecluse.apps.fraud.scoring.scorer import Scorer
from ecluse.apps.fraud.tables.labels import UNKNOWN
from ecluse.intervals import matched_difference
from ecluse.tabular.dataset import Table

Floats = NDArray[np.float64]
Labels = NDArray[np.int8]

BATCH_ROWS: Final = 50_000
CHANGED: Final = 50
#: Of each kind, so that figures are told although rows had to be left out.
FEWEST: Final = 10
#: Row draws in all: fewer resamples of more rows, for the same time.
DRAWN_ROWS: Final = 40_000_000
RESAMPLES: Final = (50, 400)


@dataclass(frozen=True)
class Side:
    """One version: what it is called, how it scores, and from where on it alerts."""

    name: str
    scorer: Scorer
    threshold: float


def compare_on(
    table: Table,
    a: Side,
    b: Side,
    *,
    outcomes: Outcomes | None = None,
    seen: NDArray[np.bool_] | None = None,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> ComparisonReport:
    """Compare both versions on every row of a table; figures only where `outcomes` are known.

    Figures leave out the rows `seen` (rows,), from which a version learned, and are none where too few others
    are known. Sixteen bytes a row are kept. Raises ColumnsMissing where either version cannot score the table.
    """
    for side in (a, b):
        check = side.scorer.check(table.columns)
        if check.missing:
            raise ColumnsMissing(missing_message(table.filename, check))
    parts: list[tuple[Floats, Floats, Labels]] = []
    changed: pl.DataFrame | None = None
    done = 0
    for batch in table.batches(BATCH_ROWS):
        first, second = (side.scorer.score_frame(batch, reasons_for=None) for side in (a, b))
        of_a, of_b = a.scorer.scores_of(first), b.scorer.scores_of(second)
        labels = np.full(batch.height, UNKNOWN, dtype=np.int8) if outcomes is None else outcomes.of(batch)
        parts.append((of_a, of_b, labels))
        changed = _most_changed(changed, _changes(first, done, of_a, of_b, labels, a, b))
        done += batch.height
        if progress is not None:
            progress(done)
    scores_a, scores_b, truth = (np.concatenate(column) for column in zip(*parts, strict=True))
    judged = judged_rows(truth, seen)
    report = ComparisonReport(
        a=_side(a, scores_a),
        b=_side(b, scores_b),
        rows=len(truth),
        labelled=int(judged.sum()),
        frauds=int((truth[judged] == 1).sum()),
        agreement=agreement(scores_a >= a.threshold, scores_b >= b.threshold),
        rank_correlation=_rank_correlation(scores_a, scores_b),
        changed=() if changed is None else tuple(_changed_row(row) for row in changed.to_dicts()),
    )
    if not 0 < report.frauds < report.labelled:
        return report
    labels, of_a, of_b = truth[judged], scores_a[judged], scores_b[judged]
    return replace(
        report,
        figures=paired_figures(labels, of_a, of_b, a.threshold, b.threshold, seed=seed),
        curves={"a": precision_recall_curve(labels, of_a), "b": precision_recall_curve(labels, of_b)},
    )


def judged_rows(labels: Labels, seen: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """(rows,) true for the rows that figures come from: those of a known outcome that no version learned from.

    None at all where rows were left out and fewer than `FEWEST` of a kind remain.
    """
    known: NDArray[np.bool_] = labels != UNKNOWN
    if seen is None or not (known & seen).any():
        return known
    known = known & ~seen
    frauds = int((labels[known] == 1).sum())
    return known if min(frauds, int(known.sum()) - frauds) >= FEWEST else np.zeros_like(known)


def paired_figures(
    labels: Labels, a: Floats, b: Floats, threshold_a: float, threshold_b: float, *, seed: int
) -> dict[str, ComparedMetric]:
    """Return each figure of a and b, and b minus a with its 95 % interval over rows drawn again for both alike.

    Rows are drawn by weights of a Poisson distribution, which stands for drawing with replacement, each time with
    and without `half_rows`, the same for both versions: two that rank a few frauds alike may rank the next apart.
    """
    rng = np.random.default_rng(seed)
    draws = int(np.clip(DRAWN_ROWS // max(len(labels), 1), *RESAMPLES))
    measures = _Weighted(labels, a, threshold_a), _Weighted(labels, b, threshold_b)
    differences: list[list[float]] = []
    widened: list[list[float]] = []
    for _ in range(draws):
        weights = rng.poisson(1.0, len(labels)).astype(np.float64)
        if weights[labels == 1].sum() and weights[labels == 0].sum():
            drawn = weights * labels, weights * (1 - labels)
            differences.append(_difference(measures, drawn))
            widened.append(_difference(measures, _with_half_rows(drawn, half_rows(rng, labels))))
    ends = [np.percentile(np.array(part), [2.5, 97.5], axis=0) for part in (differences, widened)]
    low, high = np.min([part[0] for part in ends], axis=0), np.max([part[1] for part in ends], axis=0)
    # Both look at the same frauds, of which each finds some: a share of matched rows.
    of_a, of_b = (a >= threshold_a)[labels == 1], (b >= threshold_b)[labels == 1]
    matched = matched_difference(float(np.sum(of_b & ~of_a)), float(np.sum(of_a & ~of_b)), float(len(of_a)))
    for place, metric in enumerate(compared()):
        if metric.of_frauds:
            low[place], high[place] = matched
    values = [_figures(labels, *side) for side in ((a, threshold_a), (b, threshold_b))]
    figures = {}
    for place, metric in enumerate(compared()):
        bounds = float(low[place]), float(high[place])
        verdict: Difference = "better" if bounds[0] > 0 else "worse" if bounds[1] < 0 else "overlap"
        first, second = values[0][place], values[1][place]
        figures[metric.name] = ComparedMetric(first, second, second - first, bounds, verdict)
    return figures


def agreement(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> AlertAgreement:
    """Count the rows that both, one or neither flag."""
    rows = max(len(a), 1)
    both, neither = int(np.sum(a & b)), int(np.sum(~a & ~b))
    agreed = (both + neither) / rows
    chance = float(a.mean() * b.mean() + (1 - a.mean()) * (1 - b.mean())) if len(a) else 1.0
    kappa = (agreed - chance) / (1 - chance) if chance < 1 else 1.0
    return AlertAgreement(both, int(np.sum(a & ~b)), int(np.sum(~a & b)), neither, kappa)


def _difference(measures: tuple[_Weighted, _Weighted], drawn: tuple[Floats, Floats]) -> list[float]:
    of_a, of_b = (measure.figures(*drawn) for measure in measures)
    return [y - x for x, y in zip(of_a, of_b, strict=True)]


def _with_half_rows(
    drawn: tuple[Floats, Floats], half: tuple[tuple[int, float], tuple[int, float]]
) -> tuple[Floats, Floats]:
    positive, negative = (weights.copy() for weights in drawn)
    (hidden, fraud), (mistaken, other) = half
    positive[hidden] += fraud
    negative[mistaken] += other
    return positive, negative


class _Weighted:
    """Measures one version where each row counts as a fraud, and as a legitimate row, by some weight."""

    def __init__(self, labels: Labels, scores: Floats, threshold: float) -> None:
        self._order = np.argsort(-scores, kind="stable")
        ranked = scores[self._order]
        ends = np.flatnonzero(np.append(np.diff(ranked) != 0, True))
        self._ranked = RankedRows(ends, int(np.searchsorted(-ranked, -threshold, side="right")))

    def figures(self, positive: Floats, negative: Floats) -> list[float]:
        rows = self._ranked.weighted(positive[self._order], negative[self._order])
        return [metric.weighted(rows) for metric in compared() if metric.weighted]


def _figures(labels: Labels, scores: Floats, threshold: float) -> list[float]:
    rows = ScoredRows(labels, scores, confusion(labels, scores, threshold))
    return [metric.measure(rows) for metric in compared()]


def _side(side: Side, scores: Floats) -> ComparedVersion:
    alerts = int(np.sum(scores >= side.threshold))
    return ComparedVersion(side.name, side.threshold, alerts, alerts / max(len(scores), 1))


def _rank_correlation(a: Floats, b: Floats) -> float | None:
    """Spearman's, ties taken together; None where a side gives one score to all."""
    ranks = [pl.Series(scores).rank("average").to_numpy() for scores in (a, b)]
    if min(float(rank.std()) for rank in ranks) == 0:
        return None
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _changes(
    scored: pl.DataFrame, before: int, of_a: Floats, of_b: Floats, labels: Labels, a: Side, b: Side
) -> pl.DataFrame:
    """Return the rows of a batch whose score changes most, those that become or cease to be an alert first."""
    own = [name for name in scored.columns if name not in SCORE_COLUMNS]
    kept = [name for name in own if scored[name].dtype != pl.Object][:5]
    turned = (of_a >= a.threshold) != (of_b >= b.threshold)
    frame = pl.DataFrame(
        {
            "row": np.arange(before + 1, before + len(of_a) + 1),
            "a": of_a,
            "b": of_b,
            "turned": turned,
            "outcome": pl.Series(labels).replace_strict({-1: None, 0: 0, 1: 1}, return_dtype=pl.Int8),
        }
    )
    named = scored.select(pl.col(kept).cast(pl.String).name.map(lambda name: f"input:{name}"))
    return _first(frame.hstack(named))


def _most_changed(before: pl.DataFrame | None, now: pl.DataFrame) -> pl.DataFrame:
    return now if before is None else _first(pl.concat([before, now]))


def _first(frame: pl.DataFrame) -> pl.DataFrame:
    size = (pl.col("b") - pl.col("a")).abs()
    return frame.sort(["turned", size], descending=[True, True], maintain_order=True).head(CHANGED)


def _changed_row(row: dict[str, Any]) -> ChangedRow:
    values = {name.removeprefix("input:"): value for name, value in row.items() if name.startswith("input:")}
    facts = {name: value for name, value in row.items() if not name.startswith("input:")}
    return ChangedRow(**facts, values=values)
