"""Hold what the processors of one day read: curated tables of the day and of the weeks before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import cached_property
from typing import Any, Final

import polars as pl

from ecluse.apps.city.calendar import LocalDay
from ecluse.apps.city.curated import Curated, Part
from ecluse.apps.city.memory import MEMORY, Memory
from ecluse.apps.city.road_days import RoadDays, Rules, of_frame, panel_on, typical_on
from ecluse.apps.city.road_hours import Network, RoadHours, network_of, road_hours
from ecluse.apps.city.tables import ROADS
from ecluse.apps.city.thresholds import Thresholds
from ecluse.apps.city.typical import Panel, Usual, Verdict, panel_of, usual_days
from ecluse.storage.side_by_side import side_by_side

#: How many days before a day its typical day, bands and persistence may rest on.
HISTORY_DAYS: Final = 84


@dataclass(frozen=True)
class Inputs:
    """The tables of one day, those that have a history with the `history_days` before it.

    Columns and units: `ecluse.apps.city.tables`. A processor computes from these and changes none of them. The road
    counts of the weeks before are `road_days`.
    """

    day: LocalDay
    thresholds: Thresholds
    #: Source → its rows.
    tables: Mapping[str, pl.DataFrame]
    #: Table → the parts that the day was made of.
    parts: Mapping[str, list[Part]] = field(default_factory=dict)
    history_days: int = HISTORY_DAYS
    #: The road counts of the day and of the days before it; None: all of them are in the table "roads".
    read_days: RoadDays | None = None

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
        read_days = None if "roads" in tables else self.read_days
        return replace(self, tables={**self.tables, **tables}, read_days=read_days)

    @property
    def first(self) -> date:
        """Return the first day of the history."""
        return self.day.date - timedelta(days=self.history_days)

    @cached_property
    def road_days(self) -> RoadDays:
        """Return the road counts of the day and of the days before it, each summed up."""
        if self.read_days is not None:
            return self.read_days
        return of_frame(self.tables["roads"], self.first, Rules(self.arcs, self.thresholds, self.day))

    @cached_property
    def roads_today(self) -> pl.DataFrame:
        """Return the day's road counts, with `hour`: which hour of the day, from 0 to 22, 23 or 24."""
        rows = self.road_days.rows(self.day)
        return _of_day(pl.DataFrame(schema=ROADS) if rows is None else rows, self.day)

    @cached_property
    def network(self) -> Network:
        """Return the arcs of the reference, and those that only the rows of these weeks tell of."""
        return network_of(self.arcs, self.road_days.arcs())

    @cached_property
    def road_hours(self) -> RoadHours:
        """Return the day's road counts as a grid of arcs and hours, without impossible values."""
        return road_hours(self.roads_today, self.network, self.day, self.thresholds)

    @cached_property
    def flow_panel(self) -> Panel:
        """Return the flow of every arc of the network, over the day and the weeks before it."""
        return panel_on(self.network, self.road_days, "flow")

    @cached_property
    def occupancy_panel(self) -> Panel:
        """Return the occupancy of every arc of the network, over the day and the weeks before it."""
        return panel_on(self.network, self.road_days, "occupancy")

    @cached_property
    def flow_usual(self) -> Usual:
        """Return the usual flow of such a day, for every arc of the network."""
        typical = typical_on(self.network, self.road_days, "flow")
        return usual_days(self.flow_panel, self.day.date, typical=typical)

    @cached_property
    def occupancy_usual(self) -> Usual:
        """Return the usual occupancy of such a day, for every arc of the network."""
        typical = typical_on(self.network, self.road_days, "occupancy")
        return usual_days(self.occupancy_panel, self.day.date, ceiling=100.0, typical=typical)

    @cached_property
    def flow_verdicts(self) -> list[Verdict]:
        """Say how usual the day's flow was, one verdict per arc of the network."""
        return self.flow_usual.verdicts(self.flow_panel.of(self.day.date))

    @cached_property
    def bike_panel(self) -> Panel:
        """Return the count of every bike counter of these weeks, without impossible values."""
        rows = self.bikes.filter(pl.col("count").is_between(0, self.thresholds.largest_bikes))
        counters = self.bikes["counter"].unique().sort().to_list()
        return panel_of(
            rows, "count", self.first, self.day.date, self.day.zone, sensor="counter", sensors=counters
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
    curated: Curated,
    day: LocalDay,
    thresholds: Thresholds,
    *,
    history_days: int = HISTORY_DAYS,
    memory: Memory = MEMORY,
) -> Inputs:
    """Read what a day's processors need; to learn a forecast, `history_days` may be more than that.

    What is in `memory` of the days before is not read again.
    """
    first = day.date - timedelta(days=history_days)
    wholes = {name: curated.read_whole_marked(name) for name in curated.kept_whole()}

    def read(name: str) -> pl.DataFrame:
        if not curated.tables[name].has_history:
            return curated.read(name, day.date, day.date)
        # The many days that a forecast learns from would take the place of the weeks that each day asks for.
        rows_memory = memory if history_days <= HISTORY_DAYS else Memory(0)
        return _read_remembered(curated, name, first, day.date, rows_memory)

    arcs_mark, arcs = wholes["arcs"]
    days = RoadDays(
        first,
        Rules(arcs, thresholds, day, arcs_mark),
        lambda at: curated.read_day_marked("roads", at.date),
        curated.marks("roads", first, day.date),
        memory,
    )
    days.days()
    return Inputs(
        day=day,
        thresholds=thresholds,
        tables={name: table for name, (_mark, table) in wholes.items()}
        | {name: read(name) for name in curated.daily() if name != "roads"},
        parts={name: curated.parts(name, day.date) for name in curated.daily()},
        history_days=history_days,
        read_days=days,
    )


def _read_remembered(curated: Curated, table: str, first: date, last: date, memory: Memory) -> pl.DataFrame:
    """Return the rows of a table as `Curated.read` does, of the days in `memory` without reading them."""
    marks = curated.marks(table, first, last)
    frames = {day: memory.get(("rows", table, day, mark)) for day, mark in marks.items()}
    missing = [day for day, frame in frames.items() if frame is None]
    read_days = side_by_side(lambda day, _: curated.read_day_marked(table, day), missing)
    for day, (mark, frame) in zip(missing, read_days, strict=True):
        frames[day] = frame
        memory.put(("rows", table, day, mark), frame, int(frame.estimated_size()))
    filled = [frame for frame in frames.values() if frame.height]
    return pl.concat(filled) if filled else pl.DataFrame(schema=curated.tables[table].schema)


def _of_day(rows: pl.DataFrame, day: LocalDay) -> pl.DataFrame:
    of_day = rows.filter(pl.col("at").is_between(day.begin, day.end, closed="left"))
    return of_day.with_columns(hour=((pl.col("at") - day.begin).dt.total_seconds() // 3600).cast(pl.Int32))
