"""Measure a version on a table: drift of its columns and score, alerts by day, and metrics where outcomes are known.

The table is read once, batch by batch; only scores with a known outcome are kept, nine bytes each.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.fraud.evaluation.drift import DriftCounter, TrainingSketch, drift_of, stability_index
from ecluse.apps.fraud.evaluation.metrics import bootstrap_intervals, confusion, measure, share_intervals
from ecluse.apps.fraud.monitoring.outcomes import Outcomes
from ecluse.apps.fraud.monitoring.periods import Counts, Periods
from ecluse.apps.fraud.monitoring.report import (
    Alerts,
    ColumnsFound,
    DayOfAlerts,
    KnownOutcomes,
    MonitoredPeriod,
    MonitoringReport,
    MovedColumn,
)
from ecluse.apps.fraud.performance.parts import ColumnDrift
from ecluse.apps.fraud.scoring.scorer import Scorer
from ecluse.apps.fraud.tables.columns import ColumnSpec, infer_columns, parse_columns
from ecluse.apps.fraud.tables.labels import UNKNOWN
from ecluse.sentences import _
from ecluse.tabular.dataset import Table

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


@dataclass(frozen=True)
class MonitoredVersion:
    """A version: how it scores, from where on it alerts, and the sketch of its training rows, if it keeps one."""

    scorer: Scorer
    sketch: TrainingSketch | None
    threshold: float


def monitor_table(
    table: Table,
    version: MonitoredVersion,
    *,
    outcomes: Outcomes | None = None,
    seen: NDArray[np.bool_] | None = None,
    time_column: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> MonitoringReport:
    """Measure what a table says of a version: columns, drift, score, alerts, periods and outcomes.

    Without a sketch no drift is measured, and where columns lack no score; `notes` say so. The outcomes of the
    rows `seen` (rows,), from which the version learned, count as unknown. `progress` is given the number of rows
    done, and may raise to cancel.
    """
    check = version.scorer.check(table.columns)
    counts = _Counted(table, version, time_column, scored=not check.missing)
    for batch in table.batches(BATCH_ROWS):
        scores = None
        if counts.scored:
            scores = version.scorer.scores_of(version.scorer.score_frame(batch, reasons_for=None))
        labels = np.full(batch.height, UNKNOWN, dtype=np.int8) if outcomes is None else outcomes.of(batch)
        if seen is not None:
            labels = np.where(seen[counts.rows : counts.rows + batch.height], UNKNOWN, labels)
        counts.add(batch, scores, labels)
        if progress is not None:
            progress(counts.rows)
    return MonitoringReport(
        rows=counts.rows,
        columns=ColumnsFound(tuple(check.missing), tuple(check.extra), dict(check.near)),
        drift=tuple(counts.bins.columns.drifts()),
        score=counts.bins.score_drift(),
        threshold=version.threshold,
        alerts=counts.alerts() if counts.scored else None,
        periods=counts.by_period(),
        period_days=counts.periods.days,
        outcomes=_outcomes(counts.known, version.threshold, counts.rows),
        notes=_notes(version.sketch, scored=counts.scored),
    )


def _notes(sketch: TrainingSketch | None, *, scored: bool) -> tuple[str, ...]:
    notes = []
    if sketch is None:
        notes.append(
            _("This version keeps no sketch of its training rows: drift is not measured. Train it again.")
        )
    if not scored:
        notes.append(_("Columns of the model are missing: the rows are not scored."))
    return tuple(notes)


class _Counted:
    """What is counted of a table, batch by batch: rows by event, by day, and by period and bin."""

    def __init__(
        self, table: Table, version: MonitoredVersion, time_column: str | None, *, scored: bool
    ) -> None:
        self.scored = scored
        self.bins = _Bins(version.sketch, table, scored=scored)
        self.days = Periods(MOST_DAYS, _EVENTS)
        self.periods = Periods(MOST_PERIODS, _EVENTS + self.bins.width)
        #: Scores and labels of the rows with a known outcome, by batch.
        self.known: list[tuple[NDArray[np.float64], NDArray[np.int8]]] = []
        self._version = version
        self._time = _time_of(table, version.sketch, time_column)
        self._totals = np.zeros(_EVENTS, dtype=np.int64)

    @property
    def rows(self) -> int:
        return int(self._totals[_ROWS])

    def add(self, batch: pl.DataFrame, scores: NDArray[np.float64] | None, labels: NDArray[np.int8]) -> None:
        """Count a batch; `labels` are UNKNOWN where no outcome counts."""
        binned = self.bins.add(batch, scores)
        events = _events(scores, self._version.threshold, labels)
        self._totals += np.array([int(true.sum()) for true, _rest in events])
        if scores is not None and (labels != UNKNOWN).any():
            self.known.append((scores[labels != UNKNOWN], labels[labels != UNKNOWN]))
        if self._time is not None:
            self._add_days(batch, self._time, events, binned)

    def alerts(self) -> Alerts:
        sketch, count = self._version.sketch, int(self._totals[_ALERTS])
        return Alerts(
            count=count,
            rate=count / max(self.rows, 1),
            usual_rate=None if sketch is None else sketch.alert_rate,
            by_day=tuple(
                DayOfAlerts(first, int(row[_ROWS]), int(row[_ALERTS]))
                for first, _rest, row in self.days.each()
            ),
            days=self.days.days,
        )

    def by_period(self) -> tuple[MonitoredPeriod, ...]:
        return tuple(self._period(*period) for period in self.periods.each())

    def _period(self, first: str, last: str, row: Counts) -> MonitoredPeriod:
        moved, score = self.bins.moved(row)
        rows, alerts, judged, frauds, hits = (int(row[place]) for place in range(_EVENTS))
        return MonitoredPeriod(
            first=first,
            last=last,
            rows=rows,
            alerts=alerts if self.scored else None,
            score_index=score,
            moved=moved,
            frauds=frauds,
            precision=hits / judged if judged else None,
            recall=hits / frauds if frauds and self.scored else None,
        )

    def _add_days(
        self, batch: pl.DataFrame, time: ColumnSpec, events: Sequence[Event], binned: Sequence[Counts]
    ) -> None:
        moment = time.read(batch[time.name])
        there = moment.is_not_null().to_numpy()
        if not there.any():
            return
        day = (moment.cast(pl.Int64).fill_null(0).to_numpy() // (_DAY * 1_000_000))[there]
        within = [(true[there], places[there]) for true, places in events]
        self.days.add(day, within)
        self.periods.add(day, [*within, *((None, places[there]) for places in binned)])


class _Bins:
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

    def score_drift(self) -> ColumnDrift | None:
        return self.score.drifts()[0] if self.score.references else None

    def moved(self, row: Counts) -> tuple[tuple[MovedColumn, ...], float | None]:
        """Return the columns that moved most within a period, and the index of its score."""
        moved: list[MovedColumn] = []
        for reference, start in zip(self.columns.references, self.starts, strict=False):
            drift = drift_of(reference, row[start : start + len(reference.counts)])
            if drift.verdict != "same":
                moved.append(MovedColumn(drift.column, drift.index, drift.verdict))
        score = None
        for reference in self.score.references:
            start = self.starts[len(self.columns.references)]
            score = stability_index(reference.counts, row[start : start + len(reference.counts)])
        return tuple(sorted(moved, key=lambda item: -item.index)[:WORST]), score


Event = tuple[NDArray[np.bool_], Counts]


def _events(scores: NDArray[np.float64] | None, threshold: float, labels: NDArray[np.int8]) -> list[Event]:
    alert = np.zeros(len(labels), dtype=np.bool_) if scores is None else scores >= threshold
    known, fraud = labels != UNKNOWN, labels == 1
    true = [np.ones(len(labels), dtype=np.bool_), alert, known & alert, fraud, fraud & alert]
    return [(rows, np.full(len(labels), place)) for place, rows in enumerate(true)]


def _time_of(table: Table, sketch: TrainingSketch | None, named: str | None) -> ColumnSpec | None:
    """Say how the time column is read; None without one that holds dates."""
    kept = None if sketch is None else sketch.time
    if named is None and kept is not None and kept.name in table.columns:
        return kept if kept.kind == "datetime" else None
    if named is None or named not in table.columns:
        return None
    spec = infer_columns(table.sample().select(named), decimal_comma=table.format.decimal_comma)[0]
    return spec if spec.kind == "datetime" else None


def _outcomes(
    known: Sequence[tuple[NDArray[np.float64], NDArray[np.int8]]], threshold: float, rows: int
) -> KnownOutcomes | None:
    """Measure over the rows whose outcome is known; None where there is none."""
    if not known:
        return None
    scores, labels = (np.concatenate(parts) for parts in zip(*known, strict=True))
    frauds = int(labels.sum())
    share = len(labels) / max(rows, 1)
    if not 0 < frauds < len(labels):
        return KnownOutcomes(len(labels), share, frauds, metrics=None, intervals=None, confusion=None)
    # Of very many rows a part says as much: all frauds and every so-many-th other would bend precision.
    step = max(1, len(labels) // RESAMPLED_ROWS)
    intervals = bootstrap_intervals(labels[::step], scores[::step], threshold, seed=0)
    intervals |= share_intervals(labels, scores, threshold)
    return KnownOutcomes(
        len(labels),
        share,
        frauds,
        metrics=measure(labels, scores, threshold),
        intervals={name: (low, high) for name, (low, high) in intervals.items()},
        confusion=confusion(labels, scores, threshold),
    )
