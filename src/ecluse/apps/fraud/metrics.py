"""List the metrics of fraud models: what each measures, its words, and where it is shown.

To add one, add it to `METRICS`: reports, pages, commands, the API and cards have it from there; with `weighted` it has
intervals too, and is compared. Its French stands in `locale/fr/LC_MESSAGES/fraud.po`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ecluse.metrics import Metric
from ecluse.sentences import N_
from ecluse.shapes import Message

if TYPE_CHECKING:
    from ecluse.apps.fraud.measures import Floats, Labels
    from ecluse.apps.fraud.performance.parts import Confusion


@dataclass(frozen=True)
class ScoredRows:
    """Rows that a metric measures: (rows,) labels 0 and 1, probabilities, and counts at the threshold."""

    labels: Labels
    probabilities: Floats
    counts: Confusion


@dataclass(frozen=True)
class WeightedRows:
    """Rows that each count as a fraud, and as a legitimate row, by some weight: those of a draw for an interval.

    Sums from the highest score down: (distinct scores,) of the frauds and of all rows; and of those at the threshold
    or above.
    """

    frauds: Floats
    rows: Floats
    alert_frauds: float
    alerts: float


@dataclass(frozen=True, kw_only=True)
class FraudMetric(Metric):
    """A metric of a fraud model.

    `card` is what the model card calls it; None where it is not there. `note`: the pages of versions and references
    show it as a tile, and say so below it. `is_detail`: the page of a version lists it below its tiles.
    `is_watched`: monitoring compares it where outcomes are known. `of_order`: it depends on the order of rows alone,
    and so holds on any scale of the score.

    `weighted` measures it on rows drawn again: it has intervals, and comparisons show it. `share` counts what it is a
    share of, (some, all): its interval is that of a share. `of_frauds`: a share of all frauds, which are the same for
    two versions on the same rows.
    """

    measure: Callable[[ScoredRows], float]
    weighted: Callable[[WeightedRows], float] | None = None
    share: Callable[[ScoredRows], tuple[int, int]] | None = None
    of_frauds: bool = False
    card: str | None = None
    note: Message | None = None
    is_detail: bool = False
    is_watched: bool = False
    of_order: bool = False


def _average_precision(rows: ScoredRows) -> float:
    from ecluse.apps.fraud.measures import average_precision

    return average_precision(rows.labels, rows.probabilities)


def _weighted_average_precision(rows: WeightedRows) -> float:
    import numpy as np

    precision = rows.frauds / np.maximum(rows.rows, 1e-12)
    return float(np.sum(np.diff(rows.frauds, prepend=0.0) * precision) / max(float(rows.frauds[-1]), 1e-12))


def _weighted_roc_auc(rows: WeightedRows) -> float:
    import numpy as np

    from ecluse.apps.fraud.measures import rates_of

    if rows.frauds[-1] <= 0 or rows.rows[-1] <= rows.frauds[-1]:
        return 0.5
    recall, false_rate = rates_of(rows.frauds, rows.rows)
    return float(np.trapezoid(recall, false_rate))


def _weighted_precision(rows: WeightedRows) -> float:
    return rows.alert_frauds / rows.alerts if rows.alerts else 0.0


def _weighted_recall(rows: WeightedRows) -> float:
    return rows.alert_frauds / max(float(rows.frauds[-1]), 1e-12)


def _roc_auc(rows: ScoredRows) -> float:
    from ecluse.apps.fraud.measures import roc_auc

    return roc_auc(rows.labels, rows.probabilities)


def _precision(rows: ScoredRows) -> float:
    return rows.counts.tp / max(rows.counts.flagged, 1)


def _recall(rows: ScoredRows) -> float:
    return rows.counts.tp / max(rows.counts.frauds, 1)


def _f1(rows: ScoredRows) -> float:
    precision, recall = _precision(rows), _recall(rows)
    return 2 * precision * recall / max(precision + recall, 1e-12)


def _recall_in_top(share: float) -> Callable[[ScoredRows], float]:
    def measure(rows: ScoredRows) -> float:
        from ecluse.apps.fraud.measures import recall_in_top

        return recall_in_top(rows.labels, rows.probabilities, share)

    return measure


def _brier(rows: ScoredRows) -> float:
    from ecluse.apps.fraud.measures import brier

    return brier(rows.labels, rows.probabilities)


def _log_loss(rows: ScoredRows) -> float:
    from ecluse.apps.fraud.measures import log_loss

    return log_loss(rows.labels, rows.probabilities)


def _calibration_error(rows: ScoredRows) -> float:
    from ecluse.apps.fraud.measures import expected_calibration_error

    return expected_calibration_error(rows.labels, rows.probabilities)


#: In the order of reports and cards; the first is the one that versions are judged by.
METRICS: Final = (
    FraudMetric(
        name="average_precision", title=N_("Average precision"), better="higher", digits=2,
        measure=_average_precision, weighted=_weighted_average_precision, note="",
        card="average precision", is_summary=True, is_watched=True, of_order=True,
    ),
    FraudMetric(
        name="roc_auc", title=N_("ROC AUC"), better="higher", digits=3,
        measure=_roc_auc, weighted=_weighted_roc_auc, note="",
        card="ROC AUC", is_summary=True, is_watched=True, of_order=True,
    ),
    FraudMetric(
        name="precision", title=N_("Precision"), better="higher", style="share", digits=0,
        measure=_precision, weighted=_weighted_precision, share=lambda rows: (rows.counts.tp, rows.counts.flagged),
        note=N_("share of alerts that are fraud"),
        card="precision at the threshold", is_summary=True, is_watched=True,
    ),
    FraudMetric(
        name="recall", title=N_("Recall"), better="higher", style="share", digits=0,
        measure=_recall, weighted=_weighted_recall, of_frauds=True,
        share=lambda rows: (rows.counts.tp, rows.counts.frauds),
        note=N_("share of fraud found"),
        card="recall at the threshold", is_summary=True, is_watched=True,
    ),
    FraudMetric(
        name="f1", title=N_("F1"), better="higher", digits=2,
        measure=_f1, card="F1 at the threshold", is_summary=True, is_detail=True,
    ),
    FraudMetric(
        name="recall_top_1_percent", title=N_("Fraud in the top 1 %%"), better="higher", style="share", digits=0,
        measure=_recall_in_top(0.01), card="fraud found in the top 1 %", is_detail=True, of_order=True,
    ),
    FraudMetric(
        name="recall_top_5_percent", title=N_("Fraud in the top 5 %%"), better="higher", style="share", digits=0,
        measure=_recall_in_top(0.05), card="fraud found in the top 5 %", is_detail=True, of_order=True,
    ),
    FraudMetric(
        name="brier", title=N_("Brier score, 0 is best"), better="lower", digits=4,
        measure=_brier, card="Brier score", is_summary=True, is_detail=True, is_watched=True,
    ),
    FraudMetric(
        name="log_loss", title=N_("Log loss, 0 is best"), better="lower", digits=4,
        measure=_log_loss,
    ),
    FraudMetric(
        name="calibration_error", title=N_("Calibration error"), better="lower", style="share", digits=2,
        measure=_calibration_error, card="calibration error",
    ),
)  # fmt: skip
#: Names of the metrics that lists, commands and references show.
SUMMARY: Final = tuple(metric.name for metric in METRICS if metric.is_summary)
WATCHED: Final = tuple(metric.name for metric in METRICS if metric.is_watched)
OF_ORDER: Final = tuple(metric.name for metric in METRICS if metric.of_order)


def tiles() -> tuple[FraudMetric, ...]:
    """List the metrics that the pages of versions and references show as tiles."""
    return tuple(metric for metric in METRICS if metric.note is not None)


def compared() -> tuple[FraudMetric, ...]:
    """List the metrics that have an interval, and by which two versions are compared."""
    return tuple(metric for metric in METRICS if metric.weighted is not None)
