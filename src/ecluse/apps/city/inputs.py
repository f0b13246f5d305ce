"""Hold what the processors of one day read: curated tables of the day and of the weeks before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import cached_property
from typing import Any, Final

import polars as pl

from ecluse.apps.city.calendar import LocalDay
from ecluse.apps.city.curated import Curated, Part
from ecluse.apps.city.road_hours import Network, RoadHours, network_of, possible_values, road_hours
from ecluse.apps.city.thresholds import Thresholds
from ecluse.apps.city.typical import Panel, Usual, Verdict, panel_of, usual_days

#: How many days before a day its typical day, bands and persistence may rest on.
HISTORY_DAYS: Final = 84


@dataclass(frozen=True)
class Inputs:
    """The tables of one day, those that have a history with the `history_days` before it.

    Columns and units: `ecluse.apps.city.tables`. A processor computes from these and changes none of them.
    """

    day: LocalDay
    thresholds: Thresholds
    #: Source → its rows.
    tables: Mapping[str, pl.DataFrame]
    #: Table → the parts that the day was made of.
    parts: Mapping[str, list[Part]] = field(default_factory=dict)
    history_days: int = HISTORY_DAYS

    @property
    def roads(self) -> pl.DataFrame:
        return self.tables["roads"]

    @property
    def bikes(self) -> pl.DataFrame:
        return self.tables["bikes"]

    @property
    def weather(self) -> pl.DataFrame:
        return self.tables["weather"]

    @property
    def disruptions(self) -> pl.DataFrame:
        return self.tables["disruptions"]

    @property
    def works(self) -> pl.DataFrame:
        return self.tables["works"]

    @property
    def arcs(self) -> pl.DataFrame:
        return self.tables["arcs"]

    @property
    def zones(self) -> pl.DataFrame:
        return self.tables["zones"]

    def with_tables(self, **tables: pl.DataFrame) -> Inputs:
        """Return the same inputs with other rows of these tables."""
        return replace(self, tables={**self.tables, **tables})

    @cached_property
    def roads_today(self) -> pl.DataFrame:
        """Return the day's rows of `roads`, with `hour`: which hour of the day, from 0 to 22, 23 or 24."""
        return _of_day(self.roads, self.day)

    @cached_property
    def network(self) -> Network:
        """Return the arcs of the reference, and those that only the rows of these weeks tell of."""
        return network_of(self.arcs, self.roads)

    @cached_property
    def road_hours(self) -> RoadHours:
        """Return the day's rows of `roads` as a grid of arcs and hours, without impossible values."""
        return road_hours(self.roads, self.network, self.day, self.thresholds)

    @cached_property
    def flow_panel(self) -> Panel:
        """Return the flow of every arc of the network, over the day and the weeks before it."""
        return self._road_panel("flow")

    @cached_property
    def occupancy_panel(self) -> Panel:
        """Return the occupancy of every arc of the network, over the day and the weeks before it."""
        return self._road_panel("occupancy")

    @cached_property
    def flow_usual(self) -> Usual:
        """Return the usual flow of such a day, for every arc of the network."""
        return usual_days(self.flow_panel, self.day.date)

    @cached_property
    def occupancy_usual(self) -> Usual:
        """Return the usual occupancy of such a day, for every arc of the network."""
        return usual_days(self.occupancy_panel, self.day.date, ceiling=100.0)

    @cached_property
    def flow_verdicts(self) -> list[Verdict]:
        """Say how usual the day's flow was, one verdict per arc of the network."""
        return self.flow_usual.verdicts(self.flow_panel.of(self.day.date))

    def _road_panel(self, value: str) -> Panel:
        first = self.day.date - timedelta(days=self.history_days)
        rows = possible_values(self.roads, value, self.thresholds)
        sensors = self.network.ids.tolist()
        return panel_of(rows, value, first, self.day.date, self.day.zone, sensors=sensors)

    @cached_property
    def bike_panel(self) -> Panel:
        """Return the count of every bike counter of these weeks, without impossible values."""
        first = self.day.date - timedelta(days=self.history_days)
        rows = self.bikes.filter(pl.col("count").is_between(0, self.thresholds.largest_bikes))
        counters = self.bikes["counter"].unique().sort().to_list()
        return panel_of(
            rows, "count", first, self.day.date, self.day.zone, sensor="counter", sensors=counters
        )

    @cached_property
    def bike_usual(self) -> Usual:
        """Return the usual count of such a day, for every bike counter."""
        return usual_days(self.bike_panel, self.day.date)

    @cached_property
    def bikes_today(self) -> pl.DataFrame:
        """Return the day's rows of `bikes`, with `hour`."""
        return _of_day(self.bikes, self.day)


@dataclass(frozen=True)
class Metrics:
    """What a processor computed. `body` becomes `metrics/{kind}/{date}`; `parts` become `metrics/{kind}/{date}/{key}`.

    Both are plain JSON: no NaN, no dates, keys that are text.
    """

    body: dict[str, Any]
    parts: Mapping[str, dict[str, Any]] = field(default_factory=dict)


def read_inputs(
    curated: Curated, day: LocalDay, thresholds: Thresholds, *, history_days: int = HISTORY_DAYS
) -> Inputs:
    """Read what a day's processors need; to learn a forecast, `history_days` may be more than that."""
    first = day.date - timedelta(days=history_days)

    def read(name: str) -> pl.DataFrame:
        table = curated.tables[name]
        if table.whole:
            return curated.read_whole(name)
        return curated.read(name, first if table.has_history else day.date, day.date)

    return Inputs(
        day=day,
        thresholds=thresholds,
        tables={name: read(name) for name in curated.tables},
        parts={name: curated.parts(name, day.date) for name in curated.daily()},
        history_days=history_days,
    )


def _of_day(rows: pl.DataFrame, day: LocalDay) -> pl.DataFrame:
    of_day = rows.filter(pl.col("at").is_between(day.begin, day.end, closed="left"))
    return of_day.with_columns(hour=((pl.col("at") - day.begin).dt.total_seconds() // 3600).cast(pl.Int32))
