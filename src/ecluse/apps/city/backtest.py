"""Measure the forecasts on days that no model had seen: how far off they are, and what their intervals hold.

Each day of the last weeks is forecast from the days before it, 24 hours ahead: by the day a week before, by the
typical day, by the recent level, by LightGBM (learned anew each week), and by the choice that a forecast makes. An
error is given as MASE (Hyndman and Koehler, International Journal of Forecasting 22, 2006): the mean absolute error
over that of the value a week before (168 hours) on the days before the test; less than 1 is better than that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ecluse.apps.city.forecast import (
    FEWEST_WEEKS,
    LEARNING_DAYS,
    Forecast,
    Learned,
    by_recent_level,
    by_typical_day,
    chosen,
    has_enough,
    plain,
)
from ecluse.apps.city.past import Past
from ecluse.apps.city.progress import Report, unheard
from ecluse.apps.city.typical import LEVELS, Floats, Panel
from ecluse.errors import InvalidInput

#: What is measured, in the order of the tables.
MODELS: Final = ("weekly naive", "typical day", "recent level", "LightGBM", "chosen")
#: LightGBM learns anew after so many days.
LEARNED_EVERY: Final = 7
_WEEK: Final = 7
#: Before the first day of the test: enough to learn from and to calibrate on.
NEEDED_WEEKS: Final = FEWEST_WEEKS


@dataclass(frozen=True)
class Score:
    """What a model did for one series. `mase`: None without values to scale by; `coverage`: share of hours inside
    the interval; `width`: its mean width, in units of the series; both None where there is no interval.
    """

    mase: float | None
    coverage: float | None
    width: float | None
    hours: int


@dataclass(frozen=True)
class Overall:
    """What a model did for all series: MASE over series, coverage over all hours.

    `relative_width`: mean over series of the width in units of what the MASE of the series is scaled by.
    """

    mase_mean: float | None
    mase_median: float | None
    coverage: float | None
    relative_width: float | None


@dataclass(frozen=True)
class Backtest:
    """`series`: sensor → model → score; `overall`: model → all series together."""

    first: date
    last: date
    level: float
    series: Mapping[Any, Mapping[str, Score]]
    overall: Mapping[str, Overall]


class _Predictions:
    """Forecasts of the days of the test: (sensors, days, 24) each."""

    def __init__(self, sensors: int, days: int) -> None:
        self.median, self.low, self.high = (
            np.full((sensors, days, 24), np.nan, np.float32) for _ in range(3)
        )

    def put(self, at: int, forecast: Forecast) -> None:
        self.median[:, at], self.low[:, at], self.high[:, at] = (
            forecast.median,
            forecast.low,
            forecast.high,
        )


def backtest(
    panel: Panel,
    *,
    weeks: int = 8,
    learns: bool = True,
    history_days: int | None = LEARNING_DAYS,
    level: float = LEVELS[0],
    seed: int = 0,
    report: Report = unheard,
) -> Backtest:
    """Forecast the last weeks of a panel day by day, and compare.

    `history_days`: how many days LightGBM learns from, None for all there are; the default is what a day's
    forecast has. Hours count where every model has a forecast.

    Raises:
        InvalidInput: the panel is too short, and the message says how many weeks it needs; or too empty.
    """
    days = panel.values.shape[1]
    first = days - weeks * _WEEK
    if first < _WEEK * NEEDED_WEEKS:
        raise InvalidInput(
            f"A backtest of {weeks} weeks needs {weeks + NEEDED_WEEKS} weeks of data; there are {days // _WEEK}. "
            "Ask for fewer (--weeks), or fetch more: ecluse city fetch"
        )
    predictions = _forecast_days(Past(panel), first, learns, history_days, level, seed, report)
    predictions["weekly naive"].median[:] = panel.values[:, first - _WEEK : days - _WEEK]
    return _scored(panel, first, level, predictions)


def _forecast_days(
    past: Past, first: int, learns: bool, history: int | None, level: float, seed: int, report: Report
) -> dict[str, _Predictions]:
    predictions = {model: _Predictions(len(past.sensors), past.days - first) for model in MODELS}
    if not learns:
        del predictions["LightGBM"]
    learned: Learned | None = None
    for n in range(first, past.days):
        if learns and (n - first) % LEARNED_EVERY == 0:
            report((n - first) / (past.days - first), f"learning before {past.dates[n]}")
            since = 0 if history is None else max(0, n - history)
            if not has_enough(past, since, n):
                raise InvalidInput(
                    f"Before {past.dates[n]} there are too few values to learn from. Measure the others: --no-learn"
                )
            learned = Learned.from_past(past, n, since=since, seed=seed)
        predictions["typical day"].put(n - first, by_typical_day(past, n, level))
        predictions["recent level"].put(n - first, by_recent_level(past, n, level))
        best = plain(past, n, level)
        if learned is not None:
            predictions["LightGBM"].put(n - first, learned.forecast(n, level))
            best = chosen(best, learned, past, n)
        predictions["chosen"].put(n - first, best)
    return predictions


# Scores


def _scored(panel: Panel, first: int, level: float, predictions: Mapping[str, _Predictions]) -> Backtest:
    truth = panel.values[:, first:]
    counted = np.isfinite(truth)
    for predictions_of_model in predictions.values():
        counted &= np.isfinite(predictions_of_model.median)
    before = panel.values[:, :first]
    scale = _mean(np.abs(before[:, _WEEK:] - before[:, :-_WEEK]))
    series: dict[Any, dict[str, Score]] = {sensor: {} for sensor in panel.sensors}
    overall = {}
    for model, predictions_of_model in predictions.items():
        error = _mean(np.where(counted, np.abs(truth - predictions_of_model.median), np.nan))
        with np.errstate(invalid="ignore", divide="ignore"):
            mase = np.where(scale > 0, error / scale, np.nan)
        bounded = counted & np.isfinite(predictions_of_model.low) & np.isfinite(predictions_of_model.high)
        inside = np.where(
            bounded, (truth >= predictions_of_model.low) & (truth <= predictions_of_model.high), np.nan
        ).astype(np.float32)
        width = _mean(np.where(bounded, predictions_of_model.high - predictions_of_model.low, np.nan))
        coverage = _mean(inside)
        for n, sensor in enumerate(panel.sensors):
            series[sensor][model] = Score(
                _number(mase[n]), _number(coverage[n]), _number(width[n]), int(counted[n].sum())
            )
        with np.errstate(invalid="ignore", divide="ignore"):
            relative = np.where(scale > 0, width / scale, np.nan)
        overall[model] = Overall(
            _over(np.mean, mase), _over(np.median, mase), _over(np.mean, inside), _over(np.mean, relative)
        )
    dates = panel.dates
    return Backtest(dates[first], dates[-1], level, series, overall)


def _mean(values: Floats) -> NDArray[np.float64]:
    """Return (sensors,) of (sensors, days, 24): the mean of what is known, NaN where nothing is."""
    is_known = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = np.where(is_known, values, 0).sum(axis=(1, 2), dtype=np.float64)
        return np.asarray(total / is_known.sum(axis=(1, 2)))


def _over(summary: Callable[[Any], Any], values: NDArray[Any]) -> float | None:
    known_values = values[np.isfinite(values)]
    return float(summary(known_values.astype(np.float64))) if known_values.size else None


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
