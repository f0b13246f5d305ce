"""Sum up the road counts of each day once, and remember it by what it was made from for the days after.

What is usual on a day, how often an arc was among the worst, and when a sensor was last heard rest on weeks of days
before it. Each of them is kept as what is asked of it, a grid of arcs and hours, and not as its rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import date, timedelta
from typing import Any, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray

from ecluse.apps.city.calendar import LocalDay, days_between
from ecluse.apps.city.memory import Memory
from ecluse.apps.city.road_hours import NO_STATE, Floats, Network, network_of, road_hours
from ecluse.apps.city.speed import RING_SLOWED, STREETS_SLOWED
from ecluse.apps.city.thresholds import Thresholds
from ecluse.apps.city.typical import CLOCK_HOURS, Panel, Typical, by_clock, like_days, typical_days
from ecluse.storage.side_by_side import side_by_side

Floats32 = NDArray[np.float32]
#: Arrays, or numbers and None.
Remembered = TypeVar("Remembered", bound=tuple[Any, ...])


@dataclass(frozen=True)
class RoadDay:
    """What is asked of a day once it lies in the past, for the arcs that it has rows of, in the order of their ids.

    `flow`, `occupancy`: (arcs, 24) float32 by hour of the clock, NaN where missing or impossible; `vehicles`, `lost`:
    (arcs,) the day's sum, NaN where no hour is known; `arc_state`: (arcs,) the last that was told, or `NO_STATE`;
    `last_hour`: (arcs,) the last hour with a value, also an impossible one, or -1. Of all arcs together, (24,): of how
    many there is a flow (`flow_count`) or an occupancy, how many are congested (`slow_count`), and their vehicles.
    """

    arcs: NDArray[np.int64]
    flow: NDArray[np.float32]
    occupancy: NDArray[np.float32]
    vehicles: Floats
    lost: Floats
    arc_state: NDArray[np.int8]
    last_hour: NDArray[np.int8]
    flow_count: NDArray[np.int64]
    occupancy_count: NDArray[np.int64]
    slow_count: NDArray[np.int64]
    flow_sum: NDArray[np.float32]

    def __post_init__(self) -> None:
        for array in self._arrays():
            array.setflags(write=False)  # days of other threads read it too

    @property
    def size(self) -> int:
        """Return its bytes."""
        return sum(array.nbytes for array in self._arrays())

    def _arrays(self) -> Iterable[NDArray[Any]]:
        return (getattr(self, field.name) for field in fields(self))


@dataclass(frozen=True)
class Rules:
    """What a day is summed up by, but for its rows: the reference of the arcs, thresholds, and the limits of speed
    that hold on `last`. `mark` is that of the reference."""

    arcs: pl.DataFrame
    thresholds: Thresholds
    last: LocalDay
    mark: str = ""

    @property
    def digest(self) -> str:
        limits = [self.last.date >= RING_SLOWED, self.last.date >= STREETS_SLOWED]
        deciding = [self.mark, self.last.zone.key, limits, asdict(self.thresholds)]
        return hashlib.sha256(json.dumps(deciding, sort_keys=True).encode()).hexdigest()


def sum_up(rows: pl.DataFrame, day: LocalDay, rules: Rules) -> RoadDay:
    """Return what is kept of the rows of a day. The lost time is that of the limits of speed on `rules.last`."""
    arcs = rows["arc"].unique().sort()
    network = network_of(rules.arcs.filter(pl.col("arc").is_in(arcs.implode())), arcs)
    of_day = road_hours(rows, network, day, rules.thresholds, speeds_of=rules.last.date)
    flow, occupancy = (by_clock(values.astype(np.float32), day) for values in (of_day.flow, of_day.occupancy))
    seen = rows.filter(pl.col("flow").is_not_null() | pl.col("occupancy").is_not_null())
    return RoadDay(
        arcs=network.ids,
        flow=flow,
        occupancy=occupancy,
        vehicles=_sums(of_day.flow),
        lost=_sums(of_day.lost),
        arc_state=_last_states(of_day.arc_state),
        last_hour=_last_hours(seen, network, day),
        flow_count=np.isfinite(flow).sum(axis=0),
        occupancy_count=np.isfinite(occupancy).sum(axis=0),
        slow_count=(occupancy >= rules.thresholds.congested).sum(axis=0),
        flow_sum=np.nansum(flow, axis=0),
    )


class RoadDays:
    """The days from `first` to that of `rules`, each read at most once, and not at all where it is remembered."""

    def __init__(
        self,
        first: date,
        rules: Rules,
        read: Callable[[LocalDay], tuple[str, pl.DataFrame]],
        marks: Mapping[date, str],
        memory: Memory | None = None,
    ) -> None:
        """Take `marks`: for each day that has rows, a mark that changes with them; `read` returns it beside them."""
        self.first, self.rules = first, rules
        self._read, self._marks, self._memory = read, dict(marks), memory
        self._digest = rules.digest
        self._days: dict[date, RoadDay] = {}

    def dates(self) -> list[date]:
        """Return every date of the period, also those without rows."""
        return list(days_between(self.first, self.rules.last.date))

    def rows(self, day: LocalDay) -> pl.DataFrame | None:
        """Return the rows of one day; None where it has none, or lies outside the period."""
        if day.date not in self._marks:
            return None
        return self._read(day)[1]

    def days(self) -> Mapping[date, RoadDay]:
        """Return every day that has rows, in order."""
        missing = [day for day in sorted(self._marks) if day not in self._days]
        for day, summed in zip(missing, side_by_side(lambda day, _: self._summed(day), missing), strict=True):
            self._days[day] = summed
        return {day: self._days[day] for day in sorted(self._days)}

    def arcs(self) -> pl.Series:
        """Return the arcs that any of the days has rows of."""
        arcs = [summed.arcs for summed in self.days().values()]
        return pl.Series(np.unique(np.concatenate(arcs)) if arcs else [], dtype=pl.Int32)

    def recall_each(
        self,
        what: str,
        of: Hashable,
        decided_by: Sequence[Sequence[date]],
        make: Callable[[list[int]], Sequence[Remembered]],
    ) -> list[Remembered]:
        """Return a value for each item of `decided_by`, the days that decide it, together with `what` and `of`.

        `make` is given the places of those that are not remembered.
        """
        if self._memory is None:
            return list(make(list(range(len(decided_by)))))
        self.days()  # so that each mark is that of the rows that were read
        keys = [
            (what, self._digest, of, tuple((day, self._marks.get(day)) for day in days))
            for days in decided_by
        ]
        values = [self._memory.get(key) for key in keys]
        missing = [n for n, value in enumerate(values) if value is None]
        for n, value in zip(missing, make(missing) if missing else (), strict=True):
            values[n] = value
            self._memory.put(keys[n], value, sum(getattr(part, "nbytes", 8) for part in value))
        return values

    def _summed(self, day: date) -> RoadDay:
        summed: RoadDay | None = None
        if self._memory is not None:
            summed = self._memory.get(("day", self._digest, day, self._marks[day]))
        if summed is None:
            local = LocalDay(day, self.rules.last.zone)
            mark, rows = self._read(local)
            summed = sum_up(rows, local, self.rules)
            self._marks[day] = mark  # a writer may have replaced what was listed
            if self._memory is not None:
                self._memory.put(("day", self._digest, day, mark), summed, summed.size)
        return summed


def of_frame(roads: pl.DataFrame, first: date, rules: Rules) -> RoadDays:
    """Return the days of one table of rows, of which nothing is remembered."""

    def read(day: LocalDay) -> tuple[str, pl.DataFrame]:
        return "", roads.filter(pl.col("at").is_between(day.begin, day.end, closed="left"))

    zone = rules.last.zone
    dates = roads.select(pl.col("at").dt.convert_time_zone(zone.key).dt.date().unique())["at"]
    days = [day for day in sorted(dates) if first <= day <= rules.last.date]
    return RoadDays(first, rules, read, dict.fromkeys(days, ""))


# Laid out on a network


def panel_on(network: Network, days: RoadDays, value: str) -> Panel:
    """Return the flow or the occupancy of every arc over the period, as a panel."""
    dates = days.dates()
    values = np.full((len(network.ids), len(dates), CLOCK_HOURS), np.nan, np.float32)
    for day, summed in days.days().items():
        values[_places(network, summed), (day - days.first).days] = getattr(summed, value)
    return Panel(tuple(network.ids.tolist()), days.first, values)


def typical_on(network: Network, days: RoadDays, value: str) -> Typical:
    """Return what does as `typical_days` for the panel of this value, and remembers each date's typical day."""

    def typical(panel: Panel, targets: Sequence[date]) -> tuple[Floats32, NDArray[np.int64]]:
        def make(missing: list[int]) -> list[tuple[Floats32, NDArray[np.int64]]]:
            medians, counts = typical_days(panel, [targets[n] for n in missing])
            return [_kept(medians[:, n].copy(), counts[:, n].copy()) for n in range(len(missing))]

        made = days.recall_each(f"typical {value}", network.digest, like_days_in(panel, targets), make)
        return np.stack([median for median, _ in made], axis=1), np.stack(
            [count for _, count in made], axis=1
        )

    return typical


def like_days_in(panel: Panel, targets: Sequence[date]) -> list[list[date]]:
    """Return, for each of `targets`, the days of the panel that decide its typical day."""
    return [[day for day in like_days(target) if panel.index(day) is not None] for target in targets]


def city_hours(days: RoadDays, value: str) -> NDArray[Any]:
    """(days, 24): a figure of all arcs together over the period, 0 on days without rows."""
    dates, of_days = days.dates(), days.days()
    nothing = np.zeros(CLOCK_HOURS)
    return np.stack([getattr(of_days[day], value) if day in of_days else nothing for day in dates])


def totals_on(network: Network, days: RoadDays, count: int) -> tuple[Floats, Floats]:
    """(arcs, days) vehicles and vehicle-hours lost of the last `count` days; NaN where nothing is known."""
    begin = days.rules.last.date - timedelta(days=count - 1)
    vehicles, lost = (np.full((len(network.ids), count), np.nan) for _ in range(2))
    for day, summed in days.days().items():
        if day >= begin:
            at = _places(network, summed), (day - begin).days
            vehicles[at], lost[at] = summed.vehicles, summed.lost
    return vehicles, lost


def last_states_on(network: Network, days: RoadDays) -> NDArray[np.int8]:
    """(arcs,): the last state of the arc itself that a day before the last one told, or `NO_STATE`."""
    states = np.full(len(network.ids), NO_STATE, np.int8)
    for day, summed in days.days().items():
        if day < days.rules.last.date:
            has_state = summed.arc_state != NO_STATE
            states[_places(network, summed)[has_state]] = summed.arc_state[has_state]
    return states


def last_hours_on(network: Network, days: RoadDays) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """(arcs,): the last day before the last one that has a value of an arc, as an ordinal, 0 for none; and its hour."""
    ordinals, hours = np.zeros(len(network.ids), np.int64), np.full(len(network.ids), -1, np.int8)
    for day, summed in days.days().items():
        if day < days.rules.last.date:
            seen = summed.last_hour >= 0
            at = _places(network, summed)[seen]
            ordinals[at], hours[at] = day.toordinal(), summed.last_hour[seen]
    return ordinals, hours


def _places(network: Network, day: RoadDay) -> NDArray[np.int64]:
    return network.places(day.arcs)


def _sums(values: Floats) -> Floats:
    """Return the sums over the hours; NaN where none is known."""
    is_known = ~np.isnan(values)
    sums = np.add.reduceat(np.where(is_known, values, 0.0), [0], axis=1)[:, 0]
    return np.where(is_known.any(axis=1), sums, np.nan)


def _last_states(states: NDArray[np.int8]) -> NDArray[np.int8]:
    has_state = states[:, ::-1] != NO_STATE
    last = states[np.arange(len(states)), states.shape[1] - 1 - has_state.argmax(axis=1)]
    return np.where(has_state.any(axis=1), last, np.int8(NO_STATE)).astype(np.int8)


def _last_hours(seen: pl.DataFrame, network: Network, day: LocalDay) -> NDArray[np.int8]:
    hours = np.full(len(network.ids), -1, np.int8)
    last = seen.group_by("arc").agg(pl.col("at").max())
    hour = (last["at"] - day.begin).dt.total_seconds() // 3600
    hours[network.places(last["arc"].to_numpy())] = hour.to_numpy()
    return hours


def _kept(median: Floats32, count: NDArray[np.int64]) -> tuple[Floats32, NDArray[np.int64]]:
    for array in (median, count):
        array.setflags(write=False)
    return median, count
