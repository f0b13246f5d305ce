"""Read the weather by the day of Visual Crossing.

Its units are those that the file says (`unitGroup`), else those that its figures show (`_group_of`).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp
from statistics import fmean
from typing import Any, Final

from ecluse.apps.city.calendar import LocalDay
from ecluse.apps.city.sources.feed import Rejections, number, text_of
from ecluse.apps.city.sources.forms import Column, Form
from ecluse.apps.city.sources.stamps import DAY, Stamp
from ecluse.apps.city.sources.weather_values import (
    NO_DATE,
    NO_UNIT,
    UNITS,
    UNKNOWN_UNIT,
    WARMEST,
    Reading,
    date_in,
    in_our_units,
)

VISUAL_CROSSING: Final = "Visual Crossing"
#: Visual Crossing's groups of units: temperature, precipitation, wind.
UNIT_GROUPS: Final = {
    "metric": ("°C", "mm", "km/h"),
    "us": ("°F", "inch", "mph"),
    "uk": ("°C", "mm", "mph"),
    "base": ("K", "mm", "m/s"),
}
WARMEST_NIGHT: Final = 32.0
BEYOND: Final = 40.0
#: By how many percentage points the humidity may differ from that which temperature and dew point make.
HUMIDITY_FITS: Final = 12.0
STAMP: Final = Stamp(
    "day",
    DAY,
    "city",
    (
        "datetime – ISO 8601 formatted date, time or datetime value indicating the date and time of the weather data "
        "in the local time zone of the requested location"
    ),
    "https://www.visualcrossing.com/resources/documentation/weather-api/timeline-weather-api/",
)
_FEED_PLACES: Final = (
    "api/weather/dt=*/hour=*/*.json",
    "api/weather/dt=*/*.json",
    "api/weather/dt=*/*.json.gz",
)
FORM: Final = Form(
    source="weather",
    title="Weather by the day, of Visual Crossing",
    places=_FEED_PLACES,
    style="json",
    columns=(
        Column("datetime", "day", example="2025-10-14", needed=True, stamp=STAMP),
        Column("temp", "mean temperature", "°C; `us`: °F; `base`: K", 12.1),
        Column("tempmin", "lowest temperature", "the same", 8.4),
        Column("tempmax", "highest temperature", "the same", 16.0),
        Column("precip", "rain and snow of the day", "mm; `us`: inch", 1.6),
        Column("windspeed", "highest wind", "km/h; `us` and `uk`: mph; `base`: m/s", 19.4),
        Column("conditions", "the weather in words", example="Rain"),
    ),
    address=STAMP.address,
    around='{"unitGroup": "metric", "days": [%s]}',
    notes=("- Its units follow from `unitGroup`: `metric`, `us`, `uk` or `base`.",),
)


def has_days(content: Any) -> bool:
    """Return whether a file is one of Visual Crossing."""
    return isinstance(content, dict) and isinstance(content.get("days"), list)


def read_days(content: dict[str, Any], day: LocalDay, url: str, rejected: Rejections) -> Reading:
    reading = Reading(VISUAL_CROSSING)
    group = str(content.get("unitGroup") or _group_of(content)).lower()
    if group not in UNIT_GROUPS:
        if any(
            isinstance(entry, dict) and date_in(entry.get("datetime")) == day.date
            for entry in content["days"]
        ):
            unit_group = content.get("unitGroup")
            rejected.add(
                url, UNKNOWN_UNIT if unit_group else NO_UNIT, column="unitGroup", value=unit_group or ""
            )
        return reading
    warm, wet, fast = UNIT_GROUPS[group]
    for n, entry in enumerate(content["days"]):
        where = f"days[{n}]"
        date_ = date_in(entry.get("datetime")) if isinstance(entry, dict) else None
        if date_ is None:
            rejected.add(url, NO_DATE, column=f"{where}.datetime", value=entry)
        elif date_ == day.date:
            names = {"temperature": "temp", "temperature_min": "tempmin", "temperature_max": "tempmax"}
            measures = {column: (entry.get(name), warm, f"{where}.{name}") for column, name in names.items()}
            measures["precipitation"] = (entry.get("precip"), wet, f"{where}.precip")
            measures["wind"] = (entry.get("windspeed"), fast, f"{where}.windspeed")
            values = in_our_units(measures, url, None, rejected)
            if conditions := text_of(entry.get("conditions")):
                values["conditions"] = conditions
            reading.daily.update(values)
    return reading


def _group_of(content: Mapping[str, Any]) -> str:
    """Return the group of units of a file that does not say it, as answers of Visual Crossing never do; "" for none
    that fits.

    Temperature and dew point make the relative humidity, in °C one and in °F another: that which the file tells
    decides. Where it tells none, it is metric unless that is too warm for its place.
    """
    days = [entry for entry in content["days"] if isinstance(entry, dict)]
    errors = {
        group: [
            abs(_humidity(UNITS[units[0]](warm), UNITS[units[0]](dew)) - humidity)
            for warm, dew, humidity in (
                [number(entry.get(name)) for name in ("temp", "dew", "humidity")] for entry in days
            )
            if warm is not None and dew is not None and humidity is not None
        ]
        for group, units in UNIT_GROUPS.items()
        if group in ("metric", "us")
    }
    means = {group: fmean(values) for group, values in errors.items() if values}
    if means:
        best = min(means, key=lambda group: means[group])
        return best if means[best] <= HUMIDITY_FITS else ""
    latitude = number(content.get("latitude"))
    night = WARMEST_NIGHT if latitude is not None and abs(latitude) > BEYOND else WARMEST["temperature_min"]
    limits = {"temp": WARMEST["temperature"], "tempmin": night, "tempmax": WARMEST["temperature_max"]}
    for entry in days:
        for name, limit in limits.items():
            value = number(entry.get(name))
            if value is not None and value > limit:
                return ""
    return "metric"


def _humidity(temperature: float, dew_point: float) -> float:
    """Return the relative humidity in %, after Magnus (Alduchov and Eskridge 1996, doi:10.1175/1520-0450)."""

    def pressure(degrees: float) -> float:
        degrees = min(max(degrees, -90.0), 90.0)
        return exp(17.625 * degrees / (243.04 + degrees))

    return 100 * pressure(dew_point) / pressure(temperature)
