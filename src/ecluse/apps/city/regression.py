"""Forecast how far an hour departs from its typical one, by one robust regression for all sensors.

Working days, Saturdays and Sundays each have their own weights of the same few predictors (`Past.predictors`), fitted
to the least absolute error by iteratively reweighted least squares (Schlossmacher, JASA 68, 1973). A dozen weights per
kind of day cannot follow the chance of single days, which are few however many the sensors; trees can.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from ecluse.apps.city.past import FARTHEST_DEPARTURE, KINDS, Ints, Past
from ecluse.apps.city.typical import Floats

Weights = NDArray[np.float64]

#: How often the weights are fitted again.
ROUNDS: Final = 15
#: An error smaller than this share of the sensor's usual difference counts as this one, so that none weighs all.
SMALLEST_ERROR: Final = 0.05
#: How much squares of the weights cost, for each hour that is learned from.
RIDGE: Final = 0.03


@dataclass(frozen=True)
class Regression:
    """`weights`: (kinds of days, predictors)."""

    weights: Weights

    @classmethod
    def fitted(cls, past: Past, sensors: Ints, days: Ints) -> Regression:
        """Learn from pairs of sensor and day of a panel (its places)."""
        predictors = past.predictors(sensors, days)
        departures = past.residuals[sensors, days] / past.scale[sensors, days]
        weights = np.zeros((KINDS, predictors.shape[-1]))
        for kind in range(KINDS):
            usable = np.isfinite(departures) & (past.kinds[days] == kind)[:, None]
            if usable.any():
                weights[kind] = _least_absolute(predictors[usable], departures[usable])
        return cls(weights)

    def departures(self, past: Past, sensors: Ints, days: Ints) -> Floats:
        """(pairs, 24): how far each hour is expected to be from its typical one, in units of the scale."""
        weights = self.weights[past.kinds[days]]
        predictors = past.predictors(sensors, days)
        return np.asarray(np.einsum("phk,pk->ph", predictors, weights), np.float32)


def _least_absolute(predictors: Floats, target: Floats) -> Weights:
    """(predictors,) of (hours, predictors) and (hours,): the weights of the least absolute error, shrunk a little."""
    matrix = predictors.astype(np.float64)
    departures: Weights = np.clip(target, -FARTHEST_DEPARTURE, FARTHEST_DEPARTURE).astype(np.float64)
    shrinkage = np.eye(matrix.shape[1]) * RIDGE * len(departures)
    error: Weights = departures
    weights: Weights = np.zeros(matrix.shape[1])
    for _ in range(ROUNDS):
        weighted = matrix / np.maximum(np.abs(error), SMALLEST_ERROR)[:, None]
        weights = np.asarray(
            np.linalg.solve(weighted.T @ matrix + shrinkage, weighted.T @ departures), np.float64
        )
        error = np.asarray(departures - matrix @ weights, np.float64)
    return weights
