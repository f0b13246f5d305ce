"""Name the columns of the curated tables, with types and units; a source says which of them it fills.

Every moment is the start of an hour in UTC; the day and the hour people see follow from the city's time zone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

#: The states of traffic as the source publishes them, from the unknown to the worst.
STATES: Final = ("Inconnu", "Fluide", "Pré-saturé", "Saturé", "Bloqué")
ARC_STATES: Final = ("Ouvert", "Barré", "Invalide")
#: What is larger is no measurement; what no sensor of a kind can measure, the thresholds tell.
LARGEST: Final = 1e9
MOMENT: Final = pl.Datetime("us", "UTC")

#: One row per arc and hour. flow: vehicles per hour; occupancy: percent of the hour. Both may be missing.
ROADS: Final = pl.Schema(
    {
        "arc": pl.Int32(),
        "at": MOMENT,
        "flow": pl.Float64(),
        "occupancy": pl.Float64(),
        "state": pl.Enum(STATES),
        "arc_state": pl.Enum(ARC_STATES),
    }
)
#: One row per bike counter and hour. count: bikes in the hour.
BIKES: Final = pl.Schema(
    {
        "counter": pl.String(),
        "name": pl.String(),
        "at": MOMENT,
        "count": pl.Float64(),
        "latitude": pl.Float64(),
        "longitude": pl.Float64(),
    }
)
#: One row per disruption, line and period that lies in the day; no line: the disruption names none; no end: none
#: is known. A row without a disruption tells that a line exists. severity: blocked, disturbed or information.
#: scope: whether it concerns the whole line, its whole network, or a part such as some stops.
DISRUPTIONS: Final = pl.Schema(
    {
        "disruption": pl.String(),
        "line": pl.String(),
        "line_name": pl.String(),
        "mode": pl.String(),
        "network": pl.String(),
        "begin": MOMENT,
        "end": MOMENT,
        "scope": pl.Enum(("line", "network", "part")),
        "severity": pl.Enum(("blocked", "disturbed", "information")),
        "effect": pl.String(),
        "cause": pl.String(),
        "title": pl.String(),
        "message": pl.String(),
        "updated_at": MOMENT,
    }
)
#: One row per day. Temperatures: °C; precipitation: mm; wind: highest of the day in km/h;
#: hours: how many hours the figures rest on, all of the day for a daily figure of the provider.
WEATHER: Final = pl.Schema(
    {
        "date": pl.Date(),
        "temperature": pl.Float64(),
        "temperature_min": pl.Float64(),
        "temperature_max": pl.Float64(),
        "precipitation": pl.Float64(),
        "wind": pl.Float64(),
        "conditions": pl.String(),
        "provider": pl.String(),
        "hours": pl.Int32(),
    }
)
#: One row per site active on the day. impact: as the source writes it, or null; level 1 (high) to 2, or null;
#: begin and end: first and last day; area: m²; geometry: GeoJSON; zone: None outside every zone.
WORKS: Final = pl.Schema(
    {
        "site": pl.String(),
        "title": pl.String(),
        "description": pl.String(),
        "streets": pl.String(),
        "begin": pl.Date(),
        "end": pl.Date(),
        "impact": pl.String(),
        "level": pl.Int32(),
        "status": pl.Int32(),
        "zone": pl.Int32(),
        "area": pl.Float64(),
        "latitude": pl.Float64(),
        "longitude": pl.Float64(),
        "geometry": pl.String(),
    }
)
#: One row per arc: the reference. geometry: LineString or MultiLineString as GeoJSON; length: geodesic, in m;
#: latitude and longitude: its middle; zone: None outside every zone.
ARCS: Final = pl.Schema(
    {
        "arc": pl.Int32(),
        "label": pl.String(),
        "upstream": pl.Int32(),
        "upstream_name": pl.String(),
        "downstream": pl.Int32(),
        "downstream_name": pl.String(),
        "latitude": pl.Float64(),
        "longitude": pl.Float64(),
        "length": pl.Float64(),
        "zone": pl.Int32(),
        "geometry": pl.String(),
    }
)
#: One row per zone (arrondissement). geometry: Polygon or MultiPolygon as GeoJSON; area: m².
ZONES: Final = pl.Schema(
    {"zone": pl.Int32(), "name": pl.String(), "area": pl.Float64(), "geometry": pl.String()}
)


@dataclass(frozen=True)
class Table:
    """How a curated table is stored. `key`: the columns that no two rows have alike."""

    schema: pl.Schema
    key: tuple[str, ...]
    #: Stored once for all days; otherwise, once for each day.
    whole: bool = False
    #: Processors also read the days before, to know what is usual. Of other tables they read their own day only.
    has_history: bool = False
    #: It holds measurements of its day: a day without rows in any such table has no data. (Works, for example, are
    #: known long before and after their days.)
    is_measured: bool = False
