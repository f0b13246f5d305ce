"""Measure how well scores order and match labels: the mathematics of single metrics."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ecluse.apps.fraud.performance.parts import CalibrationBin

Floats = NDArray[np.float64]
Labels = NDArray[np.int8]


def average_precision(labels: Labels, scores: Floats) -> float:
    """Area under the precision-recall curve as a step sum, ties taken together; 0 without positives."""
    hits, flagged, _rest = count_by_score(labels, scores)
    if not len(hits) or hits[-1] == 0:
        return 0.0
    return float(np.sum(np.diff(hits, prepend=0.0) * (hits / flagged)) / hits[-1])


def roc_auc(labels: Labels, scores: Floats) -> float:
    """Return the chance that a fraud scores above a legitimate row, ties counted half; 0.5 with one class only."""
    hits, flagged, _rest = count_by_score(labels, scores)
    if not len(hits) or hits[-1] == 0 or flagged[-1] == hits[-1]:
        return 0.5
    recall, false_rate = rates_of(hits, flagged)
    return float(np.trapezoid(recall, false_rate))


def brier(labels: Labels, probabilities: Floats) -> float:
    """Mean squared distance between probability and outcome: 0 is perfect."""
    return float(np.mean((probabilities - labels) ** 2))


def log_loss(labels: Labels, probabilities: Floats) -> float:
    """Mean negative log-likelihood, probabilities kept 1e-12 away from 0 and 1."""
    p = np.clip(probabilities, 1e-12, 1 - 1e-12)
    return float(-np.mean(np.where(labels == 1, np.log(p), np.log1p(-p))))


def expected_calibration_error(labels: Labels, probabilities: Floats) -> float:
    """Mean distance between promised and observed fraud rate over ten bins of equal numbers of rows."""
    points = calibration_curve(labels, probabilities)
    total = sum(point.rows for point in points)
    return float(sum(p.rows * abs(p.predicted - p.observed) for p in points) / max(total, 1))


def recall_in_top(labels: Labels, scores: Floats, share: float) -> float:
    """Share of all fraud found among the `share` of rows with the highest scores (at least one row)."""
    positives = int(labels.sum())
    if positives == 0:
        return 0.0
    count = max(1, round(share * len(labels)))
    top = np.argsort(-scores, kind="stable")[:count]
    return float(labels[top].sum() / positives)


def count_by_score(labels: Labels, scores: Floats) -> tuple[Floats, Floats, Floats]:
    """Frauds found and rows flagged at each distinct score, from the highest down, and those scores."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    ends = (
        np.flatnonzero(np.append(np.diff(ranked) != 0, True)) if len(ranked) else np.array([], dtype=np.intp)
    )
    hits = np.cumsum(labels[order], dtype=np.float64)[ends]
    return hits, (ends + 1).astype(np.float64), ranked[ends]


def rates_of(hits: Floats, flagged: Floats) -> tuple[Floats, Floats]:
    false = flagged - hits
    recall = np.concatenate([[0.0], hits / (hits[-1] or 1.0)])
    return recall, np.concatenate([[0.0], false / (false[-1] or 1.0)])


def calibration_curve(labels: Labels, probabilities: Floats, bins: int = 10) -> tuple[CalibrationBin, ...]:
    """Divide rows by probability into up to `bins` bins of the same number of rows."""
    order = np.argsort(probabilities, kind="stable")
    return tuple(
        CalibrationBin(float(probabilities[part].mean()), float(labels[part].mean()), len(part))
        for part in np.array_split(order, min(bins, len(order)))
    )
