"""Read and write the report of monitoring, the `result` of an inspection: what a table says of a version's work.

    report = read_monitoring(inspection.result)
    report.alerts.rate

`monitoring/measuring.py` measures it. A row may have been written by any release: what older ones did not write has
a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ecluse.apps.fraud.performance.parts import ColumnDrift, Confusion, Interval, Verdict
from ecluse.typed_json import optional, read, write

#: What errors call the place where the report is kept.
_PLACE: Final = "inspections.result"


@dataclass(frozen=True)
class ColumnsFound:
    """Columns of the model that the table lacks, and others that it has; `near`: what a missing one may be called."""

    missing: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    near: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DayOfAlerts:
    """Rows and alerts from a day on, as ISO 8601."""

    day: str
    rows: int
    alerts: int


@dataclass(frozen=True)
class Alerts:
    """Rows at or above the threshold. `usual_rate` is that of the training, None where no sketch says it.

    `by_day` takes so many `days` together.
    """

    count: int
    rate: float
    usual_rate: float | None = None
    by_day: tuple[DayOfAlerts, ...] = ()
    days: int = 1


@dataclass(frozen=True)
class MovedColumn:
    """A column whose values of a period are not spread as those of the training rows."""

    column: str
    index: float
    verdict: Verdict


@dataclass(frozen=True)
class MonitoredPeriod:
    """The rows from the day `first` to `last`; `frauds` and what follows are of the rows whose outcome is known."""

    first: str
    last: str
    rows: int
    alerts: int | None
    score_index: float | None
    moved: tuple[MovedColumn, ...]
    frauds: int
    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class KnownOutcomes:
    """The metrics over the rows whose outcome is known; None where all of them are fraud, or none is."""

    rows: int
    share: float
    frauds: int
    metrics: dict[str, float] | None
    intervals: dict[str, Interval] | None
    confusion: Confusion | None


@dataclass(frozen=True)
class MonitoringReport:
    """What a table says of a version: columns, drift, alerts, periods, and metrics where outcomes are known.

    `score` is the drift of the score. `period_days` is how many days a period has. `seen` are the rows that the
    version learned from; no metric counts them.
    """

    rows: int
    columns: ColumnsFound
    drift: tuple[ColumnDrift, ...]
    score: ColumnDrift | None
    threshold: float
    alerts: Alerts | None
    periods: tuple[MonitoredPeriod, ...] = ()
    period_days: int = 1
    outcomes: KnownOutcomes | None = None
    notes: tuple[str, ...] = ()
    seen: int | None = optional()


def read_monitoring(content: Mapping[str, Any]) -> MonitoringReport:
    """Read the result of a monitoring, of any release.

    Raises:
        UnreadableRecord: it is not what a release of ours wrote.
    """
    return read(MonitoringReport, content, _PLACE)


def monitoring_content(report: MonitoringReport) -> dict[str, Any]:
    """Convert a report to plain JSON values, as the catalog holds them."""
    content: dict[str, Any] = write(report)
    return content
