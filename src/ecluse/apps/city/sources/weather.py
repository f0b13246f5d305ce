"""Curate one row of weather per day, from Visual Crossing and Open-Meteo: the API's partitions and exports.

Visual Crossing gives days; its units are those that the file says (`unitGroup`), else those that its figures show
(`_group_of`). Open-Meteo gives hours, days or both, as JSON or as a CSV export, and names the unit of each column. The
later file wins; a daily figure is taken before the hours of the same file (but for Open-Meteo's rain), and hours that
do not fill the day leave a daily figure of an earlier file as it is. A value that the figure lacks is taken from the
hours, where they fill the day.

Of Open-Meteo's hours temperature, wind and code are of the moment of the stamp, and precipitation fell in the hour
before it (`HOURLY_STAMPS`): what stands at 00:00 belongs to the day before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from math import exp, fsum
from statistics import fmean
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import polars as pl

from ecluse.apps.city.calendar import LocalDay, days_between
from ecluse.apps.city.raw import Raw, RawFile, fingerprint_of
from ecluse.apps.city.sources.curating import Curating, Look, look_of
from ecluse.apps.city.sources.feed import (
    NO_RECORDS,
    Aside,
    Document,
    Feed,
    facts_of,
    is_among,
    number,
    parsed,
    parts_of,
    read_file,
    text_of,
)
from ecluse.apps.city.sources.forms import Column, Form
from ecluse.apps.city.sources.stamps import DAY, HOUR, Stamp
from ecluse.apps.city.sources.text import opened, records
from ecluse.apps.city.tables import WEATHER
from ecluse.errors import BadRaw
from ecluse.sentences import _

FEED: Final = "weather"
BATCH: Final = "open-meteo"
VISUAL_CROSSING: Final = "Visual Crossing"
OPEN_METEO: Final = "Open-Meteo"
NO_DATE: Final = _("the date cannot be read")
BAD_VALUE: Final = _("the value is not possible")
UNKNOWN_UNIT: Final = _("the unit is not known")
NO_UNIT: Final = _("the file does not say its units, and they are not °C, mm and km/h")

#: Column of the table → its names in Open-Meteo's daily block.
DAILY_NAMES: Final = {
    "temperature": "temperature_2m_mean",
    "temperature_min": "temperature_2m_min",
    "temperature_max": "temperature_2m_max",
    "precipitation": "precipitation_sum",
    "wind": "wind_speed_10m_max",
    "conditions": "weather_code",
}
#: The same for its hours.
HOURLY_NAMES: Final = {
    "temperature": "temperature_2m",
    "precipitation": "precipitation",
    "wind": "wind_speed_10m",
    "conditions": "weather_code",
}
_OPEN_METEO_DOCS: Final = "https://open-meteo.com/en/docs"
_AT_STAMP: Final = Stamp("moment", timedelta(0), "file", "Instant", _OPEN_METEO_DOCS)
#: Column → what the time of one of Open-Meteo's hours means for it; "Valid time" in its description.
HOURLY_STAMPS: Final[Mapping[str, Stamp]] = {
    "temperature": _AT_STAMP,
    "precipitation": Stamp(
        "end",
        HOUR,
        "file",
        "Preceding hour sum: total precipitation (rain, showers, snow) sum of the preceding hour",
        _OPEN_METEO_DOCS,
    ),
    "wind": _AT_STAMP,
    "conditions": _AT_STAMP,
}
DAILY_STAMP: Final = Stamp(
    "day",
    DAY,
    "file",
    "Aggregations are a simple 24 hour aggregation from hourly values",
    "https://open-meteo.com/en/docs/historical-weather-api",
    checked=(
        "In 21 days of Paris in 2024 each day's sum is that of the hours stamped 00:00 to 23:00, so that it holds the "
        "rain of the last hour of the day before, and not that of its own. Where the hours of a day are known, their "
        "sum is taken in its place."
    ),
)
VISUAL_CROSSING_STAMP: Final = Stamp(
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
FORMS: Final = (
    Form(
        source="weather",
        title="Weather by the hour, of Open-Meteo",
        places=tuple(f"batch/{BATCH}*{ending}" for ending in (".csv", ".csv.gz", ".json", ".json.gz")),
        style="csv",
        columns=(
            Column("time", "hour", example="2025-10-14T08:00", needed=True),
            Column(
                "temperature_2m (°C)",
                "temperature",
                "°C, °F or K, as the header says",
                17.3,
                stamp=HOURLY_STAMPS["temperature"],
            ),
            Column(
                "precipitation (mm)",
                "rain and snow",
                "mm or inch, as the header says",
                0.2,
                stamp=HOURLY_STAMPS["precipitation"],
            ),
            Column(
                "wind_speed_10m (km/h)",
                "wind",
                "km/h, m/s, mp/h or kn, as the header says",
                7.3,
                stamp=HOURLY_STAMPS["wind"],
            ),
            Column(
                "weather_code (wmo code)",
                "the weather in a number",
                "WMO 4677",
                3,
                stamp=HOURLY_STAMPS["conditions"],
            ),
        ),
        address=_OPEN_METEO_DOCS,
        separator=",",
        notes=(
            "- The first lines of an export tell of the place and of its `utc_offset_seconds`; a blank line ends them.",
            "- In JSON the columns stand in `hourly`, their units in `hourly_units`; it may lie in "
            "`api/weather/dt=*/hour=*/` too.",
        ),
    ),
    Form(
        source="weather",
        title="Weather by the day, of Open-Meteo",
        places=tuple(f"batch/{BATCH}*{ending}" for ending in (".csv", ".csv.gz", ".json", ".json.gz")),
        style="csv",
        columns=(
            Column("time", "day", example="2025-10-14", needed=True, stamp=DAILY_STAMP),
            Column("temperature_2m_mean (°C)", "mean temperature", "as above", 12.1),
            Column("temperature_2m_min (°C)", "lowest temperature", "as above", 8.4),
            Column("temperature_2m_max (°C)", "highest temperature", "as above", 16.0),
            Column("precipitation_sum (mm)", "rain and snow of the day", "as above", 1.6),
            Column("wind_speed_10m_max (km/h)", "highest wind of an hour", "as above", 19.4),
            Column("weather_code (wmo code)", "the weather in a number", "WMO 4677", 61),
        ),
        address=_OPEN_METEO_DOCS,
        separator=",",
    ),
    Form(
        source="weather",
        title="Weather by the day, of Visual Crossing",
        places=_FEED_PLACES,
        style="json",
        columns=(
            Column("datetime", "day", example="2025-10-14", needed=True, stamp=VISUAL_CROSSING_STAMP),
            Column("temp", "mean temperature", "°C; `us`: °F; `base`: K", 12.1),
            Column("tempmin", "lowest temperature", "the same", 8.4),
            Column("tempmax", "highest temperature", "the same", 16.0),
            Column("precip", "rain and snow of the day", "mm; `us`: inch", 1.6),
            Column("windspeed", "highest wind", "km/h; `us` and `uk`: mph; `base`: m/s", 19.4),
            Column("conditions", "the weather in words", example="Rain"),
        ),
        address=VISUAL_CROSSING_STAMP.address,
        around='{"unitGroup": "metric", "days": [%s]}',
        notes=("- Its units follow from `unitGroup`: `metric`, `us`, `uk` or `base`.",),
    ),
)
#: Older names of the same columns.
_FORMER: Final = {
    "weathercode": "weather_code",
    "windspeed_10m": "wind_speed_10m",
    "windspeed_10m_max": "wind_speed_10m_max",
}
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
#: Visual Crossing's groups of units: temperature, precipitation, wind.
UNIT_GROUPS: Final = {
    "metric": ("°C", "mm", "km/h"),
    "us": ("°F", "inch", "mph"),
    "uk": ("°C", "mm", "mph"),
    "base": ("K", "mm", "m/s"),
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
WARMEST_NIGHT: Final = 32.0
BEYOND: Final = 40.0
#: By how many percentage points the humidity may differ from that which temperature and dew point make.
HUMIDITY_FITS: Final = 12.0
#: Where a value in °C, mm or km/h cannot lie, on any day on Earth.
POSSIBLE: Final = {
    "temperature": (-90, 60),
    "temperature_min": (-90, 60),
    "temperature_max": (-90, 60),
    "precipitation": (0, 2000),
    "wind": (0, 420),
}
#: The weather codes of the WMO (table 4677) that Open-Meteo uses, in words.
WMO: Final = {
    0: "Clear",
    1: "Mainly clear",
    2: "Partially cloudy",
    3: "Overcast",
    45: "Fog",
    48: "Rime fog",
    **dict.fromkeys((51, 53, 55), "Drizzle"),
    **dict.fromkeys((56, 57), "Freezing drizzle"),
    **dict.fromkeys((61, 63, 65), "Rain"),
    **dict.fromkeys((66, 67), "Freezing rain"),
    **dict.fromkeys((71, 73, 75, 77), "Snow"),
    **dict.fromkeys((80, 81, 82), "Rain showers"),
    **dict.fromkeys((85, 86), "Snow showers"),
    **dict.fromkeys((95, 96, 99), "Thunderstorm"),
}
_MEASURES: Final = ("temperature", "temperature_min", "temperature_max", "precipitation", "wind")


@dataclass
class Told:
    """What one file says of one day: the provider's daily figures, and its hours (begin in UTC → values)."""

    provider: str
    daily: dict[str, Any] = field(default_factory=dict)
    hours: dict[datetime, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Block:
    """A table of Open-Meteo: its `time` and its columns, by name, with the unit of each."""

    times: list[Any]
    columns: Mapping[str, list[Any]]
    units: Mapping[str, str]
    #: How its times are to be read; None: it says nothing, so they are those of the city.
    zone: tzinfo | None
    is_daily: bool
    #: The line of each row in a CSV; empty for JSON.
    lines: list[int] = field(default_factory=list)

    def assumed(self, column: str, name: str) -> str:
        """Return the unit of a column that says none: the usual one, unless one of its values cannot be in it."""
        if name not in self._assumed:
            warmest = WARMEST.get(column, POSSIBLE[column][1])
            values = [value for text in self.columns[name] if (value := number(text)) is not None]
            self._assumed[name] = _usual_unit(column) if max(values, default=0.0) <= warmest else ""
        return self._assumed[name]

    _assumed: dict[str, str] = field(default_factory=dict, repr=False, compare=False)


def curate(raw: Raw, work: Curating) -> None:
    """Bring the curated `weather` up to date.

    Raises:
        BadRaw: a batch file is no export of Open-Meteo.
    """
    days = [LocalDay(date_, work.zone) for date_ in days_between(work.first, work.last)]
    parts = parts_of(work.curated, "weather", [day.date for day in days])
    feed = Feed(raw, FEED, days)
    batch = raw.batch(BATCH, endings=(".csv", ".csv.gz", ".json", ".json.gz"))
    blocks: dict[str, list[Block]] = {}
    for n, day in enumerate(days):
        work.report(n / len(days), "weather")
        files = feed.around(day)
        raws = [*batch, *(file.raw for file in files)]
        if not raws or is_among(parts[day.date], "weather", fingerprint_of(raws)):
            continue
        rejected = Aside()
        readings: list[tuple[datetime, Told]] = []
        for file in batch:
            if file.url not in blocks:
                blocks[file.url] = read_batch(file, work)
            readings.append((file.last_modified, _of_blocks(blocks[file.url], day, file.url, rejected)))
        for document in feed.documents(files):
            readings.append((document.file.begin, read_document(document, day, rejected)))
        readings.sort(key=lambda reading: reading[0])
        row = one_day([reading for _, reading in readings], day)
        rows = pl.DataFrame([row] if row else [], schema=WEATHER)
        work.curated.write(
            "weather",
            day.date,
            "weather",
            rows,
            **facts_of(raws, rejected, rows.height + rejected.counts.total()),
        )


def look(file: RawFile, work: Curating) -> Look:
    """Return what a file of weather holds: its hours and days with a value."""
    rejected, days, rows = Aside(), [], 0
    content: Any = None
    if file.key.startswith("batch/"):
        blocks = read_batch(file, work)
    else:
        document = read_file(file)
        rejected.extend(document.aside)
        content = document.content
        blocks = _json_blocks(content)
        if content is not None and not blocks and not _has_days(content):
            rejected.add(file.url, NO_RECORDS)
    for record in content["days"] if _has_days(content) else ():
        if (day := _date(record.get("datetime")) if isinstance(record, dict) else None) is not None:
            alone = {**content, "days": [record]}
            if _visual_crossing(alone, LocalDay(day, work.zone), file.url, rejected).daily:
                rows += 1
                days.append(day)
    for block in blocks:
        names = DAILY_NAMES if block.is_daily else HOURLY_NAMES
        for n, text in enumerate(block.times):
            at = None if block.is_daily else _moment(text, block.zone or work.zone)
            date_ = _date(text, block.zone) if block.is_daily else at and at.astimezone(work.zone).date()
            if date_ is None:
                rejected.add(file.url, NO_DATE, column=_place(block, "time", n), value=text)
            elif _values_of(block, n, names, file.url, rejected):
                rows += 1
                days.append(date_)
    return look_of(rows, days, rejected.counts)


def _has_days(content: Any) -> bool:
    """Return whether a file is one of Visual Crossing."""
    return isinstance(content, dict) and isinstance(content.get("days"), list)


def one_day(readings: list[Told], day: LocalDay) -> dict[str, Any] | None:
    """Return the row of a day from what files say of it, oldest first; None where they say nothing."""
    hours: dict[datetime, dict[str, Any]] = {}
    daily: dict[str, Any] = {}
    provider, hourly_provider = "", ""
    for reading in readings:
        hours.update({at: {**hours.get(at, {}), **values} for at, values in reading.hours.items()})
        if reading.hours:
            hourly_provider = reading.provider
        if reading.daily:
            daily, provider = reading.daily, reading.provider
        elif reading.hours and _hours_known(hours) == day.hours:
            daily, provider = {}, ""  # the later file wins, as its hours fill the day
    from_hours = _from_hours(hours)
    if not daily:
        # The file of the next day tells of the rain of this day's last hour, which alone is no weather of a day.
        if not from_hours or (hours.keys() == {day.starts[-1]} and from_hours.keys() == {"precipitation"}):
            return None
        return _row(day, from_hours, hourly_provider, _hours_known(hours))
    complete = {name for name in from_hours if _hours_of(name, hours) == day.hours}
    if provider == OPEN_METEO and "precipitation" in complete:
        daily = {name: value for name, value in daily.items() if name != "precipitation"}  # see `DAILY_STAMP`
    return _row(day, {name: from_hours[name] for name in complete} | daily, provider, day.hours)


def read_document(document: Document, day: LocalDay, rejected: Aside) -> Told:
    """Return what one file of the feed says of a day; what cannot be read is added to `told`."""
    rejected.extend(document.aside)
    content, url = document.content, document.file.raw.url
    if content is None:
        return Told("")
    if _has_days(content):
        return _visual_crossing(content, day, url, rejected)
    blocks = _json_blocks(content)
    if not blocks:
        rejected.add(url, NO_RECORDS, value=repr(content)[:80])
        return Told("")
    return _of_blocks(blocks, day, url, rejected)


def read_batch(file: RawFile, work: Curating) -> list[Block]:
    """Return the tables of an export of Open-Meteo, CSV or JSON.

    Raises:
        BadRaw: it is none; the message names file, line and column.
    """
    if file.key.endswith((".json", ".json.gz")):
        content = parsed(file)
        blocks = _json_blocks(content)
        if not blocks:
            raise BadRaw(
                _(
                    '%(file)s has neither "hourly" nor "daily", so it is no export of Open-Meteo. Fetch '
                    "it again.",
                    file=file.url,
                )
            )
        return blocks
    return _csv_blocks(file, work)


# Visual Crossing


def _visual_crossing(content: dict[str, Any], day: LocalDay, url: str, rejected: Aside) -> Told:
    reading = Told(VISUAL_CROSSING)
    group = str(content.get("unitGroup") or _group_of(content)).lower()
    if group not in UNIT_GROUPS:
        if any(
            isinstance(entry, dict) and _date(entry.get("datetime")) == day.date for entry in content["days"]
        ):
            unit_group = content.get("unitGroup")
            rejected.add(
                url, UNKNOWN_UNIT if unit_group else NO_UNIT, column="unitGroup", value=unit_group or ""
            )
        return reading
    warm, wet, fast = UNIT_GROUPS[group]
    for n, entry in enumerate(content["days"]):
        where = f"days[{n}]"
        date_ = _date(entry.get("datetime")) if isinstance(entry, dict) else None
        if date_ is None:
            rejected.add(url, NO_DATE, column=f"{where}.datetime", value=entry)
        elif date_ == day.date:
            names = {"temperature": "temp", "temperature_min": "tempmin", "temperature_max": "tempmax"}
            measures = {column: (entry.get(name), warm, f"{where}.{name}") for column, name in names.items()}
            measures["precipitation"] = (entry.get("precip"), wet, f"{where}.precip")
            measures["wind"] = (entry.get("windspeed"), fast, f"{where}.windspeed")
            values = _measured(measures, url, None, rejected)
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
    """Relative humidity in % of °C and °C, after Magnus (Alduchov and Eskridge 1996, doi:10.1175/1520-0450)."""

    def pressure(degrees: float) -> float:
        degrees = min(max(degrees, -90.0), 90.0)
        return exp(17.625 * degrees / (243.04 + degrees))

    return 100 * pressure(dew_point) / pressure(temperature)


# Open-Meteo


def _json_blocks(content: Any) -> list[Block]:
    blocks: list[Block] = []
    if isinstance(content, list):
        content = content[0] if len(content) == 1 else None  # several places are no city
    if not isinstance(content, dict):
        return blocks
    zone = _zone_of(content)
    for name in ("hourly", "daily"):
        table = content.get(name)
        if isinstance(table, dict) and isinstance(table.get("time"), list):
            columns = {
                _named(key): values
                for key, values in table.items()
                if key != "time" and isinstance(values, list)
            }
            units = content.get(f"{name}_units")
            named = {
                _named(key): str(unit) for key, unit in (units.items() if isinstance(units, dict) else ())
            }
            blocks.append(Block(table["time"], columns, named, zone, name == "daily"))
    return blocks


def _csv_blocks(file: RawFile, work: Curating) -> list[Block]:
    """Return the tables of a CSV: each begins with a header, a blank line ends it, and the first may tell of the
    place.
    """
    tables: list[list[tuple[int, list[str]]]] = [[]]
    with opened(file.local(work.scratch), file.url) as text:
        for line, cells in records(text, ",", file.url):
            if any(cells):
                tables[-1].append((line, cells))
            elif tables[-1]:
                tables.append([])
    zone: tzinfo | None = None
    blocks: list[Block] = []
    for table in tables:
        if not table:
            continue
        (line, header), *rows = table
        if header[0] == "latitude" and rows:
            zone = _zone_of(dict(zip(header, rows[0][1], strict=False)))
            continue
        if header[0] != "time" or len(header) < 2:
            raise BadRaw(
                _(
                    "%(file)s, line %(number)s, column 1: a table of Open-Meteo begins with 'time', not "
                    "%(value)s.",
                    file=file.url,
                    number=line,
                    value=repr(header[0]),
                )
            )
        blocks.append(_csv_block(file.url, header, rows, zone))
    if not blocks:
        raise BadRaw(_("%(file)s, line 1: there is no table in it. Fetch it again.", file=file.url))
    return blocks


def _csv_block(url: str, header: list[str], rows: list[tuple[int, list[str]]], zone: tzinfo | None) -> Block:
    for line, cells in rows:
        if len(cells) != len(header):
            raise BadRaw(
                _(
                    "%(file)s, line %(number)s, column %(column)s: there are %(some)s cells, and the "
                    "header names %(count)s.",
                    file=url,
                    number=line,
                    column=min(len(cells), len(header)) + 1,
                    some=len(cells),
                    count=len(header),
                )
            )
    names, units = [], {}
    for line_ in header:
        name, _rest, unit = line_.partition(" (")
        names.append(_named(name))
        units[names[-1]] = unit.removesuffix(")")
    columns = {name: [cells[n] for _, cells in rows] for n, name in enumerate(names)}
    times = columns.pop("time")
    is_daily = bool(times) and len(times[0]) == len("2024-07-18")
    return Block(times, columns, units, zone, is_daily, [line for line, _ in rows])


def _zone_of(header: Mapping[str, Any]) -> tzinfo | None:
    """Open-Meteo's times carry one fixed offset, that of the moment of the answer, through all of a file."""
    seconds = number(header.get("utc_offset_seconds"))
    if seconds is not None and abs(seconds) < 24 * 3600:
        return timezone(timedelta(seconds=seconds))
    try:
        return ZoneInfo(str(header["timezone"])) if header.get("timezone") else None
    except (
        ZoneInfoNotFoundError,
        ValueError,
        OSError,
    ):  # also for folders of zones, and names without an end
        return None


def _of_blocks(blocks: list[Block], day: LocalDay, url: str, rejected: Aside) -> Told:
    reading = Told(OPEN_METEO)
    for block in blocks:
        for n, time in _rows_of(block, day, url, rejected):
            if block.is_daily:
                reading.daily.update(_values_of(block, n, DAILY_NAMES, url, rejected))
                continue
            begins: dict[datetime, dict[str, str]] = {}
            for column, name in HOURLY_NAMES.items():
                begin = HOURLY_STAMPS[column].begin_of(time)
                if day.begin <= begin < day.end:
                    begins.setdefault(begin, {})[column] = name
            for begin, names in begins.items():
                if values := _values_of(block, n, names, url, rejected):
                    reading.hours.setdefault(begin, {}).update(values)
    return reading


def _values_of(block: Block, n: int, names: Mapping[str, str], url: str, rejected: Aside) -> dict[str, Any]:
    """Column → its value in a row of a block; of the conditions, the weather code."""
    measures = {
        column: (values[n], block.units.get(name) or block.assumed(column, name), _place(block, name, n))
        for column, name in names.items()
        if column != "conditions" and (values := block.columns.get(name)) is not None and n < len(values)
    }
    measured = _measured(measures, url, block.lines[n] if block.lines else None, rejected)
    codes = block.columns.get(names.get("conditions", ""))
    code = number(codes[n]) if codes is not None and n < len(codes) else None
    return measured if code is None else measured | {"code": int(code)}


def _rows_of(block: Block, day: LocalDay, url: str, rejected: Aside) -> Iterator[tuple[int, datetime]]:
    """Yield the rows of a block that tell of a day, each with its stamp in UTC: of hours also the one that ends the
    day.
    """
    for n, text in enumerate(block.times):
        if block.is_daily:
            date_ = _date(text, block.zone)
            if date_ == day.date:
                yield n, day.begin
            failed = date_ is None
        else:
            at = _moment(text, block.zone or day.zone)
            if at is not None and day.begin <= at <= day.end:
                yield n, at
            failed = at is None
        if failed:
            line = block.lines[n] if block.lines else None
            rejected.add(url, NO_DATE, line=line, column=_place(block, "time", n), value=text)


def _place(block: Block, name: str, n: int) -> str:
    if block.lines:
        return name
    return f"{'daily' if block.is_daily else 'hourly'}.{name}[{n}]"


def _named(name: str) -> str:
    return _FORMER.get(name, name)


def _usual_unit(column: str) -> str:
    """Return what Open-Meteo writes unless it is asked for something else."""
    return {"precipitation": "mm", "wind": "km/h"}.get(column, "°C")


# Values


def _measured(
    measures: Mapping[str, tuple[Any, str, str]], url: str, line: int | None, rejected: Aside
) -> dict[str, Any]:
    """Column → its value in the table's unit; a missing value is left out, a bad one is set aside."""
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


def _hours_known(hours: Mapping[datetime, Mapping[str, Any]]) -> int:
    """Return how many hours the figures rest on: those of the measure that has the fewest."""
    counts = [_hours_of(name, hours) for name in (*_MEASURES, "code")]
    return min(count for count in counts if count)


def _hours_of(name: str, hours: Mapping[datetime, Mapping[str, Any]]) -> int:
    """Return how many hours a figure of a day rests on."""
    measure = "temperature" if name in ("temperature_min", "temperature_max") else name
    return sum(measure in values for values in hours.values())


def _from_hours(hours: Mapping[datetime, Mapping[str, Any]]) -> dict[str, Any]:
    def values_of(column: str) -> list[Any]:
        return [values[column] for values in hours.values() if column in values]

    figures: dict[str, Any] = {}
    if temperatures := values_of("temperature"):
        figures["temperature"] = fmean(temperatures)
        figures["temperature_min"] = min(temperatures)
        figures["temperature_max"] = max(temperatures)
    if rain := values_of("precipitation"):
        figures["precipitation"] = fsum(rain)
    if winds := values_of("wind"):
        figures["wind"] = max(winds)
    if codes := values_of("code"):
        figures["code"] = max(codes)  # as Open-Meteo's daily code: the most severe of the day
    return figures


def _row(day: LocalDay, values: Mapping[str, Any], provider: str, hours: int) -> dict[str, Any]:
    code = values.get("code")
    conditions = values.get("conditions") or (None if code is None else WMO.get(code, f"WMO {code}"))
    return {
        "date": day.date,
        **{name: values.get(name) for name in _MEASURES},
        "conditions": conditions,
        "provider": provider,
        "hours": hours,
    }


def _date(text: object, zone: tzinfo | None = None) -> date | None:
    """Return a date as text, or as seconds since 1970 of its local midnight."""
    if isinstance(text, int) and not isinstance(text, bool):
        at = _moment(text, UTC)
        return None if at is None else at.astimezone(zone or UTC).date()
    try:
        return date.fromisoformat(text[:10]) if isinstance(text, str) else None
    except ValueError:
        return None


def _moment(text: object, zone: tzinfo) -> datetime | None:
    try:
        if isinstance(text, int) and not isinstance(text, bool):
            return datetime.fromtimestamp(text, UTC)
        if not isinstance(text, str):
            return None
        at = datetime.fromisoformat(text)
        return (at.replace(tzinfo=zone) if at.tzinfo is None else at).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None
