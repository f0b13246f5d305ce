"""Fetch the weather of Open-Meteo: hours in UTC, as many days as there are in a request, each day a file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from datetime import date, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from ecluse.apps.city.calendar import LocalDay, days_between
from ecluse.apps.city.errors import FetchFailed
from ecluse.apps.city.fetching import (
    JSON_TYPES,
    LARGEST_ANSWER,
    Fetched,
    FetchTask,
    FetchWork,
    Note,
    is_there,
    read_json,
    read_note,
    without_query,
    write_note,
)
from ecluse.sentences import _

SOURCE_NAME: Final = "weather"
#: The archive of the weather lags some days behind (open-meteo.com/en/docs/historical-weather-api); days that are not
#: older than this come from the analysis of the forecast.
SETTLES: Final = 7
#: As many days come with one request.
MOST_DAYS: Final = 31
_HOURLY: Final = "temperature_2m,precipitation,wind_speed_10m,weather_code"


def fetch(work: FetchWork, first: date, last: date) -> Iterator[FetchTask]:
    """List the requests for all days of UTC that the local days touch.

    Rain of the last hour stands at the midnight that ends it.
    """
    today = work.now.date()
    begin, end = LocalDay(first, work.zone).begin, LocalDay(last, work.zone).end
    days = [day for day in days_between(begin.date(), end.date()) if day <= today]
    open_days = [day for day in days if not _is_settled(work, day)]
    if days and not open_days:
        period = f"{days[0]} to {days[-1]}"
        yield FetchTask(
            SOURCE_NAME, period, work.portals.archive, lambda: [Fetched(SOURCE_NAME, period, "kept")]
        )
    for run in _runs(open_days, lambda day: _is_archived(work, day)):
        yield _task(work, run)


def _is_settled(work: FetchWork, day: date) -> bool:
    note = read_note(work, SOURCE_NAME, day.isoformat())
    return note is not None and note.settled and not work.again and is_there(work, note)


def _is_archived(work: FetchWork, day: date) -> bool:
    return day < work.now.date() - timedelta(days=SETTLES)


def _runs(days: Sequence[date], kind: Callable[[date], bool]) -> Iterator[list[date]]:
    """Yield days that follow each other and are of one kind, at most `MOST_DAYS` together."""
    run: list[date] = []
    for day in days:
        if run and (day - run[-1] != timedelta(days=1) or kind(day) != kind(run[0]) or len(run) == MOST_DAYS):
            yield run
            run = []
        run.append(day)
    if run:
        yield run


def _task(work: FetchWork, days: list[date]) -> FetchTask:
    is_archived = _is_archived(work, days[0])
    base = f"{work.portals.archive}/v1/archive" if is_archived else f"{work.portals.forecast}/v1/forecast"
    query = {
        "latitude": work.portals.latitude,
        "longitude": work.portals.longitude,
        "start_date": days[0].isoformat(),
        "end_date": days[-1].isoformat(),
        "hourly": _HOURLY,
        "timezone": "GMT",
    }
    url = f"{base}?{urlencode(query)}"

    def run() -> Iterator[Fetched]:
        with work.downloads.get(url, types=JSON_TYPES, largest=LARGEST_ANSWER) as download:
            assert download is not None  # noqa: S101 (no condition was set)
            content = read_json(download)
        if not isinstance(content, dict) or not _has_hours(content):
            raise FetchFailed(
                _(
                    "%(file)s is no weather by the hour; the service may have changed its form.",
                    file=without_query(url),
                )
            )
        for day in days:
            yield _store(work, day, content, settled=is_archived)

    return FetchTask(SOURCE_NAME, f"{days[0]} to {days[-1]}", url, run)


def _store(work: FetchWork, day: date, content: dict[str, Any], *, settled: bool) -> Fetched:
    what = day.isoformat()
    key = f"api/weather/dt={what}/hour=00/open-meteo.json"
    at = [n for n, moment in enumerate(content["hourly"]["time"]) if str(moment).startswith(what)]
    hourly = {name: [values[n] for n in at] for name, values in content["hourly"].items()}
    measured = sum(value is not None for value in hourly["temperature_2m"])
    if not measured:
        return Fetched(SOURCE_NAME, what, "empty", reason="The service has no weather for this day yet.")
    stored = {name: value for name, value in content.items() if name not in ("hourly", "generationtime_ms")}
    data = json.dumps(stored | {"hourly": hourly}, ensure_ascii=False, sort_keys=True).encode()
    digest = hashlib.sha256(data).hexdigest()
    before = read_note(work, SOURCE_NAME, what)
    is_same = before is not None and before.sha256 == digest and is_there(work, before)
    if not is_same:
        work.raw.put(key, data)
    note = Note(
        digest, len(data), measured, (key,), work.now.isoformat(), settled=settled and measured == len(at)
    )
    write_note(work, SOURCE_NAME, what, note)
    return Fetched(SOURCE_NAME, what, "unchanged" if is_same else "fetched", (key,), len(data), measured)


def _has_hours(content: dict[str, Any]) -> bool:
    hourly = content.get("hourly")
    if not isinstance(hourly, dict) or not {"time", *_HOURLY.split(",")} <= hourly.keys():
        return False
    return all(isinstance(values, list) and len(values) == len(hourly["time"]) for values in hourly.values())
