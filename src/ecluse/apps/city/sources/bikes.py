"""Curate the counts of bike counters, from the API's partitions and from batch exports.

A record gives the bikes of one counter in one hour. The API writes UTC; an export writes the offset of the
city's clocks. In Parquet a date without an offset is UTC: in the export of 2020 and 2021 that is shared as
`bike-counters-train.parquet` the morning's peak is at 7 in winter and at 6 in summer, and the hour that the
clocks leave out in March is there. What the time of a record means: `STAMP`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import polars as pl
from polars.exceptions import PolarsError

from ecluse.apps.city.calendar import LocalDay, days_between
from ecluse.apps.city.curated import Part
from ecluse.apps.city.download import Download
from ecluse.apps.city.errors import BadRaw, FetchFailed
from ecluse.apps.city.fetching import FetchWork, Stored, read_json, without_query
from ecluse.apps.city.raw import Raw, RawFile, fingerprint_of
from ecluse.apps.city.sources.curating import Curating, FileContents, contents_of
from ecluse.apps.city.sources.exports import DailyExport, fetch_days
from ecluse.apps.city.sources.feed import (
    NO_RECORDS,
    Document,
    Feed,
    Rejections,
    facts_of,
    is_among,
    number,
    origin_of,
    parts_of,
    read_file,
    text_of,
)
from ecluse.apps.city.sources.forms import Column, Form
from ecluse.apps.city.sources.source import Source
from ecluse.apps.city.sources.stamps import HOUR, Stamp
from ecluse.apps.city.sources.text import fault_of, first_line
from ecluse.apps.city.tables import BIKES, LARGEST, MOMENT, Table
from ecluse.sentences import N_, _

FEED: Final = "bikes"
BATCH: Final = ("comptage-velo-donnees-compteurs", "bike-counters")
#: Column of the table → its names in exports: of the portal, of its API, and of the shared Parquet.
COLUMNS: Final[dict[str, tuple[str, ...]]] = {
    "counter": ("Identifiant du compteur", "id_compteur", "counter_id"),
    "name": ("Nom du compteur", "nom_compteur", "counter_name"),
    "count": ("Comptage horaire", "sum_counts", "bike_count"),
    "at": ("Date et heure de comptage", "date"),
}
POSITION: Final = ("Coordonnées géographiques", "coordinates")
_ADDRESS: Final = "https://opendata.paris.fr/explore/dataset/comptage-velo-donnees-compteurs/information"
#: What the time of a record means. The publisher's description of the field says no more than these words, so that
#: the counts themselves had to tell.
STAMP: Final = Stamp(
    marks="begin",
    length=HOUR,
    clock="UTC",
    words="Date et heure de comptage",
    address=_ADDRESS,
    checked=(
        "Of the days that two counters lost whole in 2020 and 2021, each lacks the stamps 00:00 to 23:00 on the city's "
        "clocks; on working days the stamp 08:00 counts most in the morning, 18:00 in the evening, where the road "
        "sensors, whose stamps are ends, count most at 09:00 and 19:00."
    ),
)
FORMS: Final = (
    Form(
        source="bikes",
        title="Bike counters, by the hour",
        places=("api/bikes/dt=*/hour=*/*.json", "api/bikes/dt=*/*.json", "api/bikes/dt=*/*.json.gz"),
        style="json",
        columns=(
            Column("id_compteur", "identifier of the counter", example="100003096-353242251", needed=True),
            Column("nom_compteur", "its name", example="97 avenue Denfert Rochereau SO-NE"),
            Column("sum_counts", "bikes counted in the hour", "bikes", 3, needed=True),
            Column(
                "date", "hour of the count", example="2025-10-14T06:00:00+00:00", needed=True, stamp=STAMP
            ),
            Column("coordinates.lat", "latitude of the counter", "degrees", 48.83504),
            Column("coordinates.lon", "longitude of the counter", "degrees", 2.33314),
        ),
        address=_ADDRESS,
        around='{"results": [%s]}',
    ),
    Form(
        source="bikes",
        title="Bike counters, as an export",
        places=tuple(
            f"batch/{name}*{ending}" for name in BATCH for ending in (".csv", ".csv.gz", ".parquet")
        ),
        style="csv",
        columns=(
            Column(
                "Identifiant du compteur",
                "identifier of the counter",
                example="100003096-353242251",
                needed=True,
                other=COLUMNS["counter"][1:],
            ),
            Column(
                "Nom du compteur",
                "its name",
                example="97 avenue Denfert Rochereau SO-NE",
                needed=True,
                other=COLUMNS["name"][1:],
            ),
            Column(
                "Comptage horaire",
                "bikes counted in the hour",
                "bikes",
                3,
                needed=True,
                other=COLUMNS["count"][1:],
            ),
            Column(
                "Date et heure de comptage",
                "hour of the count",
                example="2025-10-14T08:00:00+02:00",
                needed=True,
                other=COLUMNS["at"][1:],
                stamp=STAMP,
            ),
            Column(
                "Coordonnées géographiques",
                "latitude and longitude of the counter",
                "degrees",
                "48.83504,2.33314",
            ),
        ),
        address=_ADDRESS,
    ),
)
NO_COUNTER: Final = _("no counter")
NO_COUNT: Final = _("no count")
BAD_COUNT: Final = _("the count is no number of bikes")
NO_TIME: Final = _("the time cannot be read")
NO_HOUR: Final = _("the time is not on the hour")


@dataclass(frozen=True)
class Count:
    """One good record, in the order of the table's columns."""

    counter: str
    name: str | None
    at: datetime
    count: float
    latitude: float | None
    longitude: float | None


def curate(raw: Raw, work: Curating) -> None:
    """Bring the curated `bikes` up to date.

    Raises:
        BadRaw: a batch file is no table of counts.
    """
    days = [LocalDay(day, work.zone) for day in days_between(work.first, work.last)]
    parts = parts_of(work.curated, "bikes", [day.date for day in days])
    feed = Feed(raw, FEED, days)
    for n, day in enumerate(days):
        work.report(n / len(days), _(SOURCE.words))
        _curate_day(feed, day, parts[day.date], work)
    for file in raw.batch(*BATCH):
        _curate_batch(file, days, parts, work)


def inspect(file: RawFile, work: Curating) -> FileContents:
    """Return what a file of counts holds, of a feed or an export."""
    if file.key.startswith("batch/"):
        table = read_batch(file.local(work.scratch), file.url)
        good = table.filter(pl.col("reason").is_null())
        days = good.select(day=pl.col("at").dt.convert_time_zone(work.zone.key).dt.date())["day"].unique()
        return contents_of(
            good.height, days.to_list(), dict(table["reason"].drop_nulls().value_counts().rows())
        )
    counts, rejected = read_document(read_file(file), None)
    return contents_of(
        len(counts), (count.at.astimezone(work.zone).date() for count in counts), rejected.counts
    )


def read_document(document: Document, day: LocalDay | None) -> tuple[list[Count], Rejections]:
    """Return the good records of one day (None: of any) in a file of the feed, and those set aside, of that day or of
    none.
    """
    rejected = Rejections()
    rejected.extend(document.rejections)
    if document.content is None:
        return [], rejected
    url = document.file.raw.url
    records = _records(document.content)
    if records is None:
        rejected.add(url, NO_RECORDS, value=_shape(document.content))
        return [], rejected
    counts: list[Count] = []
    for where, record in records:
        at = _moment(record.get("date")) if isinstance(record, dict) else None
        if at is not None and day is not None and not day.begin <= at < day.end:
            continue
        count = _count(record, at)
        if isinstance(count, Count):
            counts.append(count)
        else:
            reason, name, value = count
            rejected.add(url, reason, column=f"{where}.{name}" if name else where, value=value)
    return counts, rejected


def _curate_day(feed: Feed, day: LocalDay, parts: Sequence[Part], work: Curating) -> None:
    files = feed.around(day)
    raws = [file.raw for file in files]
    if not files or is_among(parts, "feed", fingerprint_of(raws)):
        return
    rejected_of_day = Rejections()
    counts: dict[tuple[str, datetime], Count] = {}
    for document in feed.documents(files):
        counts_of_document, rejected = read_document(document, day)
        rejected_of_day.extend(rejected)
        counts.update(((count.counter, count.at), count) for count in counts_of_document)
    rows = pl.DataFrame([vars(count) for count in counts.values()], schema=BIKES)
    records = len(counts) + rejected_of_day.counts.total()
    work.curated.write("bikes", day.date, "feed", rows, **facts_of(raws, rejected_of_day, records))


def _records(content: Any) -> Iterator[tuple[str, Any]] | None:
    """Yield each record with its place in the file; None where there is no list of them."""
    if isinstance(content, list):
        return ((f"[{n}]", record) for n, record in enumerate(content))
    if not isinstance(content, dict):
        return None
    for name in ("results", "records"):
        if isinstance(records := content.get(name), list):
            return ((f"{name}[{n}]", _flat(record)) for n, record in enumerate(records))
    return None


def _flat(record: Any) -> Any:
    """Return the fields of a record; an older API keeps them in `fields`."""
    if isinstance(record, dict) and isinstance(record.get("fields"), dict):
        return record["fields"]
    return record


def _count(record: Any, at: datetime | None) -> Count | tuple[str, str, object]:
    if not isinstance(record, dict):
        return _("the record is no object"), "", record
    counter = text_of(record.get("id_compteur"))
    if counter is None:
        return NO_COUNTER, "id_compteur", record.get("id_compteur")
    if (value := record.get("sum_counts")) is None:
        return NO_COUNT, "sum_counts", ""
    count = number(value)
    if count is None or count < 0:
        return BAD_COUNT, "sum_counts", value
    if at is None:
        return NO_TIME, "date", record.get("date")
    if at.minute or at.second or at.microsecond:
        return NO_HOUR, "date", record.get("date")
    name = text_of(record.get("nom_compteur")) or text_of(record.get("name"))
    latitude, longitude = _position(record.get("coordinates"))
    return Count(counter, name, at, count, latitude, longitude)


def _moment(text: object) -> datetime | None:
    """Return the begin of the hour of a stamp as the API writes it: UTC unless it carries another offset."""
    if not isinstance(text, str):
        return None
    try:
        moment = datetime.fromisoformat(text)
        aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        return STAMP.begin_of(aware)
    except (ValueError, OverflowError):
        return None


def _position(value: object) -> tuple[float | None, float | None]:
    """Latitude and longitude, from an object, from `[latitude, longitude]`, or from "latitude,longitude"."""
    if isinstance(value, Mapping):
        return _on_earth(value.get("lat"), value.get("lon"))
    if isinstance(value, str):
        value = value.split(",")
    if isinstance(value, list) and len(value) == 2:
        return _on_earth(value[0], value[1])
    return None, None


def _on_earth(latitude: object, longitude: object) -> tuple[float | None, float | None]:
    north, east = number(latitude), number(longitude)
    if north is None or east is None or abs(north) > 90 or abs(east) > 180:
        return None, None
    return north, east


def _shape(content: Any) -> str:
    return (
        _("an object with %(names)s", names=", ".join(list(content)[:5]))
        if isinstance(content, dict)
        else repr(content)
    )


def _curate_batch(
    file: RawFile, days: Sequence[LocalDay], parts_of_day: Mapping[date, Sequence[Part]], work: Curating
) -> None:
    origin, fingerprint = origin_of(file), fingerprint_of([file])
    stale = [day for day in days if not is_among(parts_of_day[day.date], origin, fingerprint)]
    if not stale:
        return
    table = read_batch(file.local(work.scratch), file.url)
    # a record whose time cannot be read may be of any day, so each day tells of it
    timeless = _set_aside(table.filter(pl.col("at").is_null()), file.url)
    for day in stale:
        work.report(1.0, _(SOURCE.words))
        of_day = table.filter(pl.col("at").is_between(day.begin, day.end, closed="left"))
        bad = of_day.filter(pl.col("reason").is_not_null())
        rejected = _set_aside(bad, file.url)
        rejected.extend(timeless)
        good = of_day.filter(pl.col("reason").is_null())
        rows = good.select(BIKES.names()).unique(("counter", "at"), keep="last", maintain_order=True)
        records = of_day.height + timeless.counts.total()
        work.curated.write("bikes", day.date, origin, rows, **facts_of([file], rejected, records))


def read_batch(path: Path, url: str) -> pl.DataFrame:
    """Return every record of an export: the columns of `BIKES`, with `line`, `reason` (null: it is good) and `value`.

    Raises:
        BadRaw: it is no table of counts.
    """
    table = _parquet(path, url) if ".parquet" in path.name else _csv(path, url)
    named = table.select(
        *(pl.col(_column_of(table, column, url)).alias(column) for column in COLUMNS),
        *_places(table),
        line=pl.col("line"),
    )
    count = pl.col("count").cast(pl.Float64, strict=False)
    text = pl.col("count").cast(pl.String).str.strip_chars()
    read = named.with_columns(
        counter=pl.col("counter").cast(pl.String).str.strip_chars(),
        name=pl.col("name").cast(pl.String).str.strip_chars(),
        count=count,
        at=_moments(named, "at"),
        told_count=text,
        told_at=pl.col("at").cast(pl.String),
    )
    counted = pl.col("count").is_between(0, LARGEST)
    first_fault = (
        pl.when(pl.col("counter").fill_null("") == "").then(pl.lit(NO_COUNTER))
        .when(pl.col("at").is_null()).then(pl.lit(NO_TIME))
        .when(pl.col("at") != pl.col("at").dt.truncate("1h")).then(pl.lit(NO_HOUR))
        .when(pl.col("told_count").fill_null("") == "").then(pl.lit(NO_COUNT))
        .when(~counted.fill_null(False)).then(pl.lit(BAD_COUNT))
    )  # fmt: skip
    of_count = pl.col("reason").is_in([NO_COUNT, BAD_COUNT])
    of_time = pl.col("reason").is_in([NO_TIME, NO_HOUR])
    return read.with_columns(reason=first_fault).select(
        *BIKES.names(),
        "line",
        "reason",
        value=pl.when(of_count).then("told_count").when(of_time).then("told_at").fill_null(""),
        column=pl.when(of_count)
        .then(pl.lit(_column_of(table, "count", url)))
        .when(of_time)
        .then(pl.lit(_column_of(table, "at", url)))
        .otherwise(pl.lit(_column_of(table, "counter", url))),
    )


def _set_aside(bad: pl.DataFrame, url: str) -> Rejections:
    rejected = Rejections()
    for row in bad.iter_rows(named=True):
        rejected.add(url, row["reason"], line=row["line"], column=row["column"], value=row["value"])
    return rejected


def _csv(path: Path, url: str) -> pl.DataFrame:
    head = first_line(path, url)
    separator = ";" if head.count(";") >= head.count(",") else ","
    schema = {
        name for names in (*COLUMNS.values(), POSITION, ("latitude",), ("longitude",)) for name in names
    }
    columns = [name.strip().strip('"') for name in head.split(separator)]
    try:
        return pl.read_csv(
            path,
            separator=separator,
            columns=[name for name in columns if name in schema] or None,
            infer_schema=False,
            row_index_name="line",
            row_index_offset=2,
        )
    except PolarsError as error:
        raise fault_of(path, url, separator, error) from error


def _parquet(path: Path, url: str) -> pl.DataFrame:
    try:
        return pl.read_parquet(path).with_row_index("line", offset=1)
    except (PolarsError, OSError) as error:
        raise BadRaw(
            _("%(file)s is no Parquet file: %(error)s. Fetch it again.", file=url, error=error)
        ) from error


def _column_of(table: pl.DataFrame, column: str, url: str) -> str:
    for name in COLUMNS[column]:
        if name in table.columns:
            return name
    raise BadRaw(
        _(
            "%(file)s, line 1: there is no column %(column)s, so it is no table of bike counts. "
            "It has %(columns)s.",
            file=url,
            column=repr(COLUMNS[column][0]),
            columns=", ".join(name for name in table.columns if name != "line"),
        )
    )


def _places(table: pl.DataFrame) -> list[pl.Expr]:
    """Latitude and longitude as numbers; null where they cannot be read."""
    named = next((name for name in POSITION if name in table.columns), None)
    if "latitude" in table.columns and "longitude" in table.columns:
        north, east = pl.col("latitude"), pl.col("longitude")
    elif named is not None and table.schema[named] == pl.String:
        parts = pl.col(named).str.split_exact(",", 1)
        north, east = parts.struct.field("field_0"), parts.struct.field("field_1")
    elif named is not None and isinstance(table.schema[named], pl.Struct):
        north, east = pl.col(named).struct.field("lat"), pl.col(named).struct.field("lon")
    else:
        north, east = pl.lit(None, pl.Float64), pl.lit(None, pl.Float64)
    read = [
        coordinate.cast(pl.String).str.strip_chars().cast(pl.Float64, strict=False)
        for coordinate in (north, east)
    ]
    fits = read[0].is_between(-90, 90) & read[1].is_between(-180, 180)
    return [
        pl.when(fits).then(value).alias(name)
        for value, name in zip(read, ("latitude", "longitude"), strict=True)
    ]


def _moments(table: pl.DataFrame, column: str) -> pl.Expr:
    """Return the begins of hours in UTC; a stamp without an offset is UTC."""
    written = pl.col(column)
    kind = table.schema[column]
    if isinstance(kind, pl.Datetime):
        aware = written if kind.time_zone else written.dt.replace_time_zone("UTC")
        return aware.dt.convert_time_zone("UTC").cast(MOMENT) - STAMP.shift
    text = written.cast(pl.String).str.strip_chars().str.replace(" ", "T").str.replace(r"Z$", "+00:00")
    with_offset = text.str.to_datetime("%Y-%m-%dT%H:%M:%S%z", time_unit="us", strict=False)
    without = text.str.to_datetime("%Y-%m-%dT%H:%M:%S", time_unit="us", strict=False)
    moment = pl.coalesce(with_offset.dt.convert_time_zone("UTC"), without.dt.replace_time_zone("UTC"))
    return moment - STAMP.shift


def _store_export(work: FetchWork, day: LocalDay, download: Download) -> Stored:
    """Store the records by the hour in UTC in which they were counted, each hour a file."""
    records = read_json(download)
    if not isinstance(records, list):
        raise FetchFailed(
            _(
                "%(file)s is no list of records; the portal may have changed its form.",
                file=without_query(download.url),
            )
        )
    hours: dict[str, list[Any]] = {}
    for record in records:
        at = _moment(record.get("date")) if isinstance(record, dict) else None
        begin = None if at is None else STAMP.begin_of(at)
        start = begin if begin is not None and day.begin <= begin < day.end else day.begin
        hours.setdefault(f"dt={start:%Y-%m-%d}/hour={start:%H}", []).append(record)
    keys = []
    for hour, counted in sorted(hours.items()):
        key = f"api/bikes/{hour}/comptage-velo-donnees-compteurs.json"
        work.raw.put(key, json.dumps({"results": counted}, ensure_ascii=False).encode())
        keys.append(key)
    return len(records), tuple(keys)


_EXPORT: Final = DailyExport(
    source="bikes",
    dataset="comptage-velo-donnees-compteurs",
    style="json",
    column="date",
    stamp=STAMP,
    store=_store_export,
)
SOURCE: Final = Source(
    name="bikes",
    title=N_("Bike counters"),
    words=N_("bikes"),
    table=Table(BIKES, ("counter", "at"), has_history=True, is_measured=True),
    forms=FORMS,
    curate=curate,
    inspect=inspect,
    lacks="no bikes",
    fetch=partial(fetch_days, _EXPORT),
)
