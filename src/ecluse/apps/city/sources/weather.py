"""Curate one row of weather per day, from Visual Crossing and Open-Meteo: the API's partitions and exports.

The later file wins; a daily figure is taken before the hours of the same file (but for Open-Meteo's rain), and hours
that do not fill the day leave a daily figure of an earlier file as it is. A value that the figure lacks is taken from
the hours, where they fill the day.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from math import fsum
from statistics import fmean
from typing import Any, Final

import polars as pl

from ecluse.apps.city.calendar import LocalDay, days_between
from ecluse.apps.city.raw import Raw, RawFile, fingerprint_of
from ecluse.apps.city.sources import open_meteo, visual_crossing
from ecluse.apps.city.sources.curating import Curating, FileContents, contents_of
from ecluse.apps.city.sources.feed import (
    NO_RECORDS,
    Document,
    Feed,
    Rejections,
    facts_of,
    is_among,
    parts_of,
    read_file,
)
from ecluse.apps.city.sources.open_meteo import BATCH, OPEN_METEO, Block
from ecluse.apps.city.sources.source import Source
from ecluse.apps.city.sources.weather_service import fetch
from ecluse.apps.city.sources.weather_values import NO_DATE, Reading, date_in, moment_in
from ecluse.apps.city.tables import WEATHER, Table
from ecluse.sentences import N_, _

FEED: Final = "weather"
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
        work.report(n / len(days), _(SOURCE.words))
        files = feed.around(day)
        raws = [*batch, *(file.raw for file in files)]
        if not raws or is_among(parts[day.date], "weather", fingerprint_of(raws)):
            continue
        rejected = Rejections()
        readings: list[tuple[datetime, Reading]] = []
        for file in batch:
            if file.url not in blocks:
                blocks[file.url] = open_meteo.read_batch(file, work)
            readings.append(
                (file.last_modified, open_meteo.read_blocks(blocks[file.url], day, file.url, rejected))
            )
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


def inspect(file: RawFile, work: Curating) -> FileContents:
    """Return what a file of weather holds: its hours and days with a value."""
    rejected, days, rows = Rejections(), [], 0
    content: Any = None
    if file.key.startswith("batch/"):
        blocks = open_meteo.read_batch(file, work)
    else:
        document = read_file(file)
        rejected.extend(document.rejections)
        content = document.content
        blocks = open_meteo.json_blocks(content)
        if content is not None and not blocks and not visual_crossing.has_days(content):
            rejected.add(file.url, NO_RECORDS)
    for record in content["days"] if visual_crossing.has_days(content) else ():
        if (day := date_in(record.get("datetime")) if isinstance(record, dict) else None) is not None:
            alone = {**content, "days": [record]}
            if visual_crossing.read_days(alone, LocalDay(day, work.zone), file.url, rejected).daily:
                rows += 1
                days.append(day)
    for block in blocks:
        names = open_meteo.DAILY_NAMES if block.is_daily else open_meteo.HOURLY_NAMES
        for n, text in enumerate(block.times):
            at = None if block.is_daily else moment_in(text, block.zone or work.zone)
            date_ = date_in(text, block.zone) if block.is_daily else at and at.astimezone(work.zone).date()
            if date_ is None:
                rejected.add(file.url, NO_DATE, column=open_meteo.place_of(block, "time", n), value=text)
            elif open_meteo.values_of(block, n, names, file.url, rejected):
                rows += 1
                days.append(date_)
    return contents_of(rows, days, rejected.counts)


def one_day(readings: list[Reading], day: LocalDay) -> dict[str, Any] | None:
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


def read_document(document: Document, day: LocalDay, rejected: Rejections) -> Reading:
    """Return what one file of the feed says of a day; what cannot be read is added to `told`."""
    rejected.extend(document.rejections)
    content, url = document.content, document.file.raw.url
    if content is None:
        return Reading("")
    if visual_crossing.has_days(content):
        return visual_crossing.read_days(content, day, url, rejected)
    blocks = open_meteo.json_blocks(content)
    if not blocks:
        rejected.add(url, NO_RECORDS, value=repr(content)[:80])
        return Reading("")
    return open_meteo.read_blocks(blocks, day, url, rejected)


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


SOURCE: Final = Source(
    name="weather",
    title=N_("Weather"),
    words=N_("weather"),
    table=Table(WEATHER, ("date",), has_history=True, is_measured=True),
    forms=(*open_meteo.FORMS, visual_crossing.FORM),
    curate=curate,
    inspect=inspect,
    lacks="no weather, and no effect of it",
    fetch=fetch,
)
