"""Forecast the next day of every arc and bike counter, hour by hour, with an interval.

Three models give it. The typical day (`ecluse.apps.city.typical`) always can. The recent level is the typical day
times what the last `LEVEL_DAYS` days had of theirs, damped; each sensor takes whichever of the two was nearer on
the four weeks before. LightGBM, one model for all sensors of a kind, learns how an hour departs from its typical
one: from yesterday, the week before, the level of the last days, the hour, the weekday and the holidays near. It
is asked where there are `FEWEST_WEEKS` of history. The last days are held out: they give its interval (split
conformal, as that of the typical day), and sensors for which another was clearly nearer there keep the other.
Then it learns from these days too.

The same panel and seed give the same forecast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cached_property, partial
from typing import Any, Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.city.calendar import LocalDay
from ecluse.apps.city.holidays import is_public_holiday
from ecluse.apps.city.inputs import Inputs
from ecluse.apps.city.numbers import rounded_list
from ecluse.apps.city.typical import (
    CALIBRATION_DAYS,
    CLOCK_HOURS,
    LEVELS,
    Bands,
    Floats,
    Panel,
    counts_as_sunday,
    typical_days,
)

Model = Literal["typical day", "recent level", "LightGBM"]
Ints = NDArray[np.int64]

#: The recent level is that of so many days, to this power; chosen on weeks 20 to 8 before the end of 58 real
#: series (benchmarks/city_forecast.py), as `PARAMETERS` are.
LEVEL_DAYS: Final = 3
LEVEL_POWER: Final = 0.7
#: No level is taken to be farther from the typical one than this many times, up or down.
FARTHEST_LEVEL: Final = 5.0
#: How far back the panel of a learned forecast should go: with 84 days LightGBM had a MASE of 0.83 on those weeks,
#: with 168 one of 0.80, with all the history (240 to 310 days) one of 0.79.
LEARNING_DAYS: Final = 168
#: LightGBM is asked where a panel goes back this far; each day it learns from has four weeks behind it.
FEWEST_WEEKS: Final = 8
FIRST_LEARNED: Final = 28
#: And where the days before those held out have so many hours with a value and a typical one.
FEWEST_HOURS: Final = 1000
#: The days held out for the interval and the choice: of a short history the fewer.
HELD_OUT: Final = (14, 28)
#: From so many days to learn from on, the longer of the two.
LONG_HISTORY: Final = 84
#: It learns from so many hours at most, drawn by chance.
MOST_HOURS: Final = 300_000
#: A difference beyond this many times the sensor's usual one is taken as this one.
CLIPPED: Final = 20.0
#: Sensors whose differences are smaller than this are taken as differing by it.
SMALLEST_SCALE: Final = 0.5
#: Sensors are taken by so many at a time where means are made, to save memory.
_AT_ONCE: Final = 256
TREES: Final = 200
#: How the error falls with the trees is measured on so many sensors, at every so many trees.
CURVE_SENSORS: Final = 40
CURVE_EVERY: Final = 20
#: What it missed in rehearsal, when it had learned from fewer days, may be so many times what another did.
HANDICAP: Final = 1.2
PARAMETERS: Final[Mapping[str, Any]] = {
    "objective": "l1",
    "learning_rate": 0.05,
    "num_leaves": 31,
    "min_data_in_leaf": 200,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "verbose": -1,
}


#: Called with what was learned, of "flow" or "bikes".
Heard = Callable[[str, "Learned"], None]


def unheard(panel: str, learned: Learned) -> None:
    """Listen to nothing of what was learned."""


#: The text of the model of this name: as it was kept before, or made by the function, and kept.
Recall = Callable[[str, Callable[[], str]], str]


def anew(name: str, make: Callable[[], str]) -> str:
    """Return where no model is kept."""
    del name
    return make()


@dataclass(frozen=True)
class Forecast:
    """The expected values of a date and an interval that is to hold a share of `level` of them.

    `median`, `low`, `high`: (sensors, 24) by hour of the clock, NaN where nothing can be told; `models`: which of
    the two each sensor's values come from; `days`: (sensors,) how many days its typical day rests on.
    """

    date: date
    sensors: tuple[Any, ...]
    level: float
    models: tuple[Model, ...]
    median: Floats
    low: Floats
    high: Floats
    days: Ints


def forecast_day(
    inputs: Inputs, *, learns: bool, seed: int = 0, heard: Heard = unheard, recall: Recall = anew
) -> dict[str, dict[str, dict[str, Any]]]:
    """Return the day after `inputs.day`: {kind of documents: {key: body}}, of `forecast/arcs` and `forecast/bikes`.

    `learns`: ask LightGBM too, which takes seconds to minutes; its inputs should reach back `LEARNING_DAYS`.
    `heard` is called with what was learned of "flow" and of "bikes", where there was enough to learn from; `recall`
    keeps the models of both for whoever goes on with this forecast.
    """
    tomorrow = LocalDay(inputs.day.date + timedelta(days=1), inputs.day.zone)
    network = inputs.network
    labels = dict(zip(network.ids.tolist(), network.labels, strict=True))
    names = inputs.bikes.select("counter", "name").drop_nulls().unique("counter", keep="last")
    counters = dict(names.select(pl.col("counter"), pl.col("name")).iter_rows())

    def expected(name: str, panel: Panel) -> Forecast:
        return forecast(
            panel,
            tomorrow.date,
            learns=learns,
            seed=seed,
            heard=partial(heard, name),
            recall=lambda part, make: recall(f"{name}-{part}", make),
        )

    arcs, bikes = expected("flow", inputs.flow_panel), expected("bikes", inputs.bike_panel)
    return {
        "forecast/arcs": _bodies(arcs, tomorrow, "flow", lambda arc: {"arc": arc, "label": labels.get(arc)}),
        "forecast/bikes": _bodies(
            bikes, tomorrow, "count", lambda counter: {"counter": counter, "name": counters.get(counter)}
        ),
    }


def forecast(
    panel: Panel,
    day: date,
    *,
    learns: bool,
    seed: int = 0,
    level: float = LEVELS[0],
    heard: Callable[[Learned], None] = lambda learned: None,
    recall: Recall = anew,
) -> Forecast:
    """Return what to expect of `day` from the days of the panel before it. `heard` is told what was learned, if it
    was.
    """
    past = Past(panel.until(day))
    forecast_ = plain(past, past.days, level)
    if not learns or not past.is_enough:
        return forecast_
    learned = Learned.from_past(past, past.days, since=past.since, seed=seed, recall=recall)
    heard(learned)
    return chosen(forecast_, learned, past, past.days)


def plain(past: Past, day: int, level: float) -> Forecast:
    """Return the typical day or the recent level of a day of the panel (its place), or of the day after its last."""
    typical, levelled = (predicted(past, day, level) for predicted in (by_typical_day, by_recent_level))
    before = slice(max(day - CALIBRATION_DAYS, 0), day)
    own, other = past.values[:, before] - past.levelled[:, before], past.residuals[:, before]
    return _either(typical, levelled, _is_nearer(own, other))


def by_typical_day(past: Past, day: int, level: float) -> Forecast:
    """Return the typical day alone."""
    return _with_band(past, past.typical, "typical day", day, level)


def by_recent_level(past: Past, day: int, level: float) -> Forecast:
    """Return the typical day at the level of the last days alone."""
    return _with_band(past, past.levelled, "recent level", day, level)


def chosen(plain_forecast: Forecast, learned: Learned, past: Past, day: int) -> Forecast:
    """Return what LightGBM tells of a day, but for the sensors that `told` was clearly nearer for on the days held
    out.
    """
    by_level = np.array([model == "recent level" for model in plain_forecast.models])
    days = learned.held_out
    other = np.where(by_level[:, None, None], past.levelled[:, days], past.typical[:, days])
    is_nearer = _is_nearer(learned.missed, past.values[:, days] - other, HANDICAP)
    return _either(plain_forecast, learned.forecast(day, plain_forecast.level), is_nearer)


def _with_band(past: Past, medians: Floats, model: Model, day: int, level: float) -> Forecast:
    before = slice(max(day - CALIBRATION_DAYS, 0), day)
    bands = Bands.calibrated(past.values[:, before] - medians[:, before], (level,))
    median = medians[:, day]
    return Forecast(
        date=past.dates[day],
        sensors=past.sensors,
        level=level,
        models=tuple[Model, ...]([model] * len(past.sensors)),
        median=median,
        low=np.maximum(median - bands.below[0], 0),
        high=median + bands.above[0],
        days=past.typical_of[:, day],
    )


def _is_nearer(own: Floats, other: Floats, handicap: float = 1.0) -> NDArray[np.bool_]:
    """(sensors,): whose differences, (sensors, days, 24), are the smaller ones where both are known."""
    both = np.isfinite(own) & np.isfinite(other)
    totals = [np.where(both, np.abs(errors), 0).sum(axis=(1, 2)) for errors in (own, other)]
    return np.asarray(totals[0] < handicap * totals[1])


def _either(first: Forecast, second: Forecast, takes_other: NDArray[np.bool_]) -> Forecast:
    """For each sensor one forecast, or the other where it is wanted and tells something."""
    takes = takes_other & np.isfinite(second.median).any(axis=1)
    pick = takes[:, None]
    return replace(
        first,
        models=tuple(b if take else a for a, b, take in zip(first.models, second.models, takes, strict=True)),
        median=np.where(pick, second.median, first.median),
        low=np.where(pick, second.low, first.low),
        high=np.where(pick, second.high, first.high),
    )


# Learn


class Past:
    """What is known before each day of a panel, and before the day after its last."""

    def __init__(self, panel: Panel) -> None:
        self.sensors = panel.sensors
        sensors, self.days = panel.values.shape[:2]
        self.dates = [panel.first + timedelta(days=n) for n in range(self.days + 1)]
        after = np.full((sensors, 1, CLOCK_HOURS), np.nan, np.float32)
        self.values: Floats = np.concatenate([panel.values, after], axis=1)
        self._panel = panel

    @cached_property
    def since(self) -> int:
        """Return the first day that has a value; `days` where none has."""
        has_values = np.isfinite(self.values).any(axis=(0, 2))
        return int(has_values.argmax()) if has_values.any() else self.days

    @property
    def is_enough(self) -> bool:
        """Return whether there is enough to learn from for the day after the last."""
        return (self.days - self.since) // 7 >= FEWEST_WEEKS and self.has_enough(self.since, self.days)

    def has_enough(self, since: int, until: int) -> bool:
        """Return whether the days from `since` to before `until`, without those held out, have `FEWEST_HOURS`."""
        first = since + FIRST_LEARNED
        learned_from = self.residuals[:, first : until - _held_out(first, until)]
        return int(np.isfinite(learned_from).sum()) >= FEWEST_HOURS

    @cached_property
    def _typical(self) -> tuple[Floats, Ints]:
        return typical_days(self._panel, self.dates)

    @property
    def typical(self) -> Floats:
        """(sensors, days + 1, 24): the typical day of each."""
        return self._typical[0]

    @property
    def typical_of(self) -> Ints:
        """(sensors, days + 1): how many days each typical day rests on."""
        return self._typical[1]

    @cached_property
    def levelled(self) -> Floats:
        """(sensors, days + 1, 24): the typical day at the level of the days before; where unknown, as it is."""
        level = np.clip(self._ratios[:, :, 1:2], 1 / FARTHEST_LEVEL, FARTHEST_LEVEL)
        return np.asarray(self.typical * np.where(np.isfinite(level), level, 1) ** LEVEL_POWER, np.float32)

    @cached_property
    def residuals(self) -> Floats:
        return self.values - self.typical

    @cached_property
    def scale(self) -> Floats:
        """(sensors, days + 1, 1): how much an hour of these four weeks differed from the one a week before it."""
        change = np.full_like(self.values, np.nan)
        change[:, 7:] = np.abs(self.values[:, 7:] - self.values[:, :-7])
        return np.maximum(_before(_hourly_mean(change), 28), np.float32(SMALLEST_SCALE))

    @cached_property
    def level(self) -> Floats:
        """(sensors, days + 1, 1): the mean of an hour of these four weeks."""
        return np.maximum(_before(_hourly_mean(self.values), 28), np.float32(SMALLEST_SCALE))

    @cached_property
    def _over(self) -> dict[str, Floats]:
        """(sensors, days + 1, 24): means over the days before."""
        return {
            "values 7": _before(self.values, 7),
            "residuals 7": _before(self.residuals, 7),
            "residuals 28": _before(self.residuals, 28),
        }

    @cached_property
    def _ratios(self) -> Floats:
        """(sensors, days + 1, 4): total over typical total of the 1, 3, 7 and 28 days before."""
        both = np.isfinite(self.residuals)
        counted = _sum_before(np.where(both, self.values, 0).sum(axis=2, keepdims=True))
        usual = _sum_before(np.where(both, self.typical, 0).sum(axis=2, keepdims=True))
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios = [_window(counted, days) / _window(usual, days) for days in (1, LEVEL_DAYS, 7, 28)]
        return np.clip(np.concatenate(ratios, axis=2), 0, FARTHEST_LEVEL).astype(np.float32)

    @cached_property
    def _calendar(self) -> Floats:
        """(days + 1, 6)."""
        one_day = timedelta(days=1)
        rows = [
            (
                day.weekday(),
                counts_as_sunday(day),
                is_public_holiday(day),
                is_public_holiday(day - one_day),
                is_public_holiday(day + one_day),
                sum(is_public_holiday(day + n * one_day) for n in range(-3, 4)),
            )
            for day in self.dates
        ]
        return np.array(rows, np.float32)

    def features(self, sensors: Ints, days: Ints) -> Floats:
        """(pairs, 24, features) of pairs of sensor and day, all from days before that day."""
        scale, level = self.scale[sensors, days], self.level[sensors, days]
        typical = self.typical[sensors, days]
        lagged = [(self.values[sensors, days - k] - typical) / scale for k in (1, 2, 3, 7, 14)]
        departed = [self.residuals[sensors, days - k] / scale for k in (1, 2, 7)]
        over = {name: values[sensors, days] for name, values in self._over.items()}
        evening = self.residuals[sensors, days - 1][:, 20:].mean(axis=1, keepdims=True) / scale
        of_day = np.concatenate(
            [np.log1p(level), scale / level, evening, self._ratios[sensors, days], self._calendar[days]],
            axis=1,
        )
        by_hour = [
            typical / scale,
            typical / level,
            *lagged,
            *departed,
            (over["values 7"] - typical) / scale,
            over["residuals 7"] / scale,
            over["residuals 28"] / scale,
            np.broadcast_to(np.arange(CLOCK_HOURS, dtype=np.float32), typical.shape),
        ]
        repeated = np.broadcast_to(of_day[:, None], (len(sensors), CLOCK_HOURS, of_day.shape[1]))
        return np.concatenate([np.stack(by_hour, axis=-1), repeated], axis=-1).astype(np.float32)


@dataclass(frozen=True)
class Learned:
    """A model that learned from the days before `until`, and what it missed on days it had not seen."""

    past: Past
    #: The days held out, places in the panel.
    held_out: slice
    #: (sensors, days held out, 24): value minus forecast, by a model that had learned before these days.
    missed: Floats
    booster: Any
    #: The model that had learned before the days held out.
    rehearsal: Any

    def errors(self) -> dict[str, float]:
        """Mean absolute errors on the days held out, in the unit of the sensors: its own, and the typical day's."""
        typical = self.past.values[:, self.held_out] - self.past.typical[:, self.held_out]
        both = np.isfinite(self.missed) & np.isfinite(typical)
        pairs = {"absolute_error": self.missed, "typical_error": typical}
        return (
            {name: float(np.abs(missed[both]).mean()) for name, missed in pairs.items()} if both.any() else {}
        )

    def errors_by_trees(self) -> list[tuple[int, float]]:
        """(trees, mean absolute error with so many of them) on the days held out, of some sensors drawn from all."""
        sensors = np.linspace(0, len(self.past.values) - 1, min(len(self.past.values), CURVE_SENSORS)).astype(
            int
        )
        sensors = np.repeat(np.unique(sensors), self.held_out.stop - self.held_out.start)
        days = np.resize(np.arange(self.held_out.start, self.held_out.stop), len(sensors))
        features, actual = self.past.features(sensors, days), self.past.values[sensors, days]
        errors = []
        for trees in range(CURVE_EVERY, TREES + 1, CURVE_EVERY):
            missed = np.abs(
                actual - _predict_trees(self.rehearsal, self.past, sensors, days, features, trees)
            )
            if np.isfinite(missed).any():
                errors.append((trees, float(np.nanmean(missed))))
        return errors

    @classmethod
    def from_past(
        cls, past: Past, until: int, *, since: int = 0, seed: int = 0, recall: Recall = anew
    ) -> Learned:
        """Learn from the days from `since` to before `until`, places in the panel."""
        first = since + FIRST_LEARNED
        begin = until - _held_out(first, until)
        rehearsal = _learn(past, first, begin, seed, "rehearsal", recall)
        predictions = np.stack([_predicted(rehearsal, past, n) for n in range(begin, until)], axis=1)
        held_out = slice(begin, until)
        missed = past.values[:, held_out] - predictions
        booster = _learn(past, first, until, seed, "model", recall)
        return cls(past, held_out, missed, booster, rehearsal)

    def forecast(self, day: int, level: float) -> Forecast:
        """Return what it tells of a day of the panel (its place), or of the day after its last."""
        bands = Bands.calibrated(self.missed, (level,))
        median = _predicted(self.booster, self.past, day)
        return Forecast(
            date=self.past.dates[day],
            sensors=self.past.sensors,
            level=level,
            models=tuple[Model, ...](["LightGBM"] * len(median)),
            median=median,
            low=np.maximum(median - bands.below[0], 0),
            high=median + bands.above[0],
            days=self.past.typical_of[:, day],
        )


def _held_out(first: int, until: int) -> int:
    return HELD_OUT[until - first >= LONG_HISTORY]


def _learn(past: Past, first: int, until: int, seed: int, name: str, recall: Recall) -> Any:
    """Return a model as its text says, so that one that was kept tells the same as one that was not."""
    import lightgbm

    def make() -> str:
        sensors, days = np.divmod(_drawn(len(past.values) * (until - first), seed), until - first)
        days += first
        target = past.residuals[sensors, days] / past.scale[sensors, days]
        usable = np.isfinite(target)
        features = past.features(sensors, days)[usable]
        data = lightgbm.Dataset(features, np.clip(target[usable], -CLIPPED, CLIPPED))
        text: str = lightgbm.train({**PARAMETERS, "seed": seed}, data, TREES).model_to_string()
        return text

    return lightgbm.Booster(model_str=recall(name, make))


def _drawn(pairs: int, seed: int) -> Ints:
    """Return all of so many pairs of sensor and day, or as many of them as may be learned from."""
    most = MOST_HOURS // CLOCK_HOURS
    if pairs <= most:
        return np.arange(pairs)
    return np.sort(np.random.default_rng(seed).choice(pairs, most, replace=False))


def _predicted(booster: Any, past: Past, day: int) -> Floats:
    sensors = np.arange(len(past.values))
    days = np.full(len(sensors), day)
    return _predict_trees(booster, past, sensors, days, past.features(sensors, days))


def _predict_trees(
    booster: Any, past: Past, sensors: Ints, days: Ints, features: Floats, trees: int | None = None
) -> Floats:
    """(pairs, 24): the values of pairs of sensor and day, by all trees or the first of them."""
    predictions = booster.predict(
        features.reshape(-1, features.shape[-1]), num_iteration=trees, num_threads=1
    )
    departure = predictions.reshape(features.shape[:2]) * past.scale[sensors, days]
    return np.asarray(np.maximum(past.typical[sensors, days] + departure, 0), np.float32)


# Means over the days before


def _hourly_mean(values: Floats) -> Floats:
    """Return (sensors, days, 1) of (sensors, days, 24): the mean of the hours known."""
    is_known = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        total = np.where(is_known, values, 0).sum(axis=2, keepdims=True)
        return np.asarray(total / is_known.sum(axis=2, keepdims=True), np.float32)


def _before(values: Floats, days: int) -> Floats:
    """Return the mean of what is known of so many days before each day (axis 1)."""
    means = np.empty_like(values)
    for start in range(0, len(values), _AT_ONCE):
        some = values[start : start + _AT_ONCE]
        is_known = np.isfinite(some)
        sums, counts = _sum_before(np.where(is_known, some, 0)), _sum_before(is_known)
        with np.errstate(invalid="ignore", divide="ignore"):
            means[start : start + _AT_ONCE] = _window(sums, days) / _window(counts, days)
    return means


def _sum_before(values: NDArray[Any]) -> NDArray[np.float64]:
    """Sums of all days before each day, and of all days: one more along axis 1."""
    sums = np.zeros((values.shape[0], values.shape[1] + 1, *values.shape[2:]))
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums


def _window(sums: NDArray[np.float64], days: int) -> NDArray[np.float64]:
    n = np.arange(sums.shape[1] - 1)
    return sums[:, n] - sums[:, np.maximum(n - days, 0)]


# Documents


def _bodies(
    forecast_: Forecast, day: LocalDay, value: str, named: Callable[[Any], dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    hours = list(day.clock_hours)
    lists: Sequence[Any] = [
        rounded_list(values[:, hours]) for values in (forecast_.median, forecast_.low, forecast_.high)
    ]
    return {
        str(sensor): {
            **named(sensor),
            "date": day.date.isoformat(),
            "zone": day.zone.key,
            "hours": list(day.labels),
            "model": forecast_.models[n],
            "level": forecast_.level,
            "days": int(forecast_.days[n]),
            value: {"median": lists[0][n], "low": lists[1][n], "high": lists[2][n]},
        }
        for n, sensor in enumerate(forecast_.sensors)
        if np.isfinite(forecast_.median[n]).any()
    }
