"""Read the weather of Open-Meteo, by the hour or the day, as JSON or CSV, which name the unit of each column.

Of its hours temperature, wind and code are of the moment of the stamp, and precipitation fell in the hour before it
(`HOURLY_STAMPS`): what stands at 00:00 belongs to the day before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone, tzinfo
from typing import Any, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ecluse.apps.city.calendar import LocalDay
from ecluse.apps.city.errors import BadRaw
from ecluse.apps.city.raw import RawFile
from ecluse.apps.city.sources.curating import Curating
from ecluse.apps.city.sources.feed import Rejections, number, parsed
from ecluse.apps.city.sources.forms import Column, Form
from ecluse.apps.city.sources.stamps import DAY, HOUR, Stamp
from ecluse.apps.city.sources.text import opened, records
from ecluse.apps.city.sources.weather_values import (
    NO_DATE,
    POSSIBLE,
    WARMEST,
    Reading,
    date_in,
    in_our_units,
    moment_in,
)
from ecluse.sentences import _

BATCH: Final = "open-meteo"
OPEN_METEO: Final = "Open-Meteo"
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
)
#: Older names of the same columns.
_FORMER: Final = {
    "weathercode": "weather_code",
    "windspeed_10m": "wind_speed_10m",
    "windspeed_10m_max": "wind_speed_10m_max",
}


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


def read_batch(file: RawFile, work: Curating) -> list[Block]:
    """Return the tables of an export of Open-Meteo, CSV or JSON.

    Raises:
        BadRaw: it is none; the message names file, line and column.
    """
    if file.key.endswith((".json", ".json.gz")):
        content = parsed(file)
        blocks = json_blocks(content)
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


def json_blocks(content: Any) -> list[Block]:
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
    """Return the zone of a file: its times carry one fixed offset throughout, that of the moment of the answer."""
    seconds = number(header.get("utc_offset_seconds"))
    if seconds is not None and abs(seconds) < 24 * 3600:
        return timezone(timedelta(seconds=seconds))
    try:
        return ZoneInfo(str(header["timezone"])) if header.get("timezone") else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None  # also for folders of zones, and names without an end


def read_blocks(blocks: list[Block], day: LocalDay, url: str, rejected: Rejections) -> Reading:
    reading = Reading(OPEN_METEO)
    for block in blocks:
        for n, time in _rows_of(block, day, url, rejected):
            if block.is_daily:
                reading.daily.update(values_of(block, n, DAILY_NAMES, url, rejected))
                continue
            begins: dict[datetime, dict[str, str]] = {}
            for column, name in HOURLY_NAMES.items():
                begin = HOURLY_STAMPS[column].begin_of(time)
                if day.begin <= begin < day.end:
                    begins.setdefault(begin, {})[column] = name
            for begin, names in begins.items():
                if values := values_of(block, n, names, url, rejected):
                    reading.hours.setdefault(begin, {}).update(values)
    return reading


def values_of(
    block: Block, n: int, names: Mapping[str, str], url: str, rejected: Rejections
) -> dict[str, Any]:
    """Return, by column, its value in a row of a block; of the conditions, the weather code."""
    measures = {
        column: (values[n], block.units.get(name) or block.assumed(column, name), place_of(block, name, n))
        for column, name in names.items()
        if column != "conditions" and (values := block.columns.get(name)) is not None and n < len(values)
    }
    measured = in_our_units(measures, url, block.lines[n] if block.lines else None, rejected)
    codes = block.columns.get(names.get("conditions", ""))
    code = number(codes[n]) if codes is not None and n < len(codes) else None
    return measured if code is None else measured | {"code": int(code)}


def _rows_of(block: Block, day: LocalDay, url: str, rejected: Rejections) -> Iterator[tuple[int, datetime]]:
    """Yield the rows of a block that tell of a day, each with its stamp in UTC: of hours also the one that ends the
    day.
    """
    for n, text in enumerate(block.times):
        if block.is_daily:
            date_ = date_in(text, block.zone)
            if date_ == day.date:
                yield n, day.begin
            failed = date_ is None
        else:
            at = moment_in(text, block.zone or day.zone)
            if at is not None and day.begin <= at <= day.end:
                yield n, at
            failed = at is None
        if failed:
            line = block.lines[n] if block.lines else None
            rejected.add(url, NO_DATE, line=line, column=place_of(block, "time", n), value=text)


def place_of(block: Block, name: str, n: int) -> str:
    if block.lines:
        return name
    return f"{'daily' if block.is_daily else 'hourly'}.{name}[{n}]"


def _named(name: str) -> str:
    return _FORMER.get(name, name)


def _usual_unit(column: str) -> str:
    """Return what Open-Meteo writes unless it is asked for something else."""
    return {"precipitation": "mm", "wind": "km/h"}.get(column, "°C")
