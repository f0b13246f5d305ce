"""Hold what files of weather say of a day, in °C, mm and km/h, and set aside what cannot be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, tzinfo
from typing import Any, Final

from ecluse.apps.city.sources.feed import Rejections, number
from ecluse.sentences import _

NO_DATE: Final = _("the date cannot be read")
BAD_VALUE: Final = _("the value is not possible")
UNKNOWN_UNIT: Final = _("the unit is not known")
NO_UNIT: Final = _("the file does not say its units, and they are not °C, mm and km/h")
#: What is told in these units becomes °C, mm and km/h.
UNITS: Final[dict[str, Callable[[float], float]]] = {
    "°C": lambda value: value,
    "°F": lambda value: (value - 32) / 1.8,
    "K": lambda value: value - 273.15,
    "mm": lambda value: value,
    "cm": lambda value: value * 10,
    "inch": lambda value: value * 25.4,
    "km/h": lambda value: value,
    "m/s": lambda value: value * 3.6,
    "mp/h": lambda value: value * 1.609344,
    "mph": lambda value: value * 1.609344,
    "kn": lambda value: value * 1.852,
}
#: Other spellings of these units, in small letters.
SPELLINGS: Final = {
    "c": "°C", "celsius": "°C", "degc": "°C", "f": "°F", "fahrenheit": "°F", "degf": "°F", "kelvin": "K",
    "millimeter": "mm", "millimetre": "mm", "in": "inch", "inches": "inch", "kmh": "km/h", "kph": "km/h",
    "ms": "m/s", "knots": "kn", "kt": "kn", "mi/h": "mph",
}  # fmt: skip
#: No night at sea level was warmer than 42.6 °C (Qurayyat, 2018) and no day than 56.7 °C; beyond 40 degrees of latitude
#: none has had a lowest temperature above 32 °C (wmo.asu.edu). What is warmer in a file that is silent on its units
#: is in °F.
WARMEST: Final = {"temperature": 45.0, "temperature_min": 42.6, "temperature_max": 56.7}
#: Where a value in °C, mm or km/h cannot lie, on any day on Earth.
POSSIBLE: Final = {
    "temperature": (-90, 60),
    "temperature_min": (-90, 60),
    "temperature_max": (-90, 60),
    "precipitation": (0, 2000),
    "wind": (0, 420),
}


@dataclass
class Reading:
    """What one file says of one day: the provider's daily figures, and its hours (begin in UTC → values)."""

    provider: str
    daily: dict[str, Any] = field(default_factory=dict)
    hours: dict[datetime, dict[str, Any]] = field(default_factory=dict)


def in_our_units(
    measures: Mapping[str, tuple[Any, str, str]], url: str, line: int | None, rejected: Rejections
) -> dict[str, Any]:
    """Return, by column, its value in the table's unit; a missing value is left out, a bad one is set aside."""
    values: dict[str, Any] = {}
    for column, (text, unit, where) in measures.items():
        if text is None or (isinstance(text, str) and text.strip() in ("", "NaN", "nan")):
            continue
        value = number(text)
        low, high = POSSIBLE[column]
        if value is None:
            rejected.add(url, BAD_VALUE, line=line, column=where, value=text)
        elif (convert := UNITS.get(SPELLINGS.get(unit.strip().casefold(), unit.strip()))) is None:
            rejected.add(url, UNKNOWN_UNIT if unit else NO_UNIT, line=line, column=where, value=unit or text)
        elif low <= (converted := convert(value)) <= high:
            values[column] = converted
        else:
            rejected.add(url, BAD_VALUE, line=line, column=where, value=text)
    return values


def date_in(text: object, zone: tzinfo | None = None) -> date | None:
    """Return a date as text, or as seconds since 1970 of its local midnight."""
    if isinstance(text, int) and not isinstance(text, bool):
        at = moment_in(text, UTC)
        return None if at is None else at.astimezone(zone or UTC).date()
    try:
        return date.fromisoformat(text[:10]) if isinstance(text, str) else None
    except ValueError:  # no date: as one that is missing
        return None


def moment_in(text: object, zone: tzinfo) -> datetime | None:
    try:
        if isinstance(text, int) and not isinstance(text, bool):
            return datetime.fromtimestamp(text, UTC)
        if not isinstance(text, str):
            return None
        at = datetime.fromisoformat(text)
        return (at.replace(tzinfo=zone) if at.tzinfo is None else at).astimezone(UTC)
    except (ValueError, OverflowError, OSError):  # no moment: as one that is missing
        return None
