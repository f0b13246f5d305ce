"""Watch a model on a table: drift of its columns and score, alerts by day, and figures where outcomes are known.

The table is read once, batch by batch; only scores with a known outcome are kept, nine bytes each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.evaluation.drift import DriftCounter, TrainingSketch, drift_of, stability_index
from ecluse.apps.fraud.evaluation.metrics import bootstrap_intervals, confusion, measure, share_intervals
from ecluse.apps.fraud.monitoring.outcomes import Outcomes
from ecluse.apps.fraud.scoring.scorer import Scorer
from ecluse.apps.fraud.tables.columns import ColumnSpec, infer_columns, parse_columns
from ecluse.apps.fraud.tables.dataset import Table
from ecluse.apps.fraud.tables.labels import UNKNOWN
from ecluse.sentences import _
from ecluse.typed_json import write

Counts = NDArray[np.int64]

BATCH_ROWS: Final = 50_000
#: Days shown one by one, and periods with figures of their own; more are taken together.
MOST_DAYS: Final = 400
MOST_PERIODS: Final = 24
#: Columns named per period.
WORST: Final = 5
RESAMPLED_ROWS: Final = 500_000
_ROWS, _ALERTS, _KNOWN, _FRAUDS, _HITS = range(5)
_EVENTS: Final = 5
_DAY: Final = 86_400
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Periods:
    """Counts by period, at most `most` of them: when there are more days, they are taken together.

    `add` takes the day of each row (days since 1970) and, for each thing counted, the rows it is true of and its
    place among the `width` numbers kept per period.
    """

    def __init__(self, most: int, width: int) -> None:
        self.days = 1
        self.held: dict[int, Counts] = {}
        self._most, self._width = most, width

    def add(self, day: Counts, counted: Sequence[tuple[NDArray[np.bool_] | None, Counts]]) -> None:
        keys, which = np.unique(day // self.days, return_inverse=True)
        totals = np.zeros(len(keys) * self._width, dtype=np.int64)
        for true, places in counted:
            flat = which * self._width + places
            totals += np.bincount(flat if true is None else flat[true], minlength=len(totals))
        for key, row in zip(keys.tolist(), totals.reshape(len(keys), self._width), strict=True):
            self.held[key] = self.held[key] + row if key in self.held else row.copy()
        while len(self.held) > self._most:
            self._coarsen(7 if self.days == 1 else 2)

    def each(self) -> list[tuple[str, str, Counts]]:
        """(first day, last day, counts) in the order of time, as ISO 8601."""
        return [
            (_iso(key * self.days), _iso((key + 1) * self.days - 1), row)
            for key, row in sorted(self.held.items())
        ]

    def _coarsen(self, times: int) -> None:
        merged: dict[int, Counts] = {}
        for key, row in self.held.items():
            into = key // times
            merged[into] = merged[into] + row if into in merged else row
        self.held, self.days = merged, self.days * times


def watch(
    table: Table,
    scorer: Scorer,
    sketch: TrainingSketch | None,
    *,
    threshold: float,
    outcomes: Outcomes | None = None,
    seen: NDArray[np.bool_] | None = None,
    time_column: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """What a table says of a model, as plain JSON values: columns, drift, score, alerts, periods and outcomes.

    Without a sketch no drift is measured, and where columns lack no score; `notes` say so. The outcomes of the
    rows `seen` (rows,), from which the model learned, count as unknown. `progress` is told the number of rows done,
    and may raise to cancel.
    """
    check = scorer.check(table.columns)
    counters = _Counters(sketch, table, scored=not check.missing)
    time = _time_of(table, sketch, time_column)
    days = Periods(MOST_DAYS, _EVENTS)
    periods = Periods(MOST_PERIODS, _EVENTS + counters.width)
    known: list[tuple[NDArray[np.float64], NDArray[np.int8]]] = []
    totals = np.zeros(_EVENTS, dtype=np.int64)
    for batch in table.batches(BATCH_ROWS):
        scores = None
        if not check.missing:
            scored = scorer.score_frame(batch, reasons_for=None)
            scores = scorer.scores_of(scored)
        binned = counters.add(batch, scores)
        labels = np.full(batch.height, UNKNOWN, dtype=np.int8) if outcomes is None else outcomes.of(batch)
        if seen is not None:
            start = int(totals[_ROWS])
            labels = np.where(seen[start : start + batch.height], UNKNOWN, labels)
        events = _events(scores, threshold, labels)
        totals += np.array([int(true.sum()) for true, _ in events])
        if scores is not None and (labels != UNKNOWN).any():
            known.append((scores[labels != UNKNOWN], labels[labels != UNKNOWN]))
        if time is not None:
            _add_days(batch, time, days, periods, events, binned)
        if progress is not None:
            progress(int(totals[_ROWS]))
    notes = []
    if sketch is None:
        notes.append(
            _("This version keeps no sketch of its training rows: drift is not measured. Train it again.")
        )
    if check.missing:
        notes.append(_("Columns of the model are missing: the rows are not scored."))
    return {
        "rows": int(totals[_ROWS]),
        "columns": {
            "missing": list(check.missing),
            "extra": list(check.extra),
            "near": dict(check.near),
        },
        "drift": [write(drift) for drift in counters.columns.drifts()],
        "score": counters.score_drift(),
        "threshold": threshold,
        "alerts": None if check.missing else _alerts(totals, days, sketch),
        "periods": [_period(*period, counters, scored=not check.missing) for period in periods.each()],
        "period_days": periods.days,
        "outcomes": _outcomes(known, threshold, int(totals[_ROWS])),
        "notes": notes,
    }


class _Counters:
    """The bins of the columns that are there, and of the score, each at its place in a period's counts."""

    def __init__(self, sketch: TrainingSketch | None, table: Table, *, scored: bool) -> None:
        present = [] if sketch is None else [r for r in sketch.columns if r.column in table.columns]
        names = {reference.column for reference in present}
        self.specs = [] if sketch is None else [spec for spec in sketch.specs if spec.name in names]
        self.columns = DriftCounter(present)
        self.score = DriftCounter(
            [] if sketch is None or sketch.score is None or not scored else [sketch.score]
        )
        references = [*self.columns.references, *self.score.references]
        sizes = [len(reference.counts) for reference in references]
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64) + _EVENTS
        self.width = int(sum(sizes))

    def add(self, batch: pl.DataFrame, scores: NDArray[np.float64] | None) -> list[Counts]:
        """Count a batch; for each reference the place of each row's bin."""
        binned = self.columns.add(parse_columns(batch, self.specs)) if self.specs else []
        if scores is not None and self.score.references:
            binned += self.score.add(pl.DataFrame({"score": scores}))
        return [bins + start for bins, start in zip(binned, self.starts, strict=False)]

    def score_drift(self) -> dict[str, Any] | None:
        drift: dict[str, Any] | None = write(self.score.drifts()[0]) if self.score.references else None
        return drift

    def of(self, row: Counts) -> tuple[list[dict[str, Any]], float | None]:
        """The columns that moved most within a period, and the index of its score."""
        moved: list[dict[str, Any]] = []
        for reference, start in zip(self.columns.references, self.starts, strict=False):
            drift = drift_of(reference, row[start : start + len(reference.counts)])
            if drift.verdict != "same":
                moved.append({"column": drift.column, "index": drift.index, "verdict": drift.verdict})
        score = None
        for reference in self.score.references:
            start = self.starts[len(self.columns.references)]
            score = stability_index(reference.counts, row[start : start + len(reference.counts)])
        return sorted(moved, key=lambda item: -item["index"])[:WORST], score


Event = tuple[NDArray[np.bool_], Counts]


def _events(scores: NDArray[np.float64] | None, threshold: float, labels: NDArray[np.int8]) -> list[Event]:
    alert = np.zeros(len(labels), dtype=np.bool_) if scores is None else scores >= threshold
    known, fraud = labels != UNKNOWN, labels == 1
    true = [np.ones(len(labels), dtype=np.bool_), alert, known & alert, fraud, fraud & alert]
    return [(rows, np.full(len(labels), place)) for place, rows in enumerate(true)]


def _add_days(
    batch: pl.DataFrame,
    time: ColumnSpec,
    days: Periods,
    periods: Periods,
    events: Sequence[Event],
    binned: Sequence[Counts],
) -> None:
    moment = time.read(batch[time.name])
    there = moment.is_not_null().to_numpy()
    if not there.any():
        return
    day = (moment.cast(pl.Int64).fill_null(0).to_numpy() // (_DAY * 1_000_000))[there]
    within = [(true[there], places[there]) for true, places in events]
    days.add(day, within)
    periods.add(day, [*within, *((None, places[there]) for places in binned)])


def _time_of(table: Table, sketch: TrainingSketch | None, named: str | None) -> ColumnSpec | None:
    """How the time column is read; None without one that holds dates."""
    kept = None if sketch is None else sketch.time
    if named is None and kept is not None and kept.name in table.columns:
        return kept if kept.kind == "datetime" else None
    if named is None or named not in table.columns:
        return None
    found = infer_columns(table.sample().select(named), decimal_comma=table.format.decimal_comma)[0]
    return found if found.kind == "datetime" else None


def _alerts(totals: Counts, days: Periods, sketch: TrainingSketch | None) -> dict[str, Any]:
    rows, alerts = int(totals[_ROWS]), int(totals[_ALERTS])
    return {
        "count": alerts,
        "rate": alerts / max(rows, 1),
        "usual_rate": None if sketch is None else sketch.alert_rate,
        "by_day": [
            {"day": first, "rows": int(row[_ROWS]), "alerts": int(row[_ALERTS])}
            for first, _, row in days.each()
        ],
        "days": days.days,
    }


def _period(first: str, last: str, row: Counts, counters: _Counters, *, scored: bool) -> dict[str, Any]:
    moved, score = counters.of(row)
    rows, alerts, judged, frauds, hits = (int(row[place]) for place in range(_EVENTS))
    return {
        "first": first,
        "last": last,
        "rows": rows,
        "alerts": alerts if scored else None,
        "score_index": score,
        "moved": moved,
        "frauds": frauds,
        "precision": hits / judged if judged else None,
        "recall": hits / frauds if frauds and scored else None,
    }


def _outcomes(
    known: Sequence[tuple[NDArray[np.float64], NDArray[np.int8]]], threshold: float, rows: int
) -> dict[str, Any] | None:
    """The figures over the rows whose outcome is known; None where there is none."""
    if not known:
        return None
    scores, labels = (np.concatenate(parts) for parts in zip(*known, strict=True))
    frauds = int(labels.sum())
    found: dict[str, Any] = {"rows": len(labels), "share": len(labels) / max(rows, 1), "frauds": frauds}
    if not 0 < frauds < len(labels):
        return found | {"metrics": None, "intervals": None, "confusion": None}
    # Of very many rows a part says as much: all frauds and every so-many-th other would bend precision.
    step = max(1, len(labels) // RESAMPLED_ROWS)
    intervals = bootstrap_intervals(labels[::step], scores[::step], threshold, seed=0)
    intervals |= share_intervals(labels, scores, threshold)
    return found | {
        "metrics": measure(labels, scores, threshold),
        "intervals": {name: list(bounds) for name, bounds in intervals.items()},
        "confusion": write(confusion(labels, scores, threshold)),
    }


def _iso(day: int) -> str:
    return (_EPOCH + timedelta(days=day)).date().isoformat()
