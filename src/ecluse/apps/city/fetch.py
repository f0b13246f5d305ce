"""Fetch open data into the raw layout: Paris's portal, Open-Meteo, and the disruptions of Île-de-France.

    fetch_data(raw, first, last, scratch, zone=zone, sources=("roads", "weather"), report=report)

What came whole is noted in `fetch/` beside the data and not asked for again, so that the same call goes on where it
stopped; what the source may still correct is asked for again, and written only where it changed. A file appears under
its name when it has come whole and is what its name says.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal, get_args
from urllib.parse import urlencode, urlsplit
from zoneinfo import ZoneInfo

from ecluse.apps.city.calendar import LocalDay, days_between, expect_days
from ecluse.apps.city.download import Download, Downloads, Known, Pace
from ecluse.apps.city.progress import Report, named
from ecluse.apps.city.provenance import is_invented
from ecluse.apps.city.sources import bikes, road_records
from ecluse.apps.city.sources.stamps import Stamp
from ecluse.errors import FetchFailed, InvalidInput, KeyConflict, ObjectNotFound
from ecluse.sentences import _
from ecluse.settings import Secret
from ecluse.storage import ObjectStore, read_chunks
from ecluse.storage.side_by_side import transfer_all

Source = Literal["roads", "bikes", "disruptions", "weather", "works", "arcs", "zones"]
SOURCES: Final[tuple[Source, ...]] = get_args(Source)
#: fetched: new or changed. unchanged: asked for, and as it was. kept: whole already, not asked for. empty: the portal
#: has nothing for it. failed, skipped: the reason is told.
Outcome = Literal["fetched", "unchanged", "kept", "empty", "failed", "skipped"]

#: Bounds against an answer without end; 13 months of roads have 6.2 GB, a day of them 16 MB.
LARGEST_TABLE: Final = 1024 * 1024 * 1024
LARGEST_ANSWER: Final = 256 * 1024 * 1024
#: For so long after a day its figures are still corrected.
SETTLES: Final = timedelta(days=3)
#: The archive of the weather lags some days behind (open-meteo.com/en/docs/historical-weather-api); days that are not
#: older than this come from the analysis of the forecast.
WEATHER_SETTLES: Final = 7
#: As many days of weather come with one request.
WEATHER_DAYS: Final = 31
#: A list that is kept whole is not asked for again within so long.
FRESH: Final[Mapping[Source, timedelta]] = {
    "works": timedelta(hours=6), "arcs": timedelta(days=7), "zones": timedelta(days=30),
}  # fmt: skip
CSV_TYPES: Final = ("text/csv", "application/csv", "text/plain")
JSON_TYPES: Final = ("application/json", "application/geo+json", "application/vnd.geo+json", "text/json")
_HOURLY: Final = "temperature_2m,precipitation,wind_speed_10m,weather_code"


@dataclass(frozen=True)
class Portals:
    """Where the data is. `latitude`, `longitude`: of the weather."""

    opendata: str = "https://opendata.paris.fr"
    archive: str = "https://archive-api.open-meteo.com"
    forecast: str = "https://api.open-meteo.com"
    prim: str = "https://prim.iledefrance-mobilites.fr"
    latitude: float = 48.8566
    longitude: float = 2.3522


@dataclass(frozen=True)
class Fetched:
    """What became of one thing to fetch: a source, and the day or the list that it is."""

    source: Source
    what: str
    outcome: Outcome
    keys: tuple[str, ...] = ()
    size: int = 0
    records: int | None = None
    reason: str | None = None


@dataclass(frozen=True)
class _Note:
    """What is noted in the store of something that was fetched."""

    sha256: str
    size: int
    records: int
    keys: tuple[str, ...]
    fetched_at: str
    #: Its figures are not corrected any more.
    settled: bool
    etag: str | None = None
    last_modified: str | None = None
    #: Which records were asked for; other ones have to be asked for again.
    where: str = ""


@dataclass(frozen=True)
class _Work:
    raw: ObjectStore
    downloads: Downloads
    portals: Portals
    zone: ZoneInfo
    key: Secret | None
    again: bool
    now: datetime


@dataclass(frozen=True)
class _Task:
    """One request's worth of work."""

    source: Source
    what: str
    url: str
    run: Callable[[], Iterable[Fetched]] = field(compare=False)


def fetch_data(
    raw: ObjectStore,
    first: date,
    last: date,
    scratch: Path,
    *,
    sources: Sequence[Source] = SOURCES,
    portals: Portals | None = None,
    zone: ZoneInfo,
    key: Secret | None = None,
    again: bool = False,
    pace: Pace | None = None,
    report: Report = lambda fraction, doing: None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[Fetched]:
    """Fetch what `sources` have for the local days from `first` to `last`; what became of each.

    `key`: of the portal of disruptions; without one they are skipped. `again`: ask for what is there already.
    What cannot be had is told and the rest goes on; a host that is away is not asked for the rest.

    Raises:
        KeyConflict: the store holds the sample, and true data would mix with it.
        InvalidInput: a period that is to come, or none.
    """
    expect_days(first, first)
    if not first <= last <= now().astimezone(zone).date():
        raise InvalidInput(
            _(
                "From %(first)s to %(last)s is no period that has passed; there is no data to fetch yet.",
                first=first,
                last=last,
            )
        )
    if is_invented(raw):
        raise KeyConflict(
            _(
                "%(store)s holds the sample, which is invented; nothing was fetched. Fetch elsewhere: "
                "ecluse city fetch --raw file:///another/folder, or remove the sample: ecluse city "
                "demo --remove",
                store=raw.url,
            )
        )
    done, doing = 0.0, ""

    def beat() -> None:
        report(min(done, 0.999), doing)

    work = _Work(raw, Downloads(scratch, pace=pace, beat=beat), portals or Portals(), zone, key, again, now())
    tasks = [task for source in SOURCES if source in sources for task in _tasks(work, source, first, last)]
    results: list[Fetched] = []
    away: dict[str, str] = {}
    for n, task in enumerate(tasks):
        done, doing = n / len(tasks), _fetching(task)
        beat()
        results += _run(task, away)
    return results


def _fetching(task: _Task) -> str:
    """Say what is fetched: `fetching weather: 2025-10-01 to 2025-10-07`."""
    source_name = named(task.source)
    if task.what in ("all", "now"):
        return (
            _("fetching %(what)s: all", what=source_name)
            if task.what == "all"
            else _("fetching %(what)s: now", what=source_name)
        )
    first, to, last = task.what.partition(" to ")
    if to:
        return _("fetching %(what)s: %(first)s to %(last)s", what=source_name, first=first, last=last)
    return _("fetching %(what)s: %(day)s", what=source_name, day=task.what)


def _run(task: _Task, away: dict[str, str]) -> list[Fetched]:
    host = urlsplit(task.url).netloc
    if host in away:
        return [Fetched(task.source, task.what, "skipped", reason=f"{host} was not asked any more.")]
    results: list[Fetched] = []
    try:
        results.extend(task.run())
    except FetchFailed as error:
        results.append(Fetched(task.source, task.what, "failed", reason=str(error)))
        if error.__cause__ is not None:  # the host itself, after every attempt
            away[host] = str(error)
    return results


def _tasks(work: _Work, source: Source, first: date, last: date) -> Iterator[_Task]:
    if source == "roads":
        for day in days_between(first, last):
            stamp = road_records.STAMP
            yield _day_task(
                work, "roads", day, "comptages-routiers-permanents", "csv", ("t_1h", stamp), _store_roads
            )
    elif source == "bikes":
        for day in days_between(first, last):
            date_field = ("date", bikes.STAMP)
            yield _day_task(
                work, "bikes", day, "comptage-velo-donnees-compteurs", "json", date_field, _store_bikes
            )
    elif source == "disruptions":
        yield _disruptions(work)
    elif source == "weather":
        yield from _weather(work, first, last)
    elif source == "works":
        yield _list_task(work, "works", "chantiers-perturbants", "csv", _WORKS, ("Identifiant", "id"))
    elif source == "arcs":
        yield _list_task(
            work, "arcs", "referentiel-comptages-routiers", "csv", _ARCS, ("Identifiant arc", "iu_ac")
        )
    else:
        yield _list_task(work, "zones", "arrondissements", "geojson", _ZONES, ())


# The portal of the city: exports of whole data sets, or of a day

_WORKS: Final = "batch/chantiers-perturbants-la-circulation.csv"
_ARCS: Final = "batch/referentiel-geographique-pour-les-donnees-trafic-issues-des-capteurs-permanents.csv"
_ZONES: Final = "batch/arrondissements.geojson"
Store = Callable[[_Work, LocalDay, Download], tuple[int, tuple[str, ...]]]


def export_url(portal: str, dataset: str, form: str, zone: str, where: str | None = None) -> str:
    """Return the address of an export of the Explore API 2.1, whole or of the records for which `where` holds."""
    query = {"lang": "fr", "timezone": zone}
    if form == "csv":
        query |= {"use_labels": "true", "delimiter": ";"}
    if where is not None:
        query["where"] = where
    base = f"{portal.rstrip('/')}/api/explore/v2.1/catalog/datasets/{dataset}/exports/{form}"
    return f"{base}?{urlencode(query)}"


def _day_task(
    work: _Work,
    source: Source,
    day: date,
    dataset: str,
    form: str,
    date_field: tuple[str, Stamp],
    store: Store,
) -> _Task:
    """Ask for the hours of a local day: the records with the stamps that the publisher gives them."""
    local = LocalDay(day, work.zone)
    column, stamp = date_field

    def query_for(begin: datetime, end: datetime) -> str:
        return f"{column} >= date'{begin.isoformat()}' AND {column} < date'{end.isoformat()}'"

    where = query_for(stamp.stamp_of(local.begin), stamp.stamp_of(local.end))
    formerly = query_for(local.begin, local.end)  # what notes without their `where` asked for
    url = export_url(work.portals.opendata, dataset, form, work.zone.key, where)

    def run() -> Iterator[Fetched]:
        note = _note(work, source, day.isoformat())
        if note is not None and (note.where or formerly) != where:
            note = None
        if note is not None and note.settled and not work.again and _is_there(work, note):
            yield Fetched(source, day.isoformat(), "kept", note.keys, note.size, note.records)
            return
        types = CSV_TYPES if form == "csv" else JSON_TYPES
        settled = work.now >= local.end + SETTLES
        yield _bring(
            work, source, day.isoformat(), url, types, LARGEST_TABLE, note,
            lambda download: store(work, local, download), settled=settled, where=where,
        )  # fmt: skip

    return _Task(source, day.isoformat(), url, run)


def _list_task(
    work: _Work, source: Source, dataset: str, form: str, key: str, begins: tuple[str, ...]
) -> _Task:
    url = export_url(work.portals.opendata, dataset, form, work.zone.key)

    def store(download: Download) -> tuple[int, tuple[str, ...]]:
        records = _features(download) if form == "geojson" else _lines(download, begins)
        if records:
            work.raw.upload(download.path, key)
        return records, (key,)

    def run() -> Iterator[Fetched]:
        note = _note(work, source, "all")
        if note is not None and not work.again and _is_there(work, note):
            age = work.now - datetime.fromisoformat(note.fetched_at)
            if timedelta(0) <= age < FRESH[source]:
                yield Fetched(source, "all", "kept", note.keys, note.size, note.records)
                return
        types = CSV_TYPES if form == "csv" else JSON_TYPES
        yield _bring(work, source, "all", url, types, LARGEST_ANSWER, note, store, settled=False)

    return _Task(source, "all", url, run)


def _store_roads(work: _Work, day: LocalDay, download: Download) -> tuple[int, tuple[str, ...]]:
    key = f"batch/comptages-routiers-permanents-{day.date.isoformat()}.csv"
    records = _lines(download, ("Identifiant arc", "iu_ac"))
    if records:
        work.raw.upload(download.path, key)
    return records, (key,)


def _store_bikes(work: _Work, day: LocalDay, download: Download) -> tuple[int, tuple[str, ...]]:
    """Return the records by the hour in UTC in which they were counted, each hour a file."""
    records = _json(download)
    if not isinstance(records, list):
        raise FetchFailed(
            _(
                "%(file)s is no list of records; the portal may have changed its form.",
                file=_place(download.url),
            )
        )
    hours: dict[str, list[Any]] = {}
    for record in records:
        at = _moment(record.get("date")) if isinstance(record, dict) else None
        begin = None if at is None else bikes.STAMP.begin_of(at)
        start = begin if begin is not None and day.begin <= begin < day.end else day.begin
        hours.setdefault(f"dt={start:%Y-%m-%d}/hour={start:%H}", []).append(record)
    keys = []
    for hour, counted in sorted(hours.items()):
        key = f"api/bikes/{hour}/comptage-velo-donnees-compteurs.json"
        work.raw.put(key, json.dumps({"results": counted}, ensure_ascii=False).encode())
        keys.append(key)
    return len(records), tuple(keys)


# The weather: hours in UTC, as many days as there are in a request


def _weather(work: _Work, first: date, last: date) -> Iterator[_Task]:
    """Yield all days of UTC that the local days touch. Rain of the last hour stands at the midnight that ends it."""
    today = work.now.date()
    begin, end = LocalDay(first, work.zone).begin, LocalDay(last, work.zone).end
    days = [day for day in days_between(begin.date(), end.date()) if day <= today]
    open_days = []
    for day in days:
        note = _note(work, "weather", day.isoformat())
        if note is not None and note.settled and not work.again and _is_there(work, note):
            continue
        open_days.append(day)
    if days and not open_days:
        url = work.portals.archive
        period = f"{days[0]} to {days[-1]}"
        yield _Task("weather", period, url, lambda: [Fetched("weather", period, "kept")])
    for run in _runs(open_days, lambda day: _is_archived(work, day)):
        yield _weather_task(work, run)


def _is_archived(work: _Work, day: date) -> bool:
    return day < work.now.date() - timedelta(days=WEATHER_SETTLES)


def _runs(days: Sequence[date], kind: Callable[[date], bool]) -> Iterator[list[date]]:
    """Days that follow each other and are of one kind, at most `WEATHER_DAYS` together."""
    run: list[date] = []
    for day in days:
        if run and (
            day - run[-1] != timedelta(days=1) or kind(day) != kind(run[0]) or len(run) == WEATHER_DAYS
        ):
            yield run
            run = []
        run.append(day)
    if run:
        yield run


def _weather_task(work: _Work, days: list[date]) -> _Task:
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
    period = f"{days[0]} to {days[-1]}"

    def run() -> Iterator[Fetched]:
        with work.downloads.get(url, types=JSON_TYPES, largest=LARGEST_ANSWER) as download:
            assert download is not None  # noqa: S101 (no condition was set)
            content = _json(download)
        if not isinstance(content, dict) or not _has_hours(content):
            raise FetchFailed(
                _(
                    "%(file)s is no weather by the hour; the service may have changed its form.",
                    file=_place(url),
                )
            )
        for day in days:
            yield _store_weather(work, day, content, settled=is_archived)

    return _Task("weather", period, url, run)


def _store_weather(work: _Work, day: date, content: dict[str, Any], *, settled: bool) -> Fetched:
    key = f"api/weather/dt={day.isoformat()}/hour=00/open-meteo.json"
    at = [n for n, moment in enumerate(content["hourly"]["time"]) if str(moment).startswith(day.isoformat())]
    hourly = {name: [values[n] for n in at] for name, values in content["hourly"].items()}
    measured = sum(value is not None for value in hourly["temperature_2m"])
    if not measured:
        return Fetched(
            "weather", day.isoformat(), "empty", reason="The service has no weather for this day yet."
        )
    stored = {name: value for name, value in content.items() if name not in ("hourly", "generationtime_ms")}
    data = json.dumps(stored | {"hourly": hourly}, ensure_ascii=False, sort_keys=True).encode()
    digest = hashlib.sha256(data).hexdigest()
    before = _note(work, "weather", day.isoformat())
    is_same = before is not None and before.sha256 == digest and _is_there(work, before)
    if not is_same:
        work.raw.put(key, data)
    is_complete = settled and measured == len(at)
    note = _Note(digest, len(data), measured, (key,), work.now.isoformat(), is_complete)
    _write_note(work, "weather", day.isoformat(), note)
    return Fetched(
        "weather", day.isoformat(), "unchanged" if is_same else "fetched", (key,), len(data), measured
    )


def _has_hours(content: dict[str, Any]) -> bool:
    hourly = content.get("hourly")
    if not isinstance(hourly, dict) or not {"time", *_HOURLY.split(",")} <= hourly.keys():
        return False
    return all(isinstance(values, list) and len(values) == len(hourly["time"]) for values in hourly.values())


# Disruptions: what the portal knows now


def _disruptions(work: _Work) -> _Task:
    url = f"{work.portals.prim}/marketplace/disruptions_bulk/disruptions/v2"

    def run() -> Iterator[Fetched]:
        if work.key is None:
            reason = "It needs a key of the portal: set IDFM_API_KEY."
            yield Fetched("disruptions", "now", "skipped", reason=reason)
            return
        headers = {"apikey": str(work.key)}
        with work.downloads.get(url, types=JSON_TYPES, largest=LARGEST_ANSWER, headers=headers) as download:
            assert download is not None  # noqa: S101 (no condition was set)
            yield _store_disruptions(work, download)

    return _Task("disruptions", "now", url, run)


def _store_disruptions(work: _Work, download: Download) -> Fetched:
    content = _json(download)
    lists = [content.get(name) for name in ("disruptions", "lines")] if isinstance(content, dict) else [None]
    if not all(isinstance(list_, list) for list_ in lists):
        raise FetchFailed(
            _(
                "%(file)s lacks disruptions or lines; the portal may have changed its form.",
                file=_place(download.url),
            )
        )
    now = work.now.astimezone(UTC)
    key = f"api/traffic/dt={now:%Y-%m-%d}/hour={now:%H}/disruptions-bulk-{now:%H%M%S}.json"
    work.raw.upload(download.path, key)
    return Fetched("disruptions", "now", "fetched", (key,), download.size, len(content["disruptions"]))


# What came, and what is noted of it


def _bring(
    work: _Work,
    source: Source,
    title: str,
    url: str,
    types: tuple[str, ...],
    largest: int,
    note: _Note | None,
    store: Callable[[Download], tuple[int, tuple[str, ...]]],
    *,
    settled: bool,
    where: str = "",
) -> Fetched:
    """Download, and write what changed."""
    is_there = note is not None and _is_there(work, note)
    validators = (
        Known(note.etag, note.last_modified) if note is not None and is_there and not work.again else None
    )
    with work.downloads.get(url, types=types, largest=largest, validators=validators) as download:
        if download is not None:
            before = note if is_there else None
            return _keep(work, source, title, download, before, store, settled=settled, where=where)
    assert note is not None  # noqa: S101 (it was asked whether it changed)
    _write_note(work, source, title, replace(note, fetched_at=work.now.isoformat(), settled=settled))
    return Fetched(source, title, "unchanged", note.keys, note.size, note.records)


def _keep(
    work: _Work,
    source: Source,
    title: str,
    download: Download,
    before: _Note | None,
    store: Callable[[Download], tuple[int, tuple[str, ...]]],
    *,
    settled: bool,
    where: str = "",
) -> Fetched:
    """Write what came, unless it is what is there `before`."""
    digest = hashlib.sha256()
    for chunk in read_chunks(download.path):
        digest.update(chunk)
    is_same = before is not None and before.sha256 == digest.hexdigest()
    records, keys = (before.records, before.keys) if before is not None and is_same else store(download)
    if not records:
        return Fetched(source, title, "empty", reason="The portal has no records for it.")
    validators = download.known
    _write_note(
        work,
        source,
        title,
        _Note(
            digest.hexdigest(),
            download.size,
            records,
            keys,
            work.now.isoformat(),
            settled,
            validators.etag,
            validators.last_modified,
            where,
        ),
    )
    return Fetched(source, title, "unchanged" if is_same else "fetched", keys, download.size, records)


def _note(work: _Work, source: Source, title: str) -> _Note | None:
    try:
        content = json.loads(work.raw.get(_note_key(source, title)))
    except ObjectNotFound:
        return None
    return _Note(**{**content, "keys": tuple(content["keys"])})


def _write_note(work: _Work, source: Source, title: str, note: _Note) -> None:
    work.raw.put(_note_key(source, title), json.dumps(asdict(note), sort_keys=True).encode())


def _note_key(source: Source, title: str) -> str:
    return f"fetch/{source}/{title}.json"


def _is_there(work: _Work, note: _Note) -> bool:
    return all(transfer_all(lambda key, _: work.raw.exists(key), note.keys))


def _lines(download: Download, begins: tuple[str, ...]) -> int:
    """Return how many records a table has; a cell may have several lines.

    Raises:
        FetchFailed: it does not begin with one of these columns, or its last line is not whole.
    """
    lines, last, head, is_quoted = 0, b"\n", b"", False
    for chunk in read_chunks(download.path):
        head = head or chunk[:200]
        for n, piece in enumerate(chunk.split(b'"')):
            is_quoted ^= n > 0
            lines += 0 if is_quoted else piece.count(b"\n")
        last = chunk[-1:]
    first = head.decode("utf-8-sig", errors="replace").partition("\n")[0].strip().partition(";")[0].strip('"')
    if download.size and first.lower() not in [name.lower() for name in begins]:
        raise FetchFailed(
            _(
                "%(file)s begins with the column %(value)s, not with %(column)s; the portal may have "
                "changed its form.",
                file=_place(download.url),
                value=repr(first[:40]),
                column=repr(begins[0]),
            )
        )
    if last != b"\n" or is_quoted:
        raise FetchFailed(
            _("%(file)s ends within a line; give the same command again.", file=_place(download.url))
        )
    return max(0, lines - 1)


def _features(download: Download) -> int:
    content = _json(download)
    features = content.get("features") if isinstance(content, dict) else None
    if not isinstance(features, list):
        raise FetchFailed(
            _("%(file)s is no GeoJSON; the portal may have changed its form.", file=_place(download.url))
        )
    return len(features)


def _json(download: Download) -> Any:
    try:
        return json.loads(download.path.read_bytes())
    except ValueError as error:
        raise FetchFailed(
            _(
                "%(file)s is no whole JSON: %(error)s. Give the same command again.",
                file=_place(download.url),
                error=error,
            )
        ) from None


def _moment(text: object) -> datetime | None:
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def _place(url: str) -> str:
    return url.partition("?")[0]
