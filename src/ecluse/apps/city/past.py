"""Know what the days before a day say of it: its typical day, its recent level, and what a forecast learns from."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ecluse.apps.city.holidays import is_public_holiday
from ecluse.apps.city.typical import CLOCK_HOURS, Floats, Panel, counts_as_sunday, typical_days

Ints = NDArray[np.int64]

#: The recent level is that of so many days, to this power; chosen on weeks 20 to 8 before the end of 58 real
#: series.
LEVEL_DAYS: Final = 3
LEVEL_POWER: Final = 0.7
#: No level is taken to be farther from the typical one than this many times, up or down.
FARTHEST_LEVEL: Final = 5.0
#: Days are of one kind where traffic of the one tells of the other: working days, Saturdays, Sundays and holidays.
KINDS: Final = 3
#: The mean of so many days of the same kind is what they have in common.
LIKE_DAYS: Final = 5
#: A predictor beyond this many times the sensor's usual difference is taken as this one.
FARTHEST_DEPARTURE: Final = 5.0
#: Sensors whose differences are smaller than this are taken as differing by it.
SMALLEST_SCALE: Final = 0.5
#: Means over days are made for so many sensors at a time: all that a forecast learns from is ten times its panel.
_AT_ONCE: Final = 256
_SATURDAY: Final = 5


class Past:
    """What is known before each day of a panel, and before the day after its last."""

    def __init__(self, panel: Panel) -> None:
        self.sensors = panel.sensors
        sensors, self.days = panel.values.shape[:2]
        self.dates = [panel.first + timedelta(days=n) for n in range(self.days + 1)]
        after = np.full((sensors, 1, CLOCK_HOURS), np.nan, np.float32)
        self.values: Floats = np.concatenate([panel.values, after], axis=1)
        self._panel = panel
        self._last_part: tuple[int, Past] | None = None

    @cached_property
    def since(self) -> int:
        """Return the first day that has a value; `days` where none has."""
        has_values = np.isfinite(self.values).any(axis=(0, 2))
        return int(has_values.argmax()) if has_values.any() else self.days

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
            "residuals 3": _before(self.residuals, 3),
            "residuals 14": _before(self.residuals, 14),
        }

    @cached_property
    def _ratios(self) -> Floats:
        """(sensors, days + 1, 5): total over typical total of the 1, 3, 7, 28 and 14 days before."""
        return _level_over(self.values, self.typical, (1, LEVEL_DAYS, 7, 28, 14))

    @cached_property
    def kinds(self) -> Ints:
        """(days + 1,): which of the `KINDS` each day is of."""
        return np.array(
            [2 if counts_as_sunday(day) else int(day.weekday() == _SATURDAY) for day in self.dates], np.int64
        )

    @cached_property
    def like(self) -> Floats:
        """(sensors, days + 1, 24): the mean of the last `LIKE_DAYS` of its kind before each day; where there are
        none, the typical day.
        """
        means = np.empty_like(self.values)
        for kind in range(KINDS):
            days = np.flatnonzero(self.kinds == kind)
            means[:, days] = _before(self.values[:, days], LIKE_DAYS)
        return np.where(np.isfinite(means), means, self.typical)

    @cached_property
    def _like_ratios(self) -> Floats:
        """(sensors, days + 1, 2): total over that of days alike, of the 1 and 7 days before."""
        return _level_over(self.values, self.like, (1, 7))

    @cached_property
    def _calendar(self) -> Floats:
        """Return of each day its weekday, whether it counts as a Sunday, whether it, the day before and the day after
        are holidays, and how many holidays are within three days: (days + 1, 6).
        """
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

    @property
    def parts(self) -> list[Ints]:
        """Return the places of the sensors, by as many as are asked for at a time at little cost."""
        count = len(self.sensors)
        return [np.arange(start, min(start + _AT_ONCE, count)) for start in range(0, count, _AT_ONCE)]

    def features(self, sensors: Ints, days: Ints) -> Floats:
        """(pairs, 24, features) of pairs of sensor and day, all from days before that day."""
        return self._gathered(sensors, days, Past._features)

    def predictors(self, sensors: Ints, days: Ints) -> Floats:
        """(pairs, 24, predictors) of pairs of sensor and day, all from days before that day: how far from the
        typical day its hours would be if they were as days alike, at the level of the last days, as far from it as
        on the days before, or as a week before; in units of the scale. What is unknown is 0.
        """
        return self._gathered(sensors, days, Past._predictors)

    def _gathered(self, sensors: Ints, days: Ints, of: Callable[[Past, Ints, Ints], Floats]) -> Floats:
        """Ask the parts for their sensors, one part after the other."""
        if len(self.sensors) <= _AT_ONCE:
            return of(self, sensors, days)
        part_of = sensors // _AT_ONCE
        order = np.argsort(part_of, kind="stable")
        some = []
        for n in np.unique(part_of):
            at = order[part_of[order] == n]
            some.append(of(self._part(int(n)), sensors[at] - n * _AT_ONCE, days[at]))
        return np.asarray(np.concatenate(some)[np.argsort(order)])

    def _part(self, n: int) -> Past:
        """Return what is known of the sensors of one part; the last is kept, as it is often asked for again."""
        if self._last_part is None or self._last_part[0] != n:
            of_part = slice(n * _AT_ONCE, (n + 1) * _AT_ONCE)
            panel = Panel(self.sensors[of_part], self._panel.first, self._panel.values[of_part])
            self._last_part = n, Past(panel)
        return self._last_part[1]

    def _features(self, sensors: Ints, days: Ints) -> Floats:
        scale, level = self.scale[sensors, days], self.level[sensors, days]
        typical = self.typical[sensors, days]
        lagged = [(self.values[sensors, days - k] - typical) / scale for k in (1, 2, 3, 7, 14)]
        departed = [self.residuals[sensors, days - k] / scale for k in (1, 2, 7)]
        over = {name: self._over[name][sensors, days] for name in ("values 7", "residuals 7", "residuals 28")}
        evening = self.residuals[sensors, days - 1][:, 20:].mean(axis=1, keepdims=True) / scale
        of_day = np.concatenate(
            [np.log1p(level), scale / level, evening, self._ratios[sensors, days, :4], self._calendar[days]],
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

    def _predictors(self, sensors: Ints, days: Ints) -> Floats:
        scale, typical = self.scale[sensors, days], self.typical[sensors, days]
        like = self.like[sensors, days]
        yesterday = self.residuals[sensors, days - 1]
        departures = [
            like - typical,
            *(typical * (self._ratios[sensors, days, n, None] - 1) for n in (0, 1, 2, 4)),
            *(like * (self._like_ratios[sensors, days, n, None] - 1) for n in range(2)),
            *(self._over[f"residuals {days_}"][sensors, days] for days_ in (3, 14, 28)),
            self.values[sensors, days - 7] - typical,
            _smoothed(yesterday),
        ]
        stacked = np.stack(departures, axis=-1) / scale[..., None]
        return np.asarray(
            np.nan_to_num(np.clip(stacked, -FARTHEST_DEPARTURE, FARTHEST_DEPARTURE)), np.float32
        )


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
    """Return the sums of all days before each day, and of all days: one more along axis 1."""
    sums = np.zeros((values.shape[0], values.shape[1] + 1, *values.shape[2:]))
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums


def _window(sums: NDArray[np.float64], days: int) -> NDArray[np.float64]:
    n = np.arange(sums.shape[1] - 1)
    return sums[:, n] - sums[:, np.maximum(n - days, 0)]


def _level_over(values: Floats, usual: Floats, spans: tuple[int, ...]) -> Floats:
    """(sensors, days, spans): total over usual total of so many days before each, where both are known."""
    both = np.isfinite(values) & np.isfinite(usual)
    counted = _sum_before(np.where(both, values, 0).sum(axis=2, keepdims=True))
    expected = _sum_before(np.where(both, usual, 0).sum(axis=2, keepdims=True))
    with np.errstate(invalid="ignore", divide="ignore"):
        ratios = [_window(counted, days) / _window(expected, days) for days in spans]
    return np.clip(np.concatenate(ratios, axis=2), 0, FARTHEST_LEVEL).astype(np.float32)


def _smoothed(values: Floats) -> Floats:
    """Return the mean of each hour and its two neighbours, of the first and the last hour as they are."""
    smooth = values.copy()
    smooth[:, 1:-1] = (values[:, :-2] + values[:, 1:-1] + values[:, 2:]) / 3
    return smooth
