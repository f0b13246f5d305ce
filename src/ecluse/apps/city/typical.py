"""Tell what is usual for a sensor on a day, hour by hour, with a band, and whether its day was as usual.

The typical day of a date is the median, hour by hour of the clock, of the same weekday over up to `WEEKS`
weeks before it. A public holiday counts as a Sunday: its typical day comes from Sundays, and it says nothing of
the weekday it falls on (on 8 holidays of two arcs that halved the mean error, from 220 to 109 vehicles an hour; on
9 of 56 bike counters it fell from 33 to 19). Below `FEWEST` such days a sensor has no typical day.

The band is split conformal (Lei et al., JASA 113, 2018): each of the `CALIBRATION_DAYS` days before the date is
compared with its own typical day, made from days before it; the band is as wide as it takes to hold the wanted
share of these differences, below and above alike, the scale of each hour taken into account. Nothing of the
date itself, nor of later days, enters its typical day or its band.

The verdict on a day weighs two differences from its typical day: that of the total over the hours seen, and how
far its hours lie out on average; each in units of what is usual for the sensor. Both are ranked among the
calibration days of all sensors, and the higher rank counts: what 1 in 10 of those days exceeds is unusual, what
1 in 100 exceeds exceptional (levels 0.90 and 0.99). Fewer than 99 days of sensors cannot tell the exceptional.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property, lru_cache
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.city.calendar import HOUR, LocalDay
from ecluse.apps.city.holidays import is_public_holiday

Verdict = Literal["as usual", "unusual", "exceptional", "unknown"]
Floats = NDArray[np.float32]

#: What `typical_days` does.
Typical = Callable[["Panel", Sequence[date]], tuple[Floats, NDArray[np.int64]]]

#: How many weeks back the same weekday is looked for.
WEEKS: Final = 8
#: Of fewer days than these no median is taken.
FEWEST: Final = 3
#: How many days before a date its band rests on.
CALIBRATION_DAYS: Final = 28
#: What a band is to hold: beyond the first is unusual, beyond the second exceptional.
LEVELS: Final = (0.90, 0.99)
#: A day is judged where at least this many hours have both a value and a typical one.
FEWEST_HOURS: Final = 12
#: A sensor is judged where at least this many of the calibration days are known.
FEWEST_DAYS: Final = 7
#: No hour counts for more than this many times its usual difference.
FARTHEST: Final = 5.0
#: The hour's own scale weighs as its days against this many days of the sensor's mean scale.
PRIOR_DAYS: Final = 2
#: So many hours of the clock together make one band of their differences, each by its own scale: the fewest that
#: leave `IN_TAIL` of them to each side.
BLOCKS: Final = (3, 6, 12, 24)
IN_TAIL: Final = 2
#: The share of the nominal tail that is cut. The differences of one day go together, so that they count for fewer
#: than they are, the more so the fewer the days; chosen on the earlier part of 58 real series, held on the later.
TAIL: Final = 0.7
#: A total over sensors is known where at least this share of those that usually report do.
REPORTING_SHARE: Final = 0.5
VERDICTS: Final[tuple[Verdict, ...]] = ("as usual", "unusual", "exceptional", "unknown")
CLOCK_HOURS: Final = 24
_SUNDAY: Final = 6
#: Sensors are taken by so many at a time, to stay in the processor's cache.
_AT_ONCE: Final = 128


@dataclass(frozen=True)
class Panel:
    """Values of sensors over days, by hour of the clock.

    `values`: (sensors, days, 24) float32, NaN where nothing is known; on the long day the hour that comes
    twice is the mean of both, on the short day the hour that does not come is NaN. `sensors` are in order.
    """

    sensors: tuple[Any, ...]
    first: date
    values: Floats

    @cached_property
    def dates(self) -> tuple[date, ...]:
        return tuple(self.first + timedelta(days=n) for n in range(self.values.shape[1]))

    @cached_property
    def rows(self) -> Mapping[Any, int]:
        """Sensor → its place on the first axis."""
        return {sensor: n for n, sensor in enumerate(self.sensors)}

    def index(self, day: date) -> int | None:
        """Return the place of a date on the second axis; None outside the panel."""
        n = (day - self.first).days
        return n if 0 <= n < self.values.shape[1] else None

    def of(self, day: date) -> Floats:
        """Return the values of one date, (sensors, 24); NaN outside the panel."""
        n = self.index(day)
        if n is None:
            return np.full((len(self.sensors), CLOCK_HOURS), np.nan, np.float32)
        return self.values[:, n]

    def until(self, day: date) -> Panel:
        """Return the days before `day` alone."""
        return Panel(self.sensors, self.first, self.values[:, : max((day - self.first).days, 0)])


@dataclass(frozen=True)
class Usual:
    """What is usual on one date, for the sensors of a panel. NaN where a sensor has too few days behind it.

    `median`: (sensors, 24); `low` and `high`: (levels, sensors, 24), within `floor` and `ceiling`; `days`: (sensors,)
    how many days the typical day rests on; `calibration`: (sensors,) how many hours the band rests on. All in the
    unit of the panel.
    """

    date: date
    sensors: tuple[Any, ...]
    levels: tuple[float, ...]
    median: Floats
    low: Floats
    high: Floats
    days: NDArray[np.int64]
    calibration: NDArray[np.int64]
    _judge: _Judge = field(repr=False)
    _bands: Bands = field(repr=False)

    @cached_property
    def rows(self) -> Mapping[Any, int]:
        return {sensor: n for n, sensor in enumerate(self.sensors)}

    def verdicts(self, values: Floats) -> list[Verdict]:
        """Return one verdict per sensor on its values of the date, (sensors, 24), such as `panel.of(usual.date)`."""
        return [VERDICTS[code] for code in self._judge.codes(values - self.median)]

    def as_far(self, row: int, hours: Sequence[int], values: NDArray[np.float64]) -> tuple[int, int]:
        """On how many of the calibration days the same hours of the clock lay as far from their typical value, on the
        same side, and how many of these days are known. `values`: (hours,), measured on the date."""
        with np.errstate(invalid="ignore"):
            away = np.asarray(values - self.median[row, hours], np.float32)
            today = _mean_known(_ratio(away, self._bands.scale[row, hours]))
            before = _mean_known(self._bands.scores[row][:, hours])
            known_values = before[np.isfinite(before)]
            as_far = known_values >= today if today >= 0 else known_values <= today
        return int(as_far.sum()), len(known_values)

    def by_hour(self, sensor: Any, day: LocalDay, level: float = LEVELS[0]) -> dict[str, list[float | None]]:
        """`median`, `low` and `high` of one sensor, each with one entry per hour of the local day."""
        row, hours = self.rows[sensor], list(day.clock_hours)
        at = self.levels.index(level)
        columns = {"median": self.median[row], "low": self.low[at, row], "high": self.high[at, row]}
        return {name: without_nan(values[hours]) for name, values in columns.items()}

    def totals(self) -> Floats:
        """Return the typical total of the day, (sensors,): the sum over the hours that have a typical value."""
        return _nansum(self.median)


def without_nan(values: Floats) -> list[float | None]:
    """Plain numbers, None for NaN."""
    return [None if value != value else value for value in values.tolist()]


def panel_of(
    rows: pl.DataFrame,
    value: str,
    first: date,
    last: date,
    zone: ZoneInfo,
    *,
    sensor: str = "arc",
    sensors: Sequence[Any] | None = None,
) -> Panel:
    """Return the column `value` of a curated frame as a panel of the days from `first` to `last`, both included.

    `rows` has the columns `sensor`, `at` (start of the hour, UTC) and `value`. Other days are left out, as are
    sensors not among `sensors` (in order; without them: those of the frame).
    """
    begin, end = LocalDay(first, zone).begin, LocalDay(last, zone).end
    rows = rows.filter(pl.col("at").is_between(begin, end, closed="left") & pl.col(value).is_not_null())
    names = tuple(sorted(rows[sensor].unique())) if sensors is None else tuple(sensors)
    hours = round((end - begin) / HOUR)
    # One spare sensor and no spare hour: what is not asked for falls on the spare one.
    table = np.full((len(names) + 1, hours), np.nan, np.float32)
    codes = _codes(rows[sensor], names)
    at = ((rows["at"] - begin).dt.total_hours()).to_numpy()
    table[codes, at] = rows[value].cast(pl.Float32).to_numpy()
    return Panel(names, first, _by_clock(table[:-1], first, last, zone))


def by_clock(values: Floats, day: LocalDay) -> Floats:
    """Return (sensors, 24) by hour of the clock of (sensors, hours) of one local day, as a panel has them."""
    if day.hours == CLOCK_HOURS:
        return values
    of_clock = np.full((len(values), CLOCK_HOURS), np.nan, np.float32)
    for hour in set(day.clock_hours):
        same = values[:, [k for k, hour_ in enumerate(day.clock_hours) if hour_ == hour]]
        has_value = np.isfinite(same).sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            of_clock[:, hour] = np.nansum(same, axis=1) / has_value
    return of_clock


def usual_days(
    panel: Panel,
    day: date,
    *,
    levels: Sequence[float] = LEVELS,
    floor: float = 0.0,
    ceiling: float | None = None,
    typical: Typical | None = None,
) -> Usual:
    """Return what is usual on `day` for every sensor of a panel. Only days before it are looked at.

    `typical`: takes the place of `typical_days`, where these are remembered.
    `floor`, `ceiling`: no band goes beyond (flows and counts are never negative, no occupancy is above 100 %). The
    band wants `WEEKS` × 7 + `CALIBRATION_DAYS` days of history, and is narrower in what it rests on with less.
    """
    before = panel.until(day)
    targets = [day - timedelta(days=n) for n in range(CALIBRATION_DAYS, -1, -1)]
    medians, counts = (typical or typical_days)(before, targets)
    truth = np.stack([before.of(target) for target in targets[:-1]], axis=1)
    residuals = truth - medians[:, :-1]
    bands = Bands.calibrated(residuals, tuple(levels))
    median = medians[:, -1]
    low = np.maximum(median - bands.below, np.float32(floor))
    high = median + bands.above
    if ceiling is not None:
        high = np.minimum(high, np.float32(ceiling))
    return Usual(
        date=day,
        sensors=panel.sensors,
        levels=tuple(levels),
        median=median,
        low=low,
        high=high,
        days=counts[:, -1],
        calibration=bands.hours,
        _judge=_Judge.calibrated(residuals, bands, tuple(levels)),
        _bands=bands,
    )


def typical_days(panel: Panel, targets: Sequence[date]) -> tuple[Floats, NDArray[np.int64]]:
    """Return the typical day of each date from the days of the panel before it.

    Returns (sensors, dates, 24) float32, NaN where fewer than `FEWEST` days are known at that hour, and
    (sensors, dates) how many days each rests on.
    """
    sensors, days = panel.values.shape[:2]
    places = np.full((len(targets), WEEKS), days)
    for n, target in enumerate(targets):
        positions = [at for like_day in like_days(target) if (at := panel.index(like_day)) is not None]
        places[n, : len(positions)] = positions
    medians = np.empty((sensors, len(targets), CLOCK_HOURS), np.float32)
    counts = np.empty((sensors, len(targets)), np.int64)
    for start in range(0, sensors, _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        some = panel.values[part]
        nothing = np.full((len(some), 1, CLOCK_HOURS), np.nan, np.float32)
        padded = np.concatenate([some, nothing], axis=1)
        medians[part], counts[part] = _medians([padded[:, places[:, k]] for k in range(WEEKS)])
    return medians, counts


def totals(panel: Panel, groups: Mapping[Any, Sequence[Any]] | None = None) -> Panel:
    """Return the sum over all sensors (named "all"), or over the sensors of each group, as a panel.

    An hour is NaN where fewer report than `REPORTING_SHARE` of as many as usually do.
    """
    if groups is None:
        groups = {"all": panel.sensors}
    values = np.full((len(groups), *panel.values.shape[1:]), np.nan, np.float32)
    for n, members in enumerate(groups.values()):
        some = panel.values[[panel.rows[member] for member in members if member in panel.rows]]
        has_value = np.isfinite(some).sum(axis=0)
        values[n] = np.where(enough_report(has_value), np.nansum(some, axis=0), np.nan)
    return Panel(tuple(groups), panel.first, values)


def enough_report(counts: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(days, 24): where at least `REPORTING_SHARE` of as many sensors report as usually do, of how many there are."""
    usually = np.median(counts[counts > 0]) if counts.any() else 0.0
    return np.asarray(counts >= max(REPORTING_SHARE * float(usually), 1))


def usual_of_total(panel: Panel, day: date, groups: Mapping[Any, Sequence[Any]] | None = None) -> Usual:
    """Return what is usual on `day` for the total of all sensors (named "all"), or of each group, by hour."""
    return usual_days(totals(panel.until(day), groups), day)


@lru_cache(maxsize=4096)  # it is asked of each day of the weeks for each site of works
def counts_as_sunday(day: date) -> bool:
    """Return whether traffic of a day is compared with that of Sundays: it is one, or a public holiday."""
    return day.weekday() == _SUNDAY or is_public_holiday(day)


# Typical days


def like_days(day: date) -> list[date]:
    """Return the dates whose values tell of `day`, latest first."""
    sunday = counts_as_sunday(day)
    back = 1 + (day.weekday() - (_SUNDAY if sunday else day.weekday()) - 1) % 7
    dates = [day - timedelta(days=back + 7 * n) for n in range(WEEKS)]
    return [like_day for like_day in dates if counts_as_sunday(like_day) == sunday]


def _medians(stack: list[Floats]) -> tuple[Floats, NDArray[np.int64]]:
    """Medians over `WEEKS` arrays of (sensors, dates, 24), and how many days each of (sensors, dates) has."""
    counts = np.zeros(stack[0].shape, np.int8)
    days = np.zeros(stack[0].shape[:2], np.int64)
    for n, values in enumerate(stack):
        is_there = values == values
        counts += is_there
        days += is_there.any(axis=2)
        stack[n] = np.where(is_there, values, np.float32(np.inf))
    for a, b in _NETWORK:
        stack[a], stack[b] = np.minimum(stack[a], stack[b]), np.maximum(stack[a], stack[b])
    median = np.full(stack[0].shape, np.nan, np.float32)
    for count in range(FEWEST, WEEKS + 1):
        with np.errstate(invalid="ignore"):
            middle = (stack[(count - 1) // 2] + stack[count // 2]) / 2
        np.copyto(median, middle, where=counts == count)
    return median, days


def _network(size: int) -> list[tuple[int, int]]:
    """Pairs to order so that `size` (a power of two) values come out sorted: Batcher's odd-even mergesort."""
    pairs = []
    p = 1
    while p < size:
        k = p
        while k >= 1:
            for j in range(k % p, size - k, 2 * k):
                for i in range(min(k, size - j - k)):
                    if (i + j) // (2 * p) == (i + j + k) // (2 * p):
                        pairs.append((i + j, i + j + k))
            k //= 2
        p *= 2
    return pairs


_NETWORK: Final = _network(WEEKS)


# Bands


@dataclass(frozen=True)
class Bands:
    """How far below and above its typical value an hour may be: (levels, sensors, 24) each."""

    below: Floats
    above: Floats
    #: (sensors,): how many differences the sensor's band rests on.
    hours: NDArray[np.int64]
    #: (sensors, 24): the usual size of a difference at each hour.
    scale: Floats
    #: (sensors, days, 24): the differences in units of the scale that the other days give.
    scores: Floats

    @classmethod
    def calibrated(cls, residuals: Floats, levels: tuple[float, ...], cut: float = TAIL) -> Bands:
        """From the differences of the calibration days, (sensors, days, 24), NaN where unknown. `cut`: which share of
        the nominal tail.
        """
        parts = [cls._of_some(some, levels, cut) for some in _some_at_once(residuals)]
        return cls(
            below=np.concatenate([part.below for part in parts], axis=1),
            above=np.concatenate([part.above for part in parts], axis=1),
            hours=np.concatenate([part.hours for part in parts]),
            scale=np.concatenate([part.scale for part in parts]),
            scores=np.concatenate([part.scores for part in parts]),
        )

    @classmethod
    def _of_some(cls, residuals: Floats, levels: tuple[float, ...], cut: float) -> Bands:
        is_there = residuals == residuals
        size = np.abs(np.where(is_there, residuals, np.float32(0)))
        counts = is_there.sum(axis=1)
        known_days_ = counts.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = size.sum(axis=(1, 2)) / known_days_
            weight = size.sum(axis=1) + PRIOR_DAYS * mean[:, None]
            scale = weight / (counts + PRIOR_DAYS)
            # A day does not widen the scale it is measured by, as the date itself will not.
            others = (weight[:, None] - size) / (counts[:, None] - 1 + PRIOR_DAYS)
        scores = _ratio(residuals, others)
        below, above = [], []
        for level in levels:
            tail = cut ** np.sqrt(CALIBRATION_DAYS / residuals.shape[1]) * (1 - level) / 2
            enough = (hours for hours in BLOCKS if tail * hours * residuals.shape[1] >= IN_TAIL)
            some = _blocks(scores, next(enough, CLOCK_HOURS))
            lowest, highest = _tails(some, tail)
            repeats = CLOCK_HOURS // some.shape[1]
            below.append(-np.repeat(lowest, repeats, axis=1) * scale)
            above.append(np.repeat(highest, repeats, axis=1) * scale)
        return cls(np.maximum(np.stack(below), 0), np.maximum(np.stack(above), 0), known_days_, scale, scores)


def _some_at_once(values: Floats) -> list[Floats]:
    """Return values of sensors (first axis) in parts of `_AT_ONCE` sensors."""
    return [values[start : start + _AT_ONCE] for start in range(0, max(len(values), 1), _AT_ONCE)]


def _blocks(scores: Floats, hours: int) -> Floats:
    """Return (sensors, blocks, days * hours) of (sensors, days, 24): the scores of blocks of so many hours."""
    sensors, days = scores.shape[:2]
    blocks = scores.reshape(sensors, days, CLOCK_HOURS // hours, hours).swapaxes(1, 2)
    return blocks.reshape(sensors, CLOCK_HOURS // hours, days * hours)


def _tails(scores: Floats, tail: float) -> tuple[Floats, Floats]:
    """Return what a share of `tail` of the scores along the last axis is below, and above; NaN where too few are
    known.

    The place among n ordered scores is `tail` (n + 1), between two of them in proportion.
    """
    ordered = np.sort(scores, axis=-1)  # NaN comes last
    counts = np.isfinite(ordered).sum(axis=-1)
    place = tail * (counts + 1) - 1
    lower = np.maximum(np.floor(place), 0).astype(np.int64)
    weight = (place - lower).astype(np.float32)
    last = np.maximum(counts - 1, 0)

    def at(n: NDArray[np.int64]) -> Floats:
        return np.take_along_axis(ordered, np.clip(n, 0, last)[..., None], axis=-1)[..., 0]

    low = at(lower) * (1 - weight) + at(lower + 1) * weight
    high = at(last - lower) * (1 - weight) + at(last - lower - 1) * weight
    too_few = place < 0
    return np.where(too_few, np.float32(np.nan), low), np.where(too_few, np.float32(np.nan), high)


# Verdicts


@dataclass(frozen=True)
class _Judge:
    """Ranks a day of a sensor among the calibration days of all sensors, by its total and by its hours."""

    #: (sensors,) the usual size of a total's difference, and (sensors, 24) of an hour's; NaN: cannot be told.
    of_total: Floats
    of_hour: Floats
    #: What the calibration days had, in order.
    totals: Floats
    hours: Floats
    #: Level → the rank beyond which a day is out; None where there are too few days to tell.
    limits: tuple[float | None, ...]

    @classmethod
    def calibrated(cls, residuals: Floats, bands: Bands, levels: tuple[float, ...]) -> _Judge:
        totals_of_some = [_total(some) for some in _some_at_once(residuals)]
        difference, is_known = (np.concatenate(parts) for parts in zip(*totals_of_some, strict=True))
        size = np.where(is_known, np.abs(difference), np.float32(0))
        days = is_known.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            of_total = np.where(days >= FEWEST_DAYS, size.sum(axis=1) / days, np.float32(np.nan))
            others = (size.sum(axis=1, keepdims=True) - size) / (days[:, None] - 1)
        usable = is_known & (days >= FEWEST_DAYS)[:, None]
        totals = _ratio(size, others)[usable]
        hours = np.concatenate([_distance(some) for some in _some_at_once(bands.scores)])[usable]
        ordered = np.sort(totals), np.sort(hours)
        ranks = np.sort(np.maximum(_ranks(ordered[0], totals), _ranks(ordered[1], hours)))
        places = [int(np.ceil(level * (len(ranks) + 1) - 1e-9)) for level in levels]
        limits = tuple(float(ranks[place - 1]) if place <= len(ranks) else None for place in places)
        return cls(of_total, bands.scale, *ordered, limits)

    def codes(self, residuals: Floats) -> NDArray[np.int64]:
        """Places in `VERDICTS`, (sensors,), of a day's differences, (sensors, 24)."""
        difference, is_known = _total(residuals)
        of_total = _ratio(np.abs(difference), self.of_total)
        of_hours = _distance(_ratio(residuals, self.of_hour))
        rank = np.maximum(_ranks(self.totals, of_total), _ranks(self.hours, of_hours))
        codes = np.zeros(len(residuals), np.int64)
        for n, limit in enumerate(self.limits):
            if limit is not None:
                codes[rank > limit] = n + 1
        codes[~is_known | np.isnan(of_total)] = VERDICTS.index("unknown")
        return codes


def _total(residuals: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the sum of the differences over the hours (last axis), and whether there are enough of them."""
    is_there = residuals == residuals
    return np.where(is_there, residuals, np.float32(0)).sum(axis=-1), is_there.sum(axis=-1) >= FEWEST_HOURS


def _distance(scores: Floats) -> Floats:
    """Return how far the hours (last axis) lie out on average, none of them more than `FARTHEST`; 0 where none is
    known.
    """
    is_there = scores == scores
    size = np.minimum(np.abs(np.where(is_there, scores, np.float32(0))), np.float32(FARTHEST))
    return np.asarray(size.sum(axis=-1) / np.maximum(is_there.sum(axis=-1), 1), np.float32)


def _ratio(difference: Floats, scale: Floats) -> Floats:
    """Differences in units of their scale; no difference is none whatever the scale."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where((difference == 0) & (scale == 0), np.float32(0), difference / scale))


def _mean_known(values: Floats) -> Floats:
    """Return the mean over the last axis of what is known; NaN where nothing is."""
    is_there = np.isfinite(values)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(is_there, values, 0).sum(axis=-1) / is_there.sum(axis=-1), np.float32)


def _ranks(ordered: Floats, values: Floats) -> Floats:
    """Return which share of the ordered values is smaller."""
    places = np.searchsorted(ordered, values, side="left")
    return np.asarray(places / np.float64(max(len(ordered), 1)), np.float32)


# Panels


def _codes(column: pl.Series, names: tuple[Any, ...]) -> NDArray[np.int64]:
    """Return the place of each row's sensor among `names`, or `len(names)`. Rows of one sensor tend to be together."""
    runs = column.rle().struct.unnest()
    place = {name: n for n, name in enumerate(names)}
    codes = np.fromiter((place.get(name, len(names)) for name in runs["value"]), np.int64, runs.height)
    return np.repeat(codes, runs["len"].to_numpy())


def _by_clock(table: Floats, first: date, last: date, zone: ZoneInfo) -> Floats:
    """Return (sensors, days, 24) of (sensors, hours since the first day began)."""
    days = (last - first).days + 1
    values = np.full((len(table), days, CLOCK_HOURS), np.nan, np.float32)
    at = 0
    for n in range(days):
        day = LocalDay(first + timedelta(days=n), zone)
        values[:, n] = by_clock(table[:, at : at + day.hours], day)
        at += day.hours
    return values


def _nansum(values: Floats) -> Floats:
    """Sum over the last axis; NaN where nothing is known."""
    return np.where(np.isfinite(values).any(axis=-1), np.nansum(values, axis=-1), np.nan).astype(np.float32)
