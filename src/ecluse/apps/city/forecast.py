"""Forecast the next day of every arc and bike counter, hour by hour, with an interval.

Three models give it. The typical day (`ecluse.apps.city.typical`) always can. The recent level is the typical day
times what the last `LEVEL_DAYS` days had of theirs, damped; each sensor takes whichever of the two was nearer on
the four weeks before. LightGBM, one model for all sensors of a kind, learns how an hour departs from its typical
one: from yesterday, the week before, the level of the last days, the hour, the weekday and the holidays near. A
regression (`ecluse.apps.city.regression`) learns so first, and the trees what it leaves. Both are asked where there
are `FEWEST_WEEKS` of history. The last days are held out: they give its interval (split conformal, as that of the
typical day, as wide as the last week asks for), and sensors for which another was clearly nearer there keep the other.
Then it learns from these days too.

The same panel and seed give the same forecast.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import partial
from typing import Any, Final, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.city.calendar import LocalDay
from ecluse.apps.city.inputs import Inputs
from ecluse.apps.city.numbers import rounded_list
from ecluse.apps.city.past import Ints, Past
from ecluse.apps.city.regression import Regression
from ecluse.apps.city.typical import (
    CALIBRATION_DAYS,
    CLOCK_HOURS,
    LEVELS,
    Bands,
    Floats,
    Panel,
)

Model = Literal["typical day", "recent level", "LightGBM"]

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
#: How much of what the trees add to the regression may count: what was nearest on the days held out, the first of
#: those that are equally near.
SHARES: Final = (1.0, 0.75, 0.5, 0.25, 0.0)
#: Raise it where a forecast of the same days becomes another: those that are kept are made anew, their models too.
FORECAST_MEANING: Final = 2
TREES: Final = 200
#: How the error falls with the trees is measured on so many sensors, at every so many trees.
CURVE_SENSORS: Final = 40
CURVE_EVERY: Final = 20
#: What it missed in rehearsal, when it had learned from fewer days, may be so many times what another did.
HANDICAP: Final = 1.2
#: An interval is as much wider or narrower than that of all days held out as the last days of them missed more or less.
LAST_DAYS: Final = 7
#: The share of the nominal tail that it cuts, nearer to one than that of a typical day, as it follows the last days.
#: Both chosen on weeks 20 to 8 before the end (docs/decisions/2026-11-25-an-interval-as-wide-as-the-last-week.md).
CUT: Final = 0.9
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
    the three each sensor's values come from; `days`: (sensors,) how many days its typical day rests on.
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
    is_long = (past.days - past.since) // 7 >= FEWEST_WEEKS
    if not (learns and is_long and has_enough(past, past.since, past.days)):
        return forecast_
    learned = Learned.from_past(past, past.days, since=past.since, seed=seed, recall=recall)
    heard(learned)
    return chosen(forecast_, learned, past, past.days)


def has_enough(past: Past, since: int, until: int) -> bool:
    """Return whether the days from `since` to before `until`, without those held out, have `FEWEST_HOURS`."""
    first = since + FIRST_LEARNED
    learned_from = past.residuals[:, first : until - _held_out(first, until)]
    return int(np.isfinite(learned_from).sum()) >= FEWEST_HOURS


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
    """Return what LightGBM tells of a day, but for the sensors that the plain forecast was clearly nearer for on the
    days held out.

    Days of zeros alone are not weighed: a counter that told them for weeks is best forecast by its typical day, which
    would stay at zero for weeks when it counts again.
    """
    by_level = np.array([model == "recent level" for model in plain_forecast.models])
    days = learned.held_out
    other = np.where(by_level[:, None, None], past.levelled[:, days], past.typical[:, days])
    values = past.values[:, days]
    counts: NDArray[np.bool_] = np.asarray((values > 0).any(axis=2, keepdims=True))
    only_zeros = np.isfinite(values).any(axis=(1, 2)) & ~counts.any(axis=(1, 2))
    is_nearer = _is_nearer(np.where(counts, learned.missed, np.nan), values - other, HANDICAP)
    takes_learned = is_nearer | only_zeros
    return _either(plain_forecast, learned.forecast(day, plain_forecast.level), takes_learned)


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
    """(sensors,): whose differences, (sensors, days, 24), are the smaller ones where both are known, or less than
    `handicap` times the others.
    """
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


@dataclass(frozen=True)
class Learner:
    """A regression, trees that learned from the same days what it leaves, and how much of that counts."""

    booster: Any
    regression: Regression
    share: float = SHARES[0]

    def parts(
        self, past: Past, sensors: Ints, days: Ints, features: Floats, trees: int | None = None
    ) -> tuple[Floats, Floats]:
        """Two of (pairs, 24): how far pairs of sensor and day are from typical by the regression, and what all trees
        or the first of them add, in units of the scale.
        """
        rows = features.reshape(-1, features.shape[-1])
        by_trees = self.booster.predict(rows, num_iteration=trees, num_threads=1)
        by_regression = self.regression.departures(past, sensors, days)
        return by_regression, by_trees.reshape(by_regression.shape).astype(np.float32)

    def predicted(
        self, past: Past, sensors: Ints, days: Ints, features: Floats, trees: int | None = None
    ) -> Floats:
        """(pairs, 24): the values of pairs of sensor and day, by all trees or the first of them."""
        by_regression, by_trees = self.parts(past, sensors, days, features, trees)
        departure = (by_regression + np.float32(self.share) * by_trees) * past.scale[sensors, days]
        return np.asarray(np.maximum(past.typical[sensors, days] + departure, 0), np.float32)

    def of_day(self, past: Past, day: int) -> Floats:
        """(sensors, 24): the values of a day."""
        sensors = np.arange(len(past.values))
        days = np.full(len(sensors), day)
        return self.predicted(past, sensors, days, past.features(sensors, days))

    def parts_of_days(self, past: Past, days: slice) -> tuple[Floats, Floats]:
        """Return the parts of all sensors on some days: two of (sensors, days, 24)."""
        some = [self._parts_of(past, sensors, np.arange(days.start, days.stop)) for sensors in past.parts]
        by_regression, by_trees = (np.concatenate(part) for part in zip(*some, strict=True))
        return by_regression, by_trees

    def _parts_of(self, past: Past, sensors: Ints, days: Ints) -> tuple[Floats, Floats]:
        """Return the parts of each of some sensors on each of some days: two of (sensors, days, 24)."""
        pairs = np.repeat(sensors, len(days)), np.tile(days, len(sensors))
        by_regression, by_trees = self.parts(past, *pairs, past.features(*pairs))
        shape = (len(sensors), len(days), CLOCK_HOURS)
        return by_regression.reshape(shape), by_trees.reshape(shape)


def nearest_share(departures: Floats, by_regression: Floats, by_trees: Floats) -> float:
    """Return with which of the `SHARES` the parts come nearest to departures from typical; no hour counts for more
    than `CLIPPED`.
    """
    counted = np.isfinite(departures) & np.isfinite(by_regression)
    if not counted.any():
        return SHARES[0]
    left, trees = (departures - by_regression)[counted], by_trees[counted]
    missed = [np.minimum(np.abs(left - np.float32(share) * trees), CLIPPED) for share in SHARES]
    return SHARES[int(np.argmin([errors.mean(dtype=np.float64) for errors in missed]))]


@dataclass(frozen=True)
class Learned:
    """A model that learned from the days before `until`, and what it missed on days it had not seen."""

    past: Past
    #: The days held out, places in the panel.
    held_out: slice
    #: (sensors, days held out, 24): value minus forecast, by a model that had learned before these days.
    missed: Floats
    learner: Learner
    #: The model that had learned before the days held out.
    rehearsal: Learner

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
            missed = np.abs(actual - self.rehearsal.predicted(self.past, sensors, days, features, trees))
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
        held_out = slice(begin, until)
        rehearsal = _learn(past, first, begin, seed, "rehearsal", recall)
        by_regression, by_trees = rehearsal.parts_of_days(past, held_out)
        typical, scale = past.typical[:, held_out], past.scale[:, held_out]
        share = nearest_share(past.residuals[:, held_out] / scale, by_regression, by_trees)
        departure = (by_regression + np.float32(share) * by_trees) * scale
        missed = past.values[:, held_out] - np.maximum(typical + departure, 0)
        learner = _learn(past, first, until, seed, "model", recall)
        return cls(past, held_out, missed, replace(learner, share=share), replace(rehearsal, share=share))

    def forecast(self, day: int, level: float) -> Forecast:
        """Return what it tells of a day of the panel (its place), or of the day after its last."""
        bands = Bands.calibrated(self.missed, (level,), CUT)
        unrest = np.float32(recent_unrest(self.missed))
        median = self.learner.of_day(self.past, day)
        return Forecast(
            date=self.past.dates[day],
            sensors=self.past.sensors,
            level=level,
            models=tuple[Model, ...](["LightGBM"] * len(median)),
            median=median,
            low=np.maximum(median - unrest * bands.below[0], 0),
            high=median + unrest * bands.above[0],
            days=self.past.typical_of[:, day],
        )


def recent_unrest(missed: Floats) -> float:
    """Return how far the last `LAST_DAYS` of (sensors, days, 24) are off, of how far all of them are: that of the
    sensor in the middle, as a city shares its weather and its holidays; 1 where no sensor tells.
    """
    recent, usual = (_mean_size(days) for days in (missed[:, -LAST_DAYS:], missed))
    tells = np.isfinite(recent) & (usual > 0)
    return float(np.median(recent[tells] / usual[tells])) if tells.any() else 1.0


def _mean_size(errors: Floats) -> NDArray[np.float64]:
    """Return (sensors,) of (sensors, days, 24): the mean absolute of what is known, NaN where nothing is."""
    is_known = np.isfinite(errors)
    with np.errstate(invalid="ignore", divide="ignore"):
        size = np.where(is_known, np.abs(errors), 0).sum(axis=(1, 2), dtype=np.float64)
        return np.asarray(size / is_known.sum(axis=(1, 2)))


def _held_out(first: int, until: int) -> int:
    return HELD_OUT[until - first >= LONG_HISTORY]


def _learn(past: Past, first: int, until: int, seed: int, name: str, recall: Recall) -> Learner:
    """Return a model; its trees as their text says, so that those that were kept tell the same as new ones."""
    import lightgbm

    sensors, days = np.divmod(_drawn(len(past.values) * (until - first), seed), until - first)
    days += first
    regression = Regression.fitted(past, sensors, days)

    def make() -> str:
        target = past.residuals[sensors, days] / past.scale[sensors, days]
        left = np.clip(target, -CLIPPED, CLIPPED) - regression.departures(past, sensors, days)
        usable = np.isfinite(target)
        data = lightgbm.Dataset(past.features(sensors, days)[usable], left[usable])
        text: str = lightgbm.train({**PARAMETERS, "seed": seed}, data, TREES).model_to_string()
        return text

    return Learner(lightgbm.Booster(model_str=recall(name, make)), regression)


def _drawn(pairs: int, seed: int) -> Ints:
    """Return all of so many pairs of sensor and day, or as many of them as may be learned from."""
    most = MOST_HOURS // CLOCK_HOURS
    if pairs <= most:
        return np.arange(pairs)
    return np.sort(np.random.default_rng(seed).choice(pairs, most, replace=False))


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
