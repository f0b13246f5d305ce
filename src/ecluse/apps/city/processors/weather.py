"""Tell the day's weather, its categories, the mobility score, and what such days did to bikes and roads.

The score is 50, with the points of `POINTS` for each category of the day; it is a convention of this project, not a
measurement. The effect is one: of each day of the history with a category, the bikes or vehicles of all sensors
relative to their typical day (the median of the same weekday over the weeks before it, hour by hour, where both are
known), minus 1; the median of these days is given, and that of those without any category under "none".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Any, Final

import numpy as np
import polars as pl

from ecluse.apps.city.inputs import HISTORY_DAYS, Inputs, Metrics
from ecluse.apps.city.numbers import rounded
from ecluse.apps.city.processors.processor import Processor, some
from ecluse.apps.city.road_days import like_days_in
from ecluse.apps.city.sections import Figure, ReportTable, Section
from ecluse.apps.city.thresholds import Thresholds
from ecluse.apps.city.typical import Panel, panel_of, typical_days
from ecluse.documents import Body
from ecluse.sentences import N_

BASE: Final = 50
POINTS: Final = {"rain": -20, "cold": -10, "hot": 5}
CATEGORIES: Final = ("rain", "wind", "cold", "hot")
#: Days with none of the categories, as what to compare with.
NONE: Final = "none"
#: Below this share of the hours that have a typical value, a day says nothing of the city.
LEAST_SHARE: Final = 0.5
_MEASURES: Final = ("temperature", "temperature_min", "temperature_max", "precipitation", "wind")


def compute(inputs: Inputs, metrics: Mapping[str, Metrics]) -> Metrics:
    """Return the weather of the day; figures are null where it is not known."""
    rows = inputs.weather.filter(pl.col("date") == inputs.day.date)
    row = rows.row(0, named=True) if rows.height else dict.fromkeys(inputs.weather.columns)
    thresholds = inputs.thresholds
    categories = categories_of(row, thresholds)
    parts = None
    if row["precipitation"] is not None and temperature_of(row) is not None:
        parts = {
            "base": BASE,
            **{category: POINTS[category] for category in categories if category in POINTS},
        }
    mean = row["temperature"] is not None
    body: dict[str, Any] = {
        **{name: rounded(row[name]) for name in _MEASURES},
        "temperature": rounded(temperature_of(row)),
        "temperature_is": None if temperature_of(row) is None else "mean" if mean else "middle",
        "conditions": row["conditions"],
        "provider": row["provider"],
        "hours_observed": row["hours"],
        "categories": categories,
        "score": None if parts is None else sum(parts.values()),
        "score_parts": parts,
        "effect": _effects(inputs),
    }
    return Metrics(body)


def temperature_of(row: Mapping[str, Any]) -> float | None:
    """Return the mean of the day; where none is told, the middle between its lowest and its highest, in °C."""
    mean, low, high = (row[name] for name in ("temperature", "temperature_min", "temperature_max"))
    if mean is not None:
        return float(mean)
    return None if low is None or high is None else (low + high) / 2


def categories_of(row: Mapping[str, Any], thresholds: Thresholds) -> list[str]:
    """Return those of `CATEGORIES` that fit a row of the weather; what is not known fits none."""
    temperature = temperature_of(row)
    fits = {
        "rain": row["precipitation"] is not None and row["precipitation"] >= thresholds.rain,
        "wind": row["wind"] is not None and row["wind"] >= thresholds.wind,
        "cold": temperature is not None and temperature < thresholds.cold,
        "hot": temperature is not None and temperature > thresholds.hot,
    }
    return [name for name in CATEGORIES if fits[name]]


def deviations(panel: Panel, days: list[date]) -> dict[date, float]:
    """Return how far each day's total lies from its typical one, relative to it; days that say too little are left
    out.
    """
    known_days_ = [day for day in days if panel.index(day) is not None]
    if not known_days_ or not panel.sensors:
        return {}
    typical, _ = typical_days(panel, known_days_)
    deviation_of = {}
    for n, day in enumerate(known_days_):
        values, usual = panel.of(day), typical[:, n]
        both = np.isfinite(values) & np.isfinite(usual)
        expected = float(usual[both].sum(dtype=np.float64))
        if expected > 0 and both.sum() >= LEAST_SHARE * np.isfinite(usual).sum():
            deviation_of[day] = float(values[both].sum(dtype=np.float64)) / expected - 1
    return deviation_of


def _effects(inputs: Inputs) -> dict[str, dict[str, dict[str, Any]]]:
    """{bikes|roads: {category: {deviation, days}}} over the history and the day itself."""
    categories = {
        row["date"]: categories_of(row, inputs.thresholds) or [NONE]
        for row in inputs.weather.sort("date").iter_rows(named=True)
        if row["precipitation"] is not None and temperature_of(row) is not None
    }
    days = list(categories)
    if not days:
        return {"bikes": {}, "roads": {}}
    return {
        "bikes": _by_category(deviations(_bike_panel(inputs), days), categories),
        "roads": _by_category(_road_deviations(inputs, days), categories),
    }


def _road_deviations(inputs: Inputs, days: list[date]) -> dict[date, float]:
    """Return the deviations of the roads; that of a day before is remembered with the days that decide it."""
    panel = inputs.flow_panel
    known = [day for day in days if panel.index(day) is not None]

    def make(missing: list[int]) -> list[tuple[float | None]]:
        made = deviations(panel, [known[n] for n in missing])
        return [(made.get(known[n]),) for n in missing]

    decided_by = [[day, *like] for day, like in zip(known, like_days_in(panel, known), strict=True)]
    values = inputs.road_days.recall_each("deviation", inputs.network.digest, decided_by, make)
    return {day: value for day, (value,) in zip(known, values, strict=True) if value is not None}


def _bike_panel(inputs: Inputs) -> Panel:
    first = inputs.day.date - timedelta(days=HISTORY_DAYS)
    return panel_of(inputs.bikes, "count", first, inputs.day.date, inputs.day.zone, sensor="counter")


def _by_category(
    deviation: Mapping[date, float], categories: Mapping[date, list[str]]
) -> dict[str, dict[str, Any]]:
    categories_ = {}
    for name in (*CATEGORIES, NONE):
        values = [value for day, value in deviation.items() if name in categories[day]]
        if values:
            categories_[name] = {"deviation": rounded(float(np.median(values))), "days": len(values)}
    return categories_


# The report


def _summary(body: Body | None) -> Body:
    return {"weather": some(body, (*_UNITS, "conditions", "provider", "categories", "effect"))}


def _rows(report: Body) -> list[Body]:
    """Return a row for each figure."""
    weather = report["weather"] or {}
    return [
        {"figure": name, "provider": weather.get("provider"), "value": weather[name], "unit": unit}
        for name, unit in _UNITS.items()
        if name in weather
    ]


def _figures(table: ReportTable, n: int, row: Body) -> Iterator[Figure]:
    yield table.figure(n, row, row["figure"], row["value"], row["unit"])


_UNITS: Final = {
    "temperature": "°C",
    "temperature_min": "°C",
    "temperature_max": "°C",
    "precipitation": "mm",
    "wind": "km/h",
    "score": "0 to 100",
}
_TABLE: Final = ReportTable(
    name="weather",
    caption=N_("Weather"),
    rows=_rows,
    id="figure",
    label="provider",
    columns=(),
    figures=_figures,
    is_printed=False,  # a sentence says it
)
PROCESSOR: Final = Processor(
    name="weather",
    words=N_("weather"),
    compute=compute,
    summarise=_summary,
    section=Section(N_("Weather"), order=80, lead="_weather.html", tables=(_TABLE,), has_own_part=True),
)
