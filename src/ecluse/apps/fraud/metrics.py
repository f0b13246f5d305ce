"""List the metrics of fraud models: what each measures, its words, and where it is shown.

To add one, add it to `METRICS`: reports, pages, comparisons, commands, the API and cards have it from there. What it
is called in other languages stands in their `messages.po`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ecluse.metrics import Metric
from ecluse.sentences import N_

if TYPE_CHECKING:
    from ecluse.apps.fraud.measures import Floats, Labels
    from ecluse.apps.fraud.performance.parts import Confusion


@dataclass(frozen=True)
class ScoredRows:
    """Rows that a metric measures: (rows,) labels 0 and 1, probabilities, and counts at the threshold."""

    labels: Labels
    probabilities: Floats
    counts: Confusion


@dataclass(frozen=True, kw_only=True)
class FraudMetric(Metric):
    """A metric of a fraud model.

    `card` is what the model card calls it; None where it is not there. `is_detail`: the page of a version lists it
    below its tiles. `is_watched`: monitoring compares it where outcomes are known. `of_order`: it depends on the order
    of rows alone, and so holds on any scale of the score.
    """

    measure: Callable[[ScoredRows], float]
    card: str | None = None
    is_detail: bool = False
    is_watched: bool = False
    of_order: bool = False


def _average_precision(rows: ScoredRows) -> float:
    from ecluse.apps.fraud.measures import average_precision

    return average_precision(rows.labels, rows.probabilities)


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
        measure=_average_precision, card="average precision", is_summary=True, is_watched=True, of_order=True,
    ),
    FraudMetric(
        name="roc_auc", title=N_("ROC AUC"), better="higher", digits=3,
        measure=_roc_auc, card="ROC AUC", is_summary=True, is_watched=True, of_order=True,
    ),
    FraudMetric(
        name="precision", title=N_("Precision"), better="higher", style="share", digits=0,
        measure=_precision, card="precision at the threshold", is_summary=True, is_watched=True,
    ),
    FraudMetric(
        name="recall", title=N_("Recall"), better="higher", style="share", digits=0,
        measure=_recall, card="recall at the threshold", is_summary=True, is_watched=True,
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
