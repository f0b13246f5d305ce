"""Turn raw log-odds into probabilities that mean what they say."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ecluse.errors import ModelUnreadable
from ecluse.sentences import _

Floats = NDArray[np.float64]

ISOTONIC_POSITIVES = 1_000
# Isotonic regression is flat over long stretches; this share of the Platt curve keeps the order of scores.
PLATT_SHARE = 0.02


@dataclass(frozen=True)
class Calibration:
    """`probability = sigmoid(slope * margin + intercept)`, blended with a step curve when `knots` exist."""

    method: Literal["platt", "isotonic"]
    slope: float
    intercept: float
    knots: tuple[float, ...] = ()
    values: tuple[float, ...] = ()

    def probabilities(self, margins: Floats) -> Floats:
        """(rows,) float64 in [0, 1], rounded to the six decimals that are shown and compared."""
        probability = 1.0 / (1.0 + np.exp(-np.clip(self.slope * margins + self.intercept, -500, 500)))
        if self.knots:
            steps = np.interp(margins, self.knots, self.values)
            probability = (1 - PLATT_SHARE) * steps + PLATT_SHARE * probability
        return np.round(probability, 6)

    def to_dict(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "slope": self.slope,
            "intercept": self.intercept,
            "knots": list(self.knots),
            "values": list(self.values),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Calibration:
        if data["method"] not in ("platt", "isotonic") or len(data["knots"]) != len(data["values"]):
            raise ModelUnreadable(
                _(
                    "Calibration of kind %(value)s is damaged or foreign. Train again.",
                    value=repr(data["method"]),
                )
            )
        knots, values = tuple(map(float, data["knots"])), tuple(map(float, data["values"]))
        return cls(data["method"], float(data["slope"]), float(data["intercept"]), knots, values)


def fit_calibration(labels: NDArray[np.int8], margins: Floats) -> Calibration:
    """Platt scaling of margins (rows,) in log-odds; isotonic regression from 1,000 positives on.

    Targets are shrunk as in Platt (1999) so that few positives do not give certainties.
    """
    slope, intercept = _platt(labels, margins)
    if int(labels.sum()) < ISOTONIC_POSITIVES:
        return Calibration("platt", slope, intercept)
    knots, values = _isotonic(labels, margins)
    return Calibration("isotonic", slope, intercept, knots, values)


def _platt(labels: NDArray[np.int8], margins: Floats) -> tuple[float, float]:
    positives = float(labels.sum())
    negatives = len(labels) - positives
    target = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    center, scale = float(margins.mean()), float(margins.std()) or 1.0
    x = (margins - center) / scale
    slope, intercept = 1.0, float(np.log((positives + 1) / (negatives + 1)))
    for _turn in range(50):
        p = 1.0 / (1.0 + np.exp(-np.clip(slope * x + intercept, -500, 500)))
        step = _newton_step(x, target - p, np.maximum(p * (1 - p), 1e-9), slope)
        slope, intercept = slope + step[0], intercept + step[1]
        if np.abs(step).max() < 1e-8:
            break
    # A model worse than chance on these rows must not have its order turned round.
    slope = max(float(slope), 1e-3)
    return slope / scale, float(intercept) - slope * center / scale


def _newton_step(x: Floats, error: Floats, weight: Floats, slope: float) -> Floats:
    penalty = 1e-3
    gradient = np.array([np.sum(error * x) - penalty * slope, np.sum(error)])
    cross = np.sum(weight * x)
    hessian = np.array([[np.sum(weight * x * x) + penalty, cross], [cross, np.sum(weight)]])
    step: Floats = np.linalg.solve(hessian, gradient)
    return step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))


def _isotonic(labels: NDArray[np.int8], margins: Floats) -> tuple[tuple[float, ...], tuple[float, ...]]:
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(margins, labels)
    knots = tuple(float(value) for value in fitted.X_thresholds_)
    return knots, tuple(float(value) for value in fitted.y_thresholds_)
