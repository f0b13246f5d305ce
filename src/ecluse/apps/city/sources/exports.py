"""Fetch exports of the city's open-data portal (Explore API 2.1): the records of a day, or a whole list."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, Literal
from urllib.parse import urlencode

from ecluse.apps.city.calendar import LocalDay, days_between
from ecluse.apps.city.download import Download
from ecluse.apps.city.errors import FetchFailed
from ecluse.apps.city.fetching import (
    CSV_TYPES,
    JSON_TYPES,
    LARGEST_ANSWER,
    LARGEST_TABLE,
    Fetched,
    FetchTask,
    FetchWork,
    PortalFile,
    Stored,
    bring,
    is_there,
    kept,
    read_json,
    read_note,
    without_query,
)
from ecluse.apps.city.sources.stamps import Stamp
from ecluse.sentences import _
from ecluse.storage import read_chunks

Style = Literal["csv", "json", "geojson"]
#: For so long after a day its figures are still corrected.
SETTLES: Final = timedelta(days=3)
#: The language in which the portal names the columns, by which the sources know them.
_COLUMN_NAMES: Final = "fr"


@dataclass(frozen=True)
class DailyExport:
    """The records of one local day of a data set: those whose `column` holds a `stamp` of its hours."""

    source: str
    dataset: str
    style: Style
    column: str
    stamp: Stamp
    store: Callable[[FetchWork, LocalDay, Download], Stored]


@dataclass(frozen=True)
class WholeExport:
    """A data set that is kept whole under one `key`, and not asked for again while it is `fresh`."""

    source: str
    dataset: str
    style: Style
    key: str
    fresh: timedelta
    #: The names that its first column may have; of GeoJSON none.
    begins: tuple[str, ...] = ()


def export_url(portal: str, dataset: str, style: str, zone: str, where: str | None = None) -> str:
    """Return the address of an export, whole or of the records for which `where` holds."""
    query = {"lang": _COLUMN_NAMES, "timezone": zone}
    if style == "csv":
        query |= {"use_labels": "true", "delimiter": ";"}
    if where is not None:
        query["where"] = where
    base = f"{portal.rstrip('/')}/api/explore/v2.1/catalog/datasets/{dataset}/exports/{style}"
    return f"{base}?{urlencode(query)}"


def fetch_days(export: DailyExport, work: FetchWork, first: date, last: date) -> Iterator[FetchTask]:
    """List the requests for an export of each local day."""
    for day in days_between(first, last):
        yield _day_task(export, work, LocalDay(day, work.zone))


def fetch_whole(export: WholeExport, work: FetchWork, first: date, last: date) -> Iterator[FetchTask]:
    """List the one request for an export that is kept whole."""
    url = export_url(work.portals.opendata, export.dataset, export.style, work.zone.key)

    def store(download: Download) -> Stored:
        records = (
            _count_features(download) if export.style == "geojson" else count_lines(download, export.begins)
        )
        if records:
            work.raw.upload(download.path, export.key)
        return records, (export.key,)

    def run() -> Iterator[Fetched]:
        note = read_note(work, export.source, "all")
        if note is not None and not work.again and is_there(work, note):
            age = work.now - datetime.fromisoformat(note.fetched_at)
            if timedelta(0) <= age < export.fresh:
                yield kept(export.source, "all", note)
                return
        yield bring(
            work, PortalFile(export.source, "all", url, _types(export.style), LARGEST_ANSWER, store), note
        )

    yield FetchTask(export.source, "all", url, run)


def _day_task(export: DailyExport, work: FetchWork, day: LocalDay) -> FetchTask:
    """Ask for the hours of a local day: the records with the stamps that the publisher gives them."""
    source, what = export.source, day.date.isoformat()

    def query_for(begin: datetime, end: datetime) -> str:
        return f"{export.column} >= date'{begin.isoformat()}' AND {export.column} < date'{end.isoformat()}'"

    where = query_for(export.stamp.stamp_of(day.begin), export.stamp.stamp_of(day.end))
    formerly = query_for(day.begin, day.end)  # what notes without their `where` asked for
    url = export_url(work.portals.opendata, export.dataset, export.style, work.zone.key, where)

    def run() -> Iterator[Fetched]:
        note = read_note(work, source, what)
        if note is not None and (note.where or formerly) != where:
            note = None
        if note is not None and note.settled and not work.again and is_there(work, note):
            yield kept(source, what, note)
            return
        file = PortalFile(
            source,
            what,
            url,
            _types(export.style),
            LARGEST_TABLE,
            lambda download: export.store(work, day, download),
            settled=work.now >= day.end + SETTLES,
            where=where,
        )
        yield bring(work, file, note)

    return FetchTask(source, what, url, run)


def _types(style: Style) -> tuple[str, ...]:
    return CSV_TYPES if style == "csv" else JSON_TYPES


def count_lines(download: Download, begins: tuple[str, ...]) -> int:
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
                file=without_query(download.url),
                value=repr(first[:40]),
                column=repr(begins[0]),
            )
        )
    if last != b"\n" or is_quoted:
        raise FetchFailed(
            _("%(file)s ends within a line; give the same command again.", file=without_query(download.url))
        )
    return max(0, lines - 1)


def _count_features(download: Download) -> int:
    content = read_json(download)
    features = content.get("features") if isinstance(content, dict) else None
    if not isinstance(features, list):
        raise FetchFailed(
            _(
                "%(file)s is no GeoJSON; the portal may have changed its form.",
                file=without_query(download.url),
            )
        )
    return len(features)
