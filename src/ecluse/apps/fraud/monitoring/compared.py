"""Read and write the report of a comparison, the `result` of an inspection: two versions on the same rows.

    report = read_comparison(inspection.result)
    report.b.alerts

`monitoring/comparison.py` measures it. A row may have been written by any release: what older ones did not write has
a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from ecluse.apps.fraud.performance.parts import Interval, PrecisionRecallPoint
from ecluse.typed_json import optional, read, write

#: What errors call the place where the report is kept.
_PLACE: Final = "inspections.result"
Difference = Literal["better", "worse", "overlap"]


@dataclass(frozen=True)
class ComparedVersion:
    """One version: its name, the threshold that it alerts from, and its alerts among the rows compared."""

    version: str
    threshold: float
    alerts: int
    alert_rate: float


@dataclass(frozen=True)
class AlertAgreement:
    """Rows that both, one or neither flag; `kappa` is their agreement beyond chance (Cohen, 1960)."""

    both: int
    a_only: int
    b_only: int
    neither: int
    kappa: float


@dataclass(frozen=True)
class ComparedMetric:
    """A metric of a and b, and b minus a with its 95 % interval; "overlap" where that holds 0."""

    a: float
    b: float
    difference: float
    interval: Interval
    verdict: Difference


@dataclass(frozen=True)
class ChangedRow:
    """A row, counted from 1, with both scores; `turned` where one version alone flags it.

    `outcome` is 1 for fraud, 0 for legitimate, None where it is not known; `values` name the row.
    """

    row: int
    a: float
    b: float
    turned: bool
    outcome: int | None
    values: dict[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ComparisonReport:
    """Two versions on the rows of a table. `labelled` rows have a known outcome that no version learned from.

    `figures` and `curves` are None where too few are. `seen` are the rows that each version learned from, `learned`
    the rows and frauds that it learned from in all. A retraining held `held_out` rows out for the comparison, of
    which `left_out` were left out as the old version had learned from them.
    """

    a: ComparedVersion
    b: ComparedVersion
    rows: int
    labelled: int
    frauds: int
    agreement: AlertAgreement
    rank_correlation: float | None
    changed: tuple[ChangedRow, ...] = ()
    figures: dict[str, ComparedMetric] | None = None
    curves: dict[str, tuple[PrecisionRecallPoint, ...]] | None = None
    seen: dict[str, int] | None = optional()
    notes: tuple[str, ...] = ()
    learned: dict[str, tuple[int, int] | None] | None = optional()
    held_out: int | None = optional()
    left_out: int | None = optional()


def read_comparison(content: Mapping[str, Any]) -> ComparisonReport:
    """Read the result of a comparison, of any release.

    Raises:
        UnreadableRecord: it is not what a release of ours wrote.
    """
    return read(ComparisonReport, content, _PLACE)


def comparison_content(report: ComparisonReport) -> dict[str, Any]:
    """Convert a report to plain JSON values, as the catalog holds them."""
    content: dict[str, Any] = write(report)
    return content
