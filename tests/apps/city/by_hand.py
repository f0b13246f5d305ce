"""Make the tables of a day by hand: arcs, zones, and rows from lists of hourly values."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl

from ecluse.apps.city import tables
from ecluse.apps.city.calendar import LocalDay
from ecluse.apps.city.inputs import Inputs
from ecluse.apps.city.sources import curated_tables
from ecluse.apps.city.thresholds import Thresholds

PARIS = ZoneInfo("Europe/Paris")
#: A Tuesday of 24 hours, and the days of 23 and 25 hours.
TUESDAY, SHORT, LONG = date(2025, 6, 3), date(2025, 3, 30), date(2025, 10, 26)


def local(day: date) -> LocalDay:
    return LocalDay(day, PARIS)


def late(occupancy: float, free: float = 30.0) -> float:
    """The hours that a vehicle loses on a km at an occupancy: 30 % leaves a speed e times less, 5 km/h is the least."""
    return 1 / max(5.0, free * math.exp(-occupancy / 30)) - 1 / free


def state_of(occupancy: float | None) -> str:
    """The state that the source publishes at an occupancy."""
    if occupancy is None:
        return "Inconnu"
    names = ("Fluide", "Pré-saturé", "Saturé", "Bloqué")
    return names[sum(occupancy >= limit for limit in (15, 30, 50))]


def road_rows(
    arc: int,
    day: date,
    flow: Sequence[float | None] | None = None,
    occupancy: Sequence[float | None] | None = None,
    states: Sequence[str | None] | None = None,
    skip: Sequence[int] = (),
) -> pl.DataFrame:
    """A row per hour of the day, but for the hours in `skip`."""
    starts = local(day).starts
    flow = flow or [None] * len(starts)
    occupancy = occupancy or [None] * len(starts)
    states = states or [state_of(value) for value in occupancy]
    assert len(flow) == len(occupancy) == len(states) == len(starts)
    rows = [
        {
            "arc": arc,
            "at": at,
            "flow": flow[n],
            "occupancy": occupancy[n],
            "state": states[n],
            "arc_state": "Ouvert",
        }
        for n, at in enumerate(starts)
        if n not in skip
    ]
    return pl.DataFrame(rows, schema=tables.ROADS)


def arc(
    number: int, *, label: str | None = None, zone: int | None = 8, length: float | None = 1000.0, **more: Any
) -> dict[str, Any]:
    facts = {"arc": number, "label": label or f"Rue_{number}", "zone": zone, "length": length}
    return dict.fromkeys(tables.ARCS.names()) | {"latitude": 48.87, "longitude": 2.3} | facts | more


def zone(number: int, name: str | None = None) -> dict[str, Any]:
    return {"zone": number, "name": name or f"Zone {number}", "area": 1e6, "geometry": "{}"}


def made(
    day: date,
    roads: Sequence[pl.DataFrame] = (),
    arcs: Sequence[Mapping[str, Any]] = (),
    zones: Sequence[Mapping[str, Any]] = (),
    works: Sequence[Mapping[str, Any]] = (),
    thresholds: Thresholds | None = None,
    bikes: pl.DataFrame | None = None,
) -> Inputs:
    """The inputs of a day with these tables; those not named are empty."""
    given = {"works": list(works), "arcs": list(arcs), "zones": list(zones)}
    rows = {
        name: pl.DataFrame(given.get(name), schema=table.schema) for name, table in curated_tables().items()
    }
    if roads:
        rows["roads"] = pl.concat(roads)
    if bikes is not None:
        rows["bikes"] = bikes
    return Inputs(day=local(day), thresholds=thresholds or Thresholds(), tables=rows)
