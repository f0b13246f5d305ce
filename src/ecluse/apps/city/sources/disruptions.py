"""Curate the disruptions of public transport, in the forms of Navitia and of PRIM's bulk answer.

Navitia tells each disruption with the objects that it concerns; PRIM tells disruptions and lines apart, in one
file or in two, and each line names its disruptions. Lines come from these fields alone: of 34 disruptions of the
metro in a real answer the words "Ligne N" in their text find none, and find ten that are not there.

Both write the city's clocks without an offset. A file is a snapshot: those made during the local day, and those of
the partition of its date, are merged disruption by disruption, and the later file wins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from typing import Any, Final
from zoneinfo import ZoneInfo

import polars as pl

from ecluse.apps.city.calendar import LocalDay, days_between
from ecluse.apps.city.download import Download
from ecluse.apps.city.errors import FetchFailed
from ecluse.apps.city.fetching import (
    JSON_TYPES,
    LARGEST_ANSWER,
    Fetched,
    FetchTask,
    FetchWork,
    read_json,
    without_query,
)
from ecluse.apps.city.raw import Raw, RawFile, fingerprint_of
from ecluse.apps.city.sources.curating import Curating, FileContents, contents_of
from ecluse.apps.city.sources.feed import (
    NO_RECORDS,
    Document,
    Feed,
    FeedFile,
    Rejections,
    facts_of,
    is_among,
    parts_of,
    read_file,
    text_of,
)
from ecluse.apps.city.sources.forms import Column, Form
from ecluse.apps.city.sources.source import Source
from ecluse.apps.city.sources.stamps import Stamp
from ecluse.apps.city.tables import DISRUPTIONS, Table
from ecluse.sentences import N_, _

FEED: Final = "traffic"
NO_ID: Final = _("no identifier")
NO_PERIOD: Final = _("no period")
BAD_TIME: Final = _("a time cannot be read")
BACKWARDS: Final = _("the period ends before it begins")

#: What begin and end of a period mean.
STAMP: Final = Stamp(
    marks="moment",
    length=timedelta(0),
    clock="city",
    words="datetime: YYYYMMDDThhmmss, in the local time of the coverage",
    address="https://doc.navitia.io/#iso-date-time",
    checked=(
        "PRIM writes the same form without a word on it; its works of 2025-05-14 on line 14 begin at 20250514T220000, "
        "and their text says « le mercredi à partir de 22:00 », so these are the city's clocks."
    ),
)
BLOCKING_EFFECTS: Final = ("NO_SERVICE",)
DISTURBING_EFFECTS: Final = (
    "SIGNIFICANT_DELAYS",
    "REDUCED_SERVICE",
    "DETOUR",
    "MODIFIED_SERVICE",
    "STOP_MOVED",
)
PRIM_SEVERITIES: Final = {
    "BLOQUANTE": "blocked",
    "PERTURBEE": "disturbed",
    "INFORMATION": "information",
}
FORMS: Final = (
    Form(
        source="disruptions",
        title="Disruptions of public transport, as Navitia writes them",
        places=("api/traffic/dt=*/hour=*/*.json", "api/traffic/dt=*/*.json", "api/traffic/dt=*/*.json.gz"),
        style="json",
        columns=(
            Column("id", "identifier of the disruption", example="d2bf89c0", needed=True),
            Column(
                "application_periods",
                "periods, each with `begin` and `end`; no end: none is known",
                example=[{"begin": "20251014T062100", "end": "20251014T091500"}],
                needed=True,
                stamp=STAMP,
            ),
            Column("severity.effect", "NO_SERVICE, SIGNIFICANT_DELAYS, …", example="NO_SERVICE"),
            Column("cause", "why", example="perturbation"),
            Column("messages", "texts, the one of type `title` first", example=[{"text": "Bagage oublié"}]),
            Column(
                "impacted_objects",
                "the lines concerned",
                example=[{"pt_object": {"line": {"id": "line:IDFM:C01376", "code": "6"}}}],
            ),
        ),
        address="https://doc.navitia.io/#disruption",
        around='{"disruptions": [%s]}',
    ),
    Form(
        source="disruptions",
        title="Disruptions of public transport, as PRIM's bulk answer writes them",
        places=("api/traffic/dt=*/hour=*/*.json", "api/traffic/dt=*/*.json", "api/traffic/dt=*/*.json.gz"),
        style="json",
        columns=(
            Column("id", "identifier of the disruption", example="74316236", needed=True),
            Column(
                "applicationPeriods",
                "periods, each with `begin` and `end`",
                example=[{"begin": "20251014T020900", "end": "20251014T233400"}],
                needed=True,
                stamp=STAMP,
            ),
            Column("severity", "BLOQUANTE, PERTURBEE or INFORMATION", example="BLOQUANTE"),
            Column("cause", "why", example="TRAVAUX"),
            Column("title", "a line of text", example="Travaux boulevard Carnot"),
        ),
        address="https://prim.iledefrance-mobilites.fr/",
        around='{"disruptions": [%s], "lines": []}',
        notes=("- `lines` names lines and, in `impactedObjects`, the disruptions that concern them.",),
    ),
)
#: An end in such a year, as 9999-12-31, stands for none.
_NEVER: Final = 9000
#: How much of a message is kept.
LONGEST_MESSAGE: Final = 2000
#: Of the ways in which a disruption concerns a line the first counts: who names a line and some of its stops means
#: the stops. In a real answer of PRIM 343 pairs of a line and a disruption that blocks name both, 338 of them on
#: buses and for stops that are not served; where lines alone are named, the metro is interrupted.
SCOPES: Final = ("part", "network", "line")


@dataclass(frozen=True)
class Line:
    """A line as its source names it."""

    id: str
    name: str | None = None
    mode: str | None = None
    network: str | None = None


@dataclass(frozen=True)
class Disruption:
    """One disruption; `periods` in UTC, the end None where none is known. `lines`: line id → scope."""

    id: str
    periods: tuple[tuple[datetime, datetime | None], ...]
    severity: str
    effect: str | None
    cause: str | None
    title: str | None
    message: str | None
    updated_at: datetime | None
    network: str | None = None
    lines: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Snapshot:
    """What one file tells, or several merged."""

    disruptions: dict[str, Disruption] = field(default_factory=dict)
    lines: dict[str, Line] = field(default_factory=dict)
    #: Disruption → line → scope, as PRIM's lines tell it.
    links: dict[str, dict[str, str]] = field(default_factory=dict)

    def update(self, later: Snapshot) -> None:
        """Take what a later file tells instead of what is known."""
        self.disruptions.update(later.disruptions)
        self.lines.update(later.lines)
        self.links.update(later.links)


def curate(raw: Raw, work: Curating) -> None:
    """Bring the curated `disruptions` up to date: the rows active on each local day, and the lines known on it."""
    days = [LocalDay(date, work.zone) for date in days_between(work.first, work.last)]
    parts = parts_of(work.curated, "disruptions", [day.date for day in days])
    feed = Feed(raw, FEED, days)
    for n, day in enumerate(days):
        work.report(n / len(days), _(SOURCE.words))
        files = [file for file in feed.around(day) if _tells_of(file, day)]
        raws = [file.raw for file in files]
        if not files or is_among(parts[day.date], "feed", fingerprint_of(raws)):
            continue
        rejected, snapshot = Rejections(), Snapshot()
        for document in feed.documents(files):
            snapshot.update(read_document(document, work.zone, rejected))
        rows = pl.DataFrame(list(rows_of(snapshot, day)), schema=DISRUPTIONS)
        records = len(snapshot.disruptions) + rejected.counts.total()
        work.curated.write("disruptions", day.date, "feed", rows, **facts_of(raws, rejected, records))


def inspect(file: RawFile, work: Curating) -> FileContents:
    """Return what a snapshot holds; its day is that of its folder."""
    document, rejected = read_file(file), Rejections()
    snapshot = read_document(document, work.zone, rejected)
    return contents_of(len(snapshot.disruptions), [document.file.day], rejected.counts)


def read_document(document: Document, zone: ZoneInfo, rejected: Rejections) -> Snapshot:
    """Read one file of the feed. Records that cannot be read are added to `rejected`."""
    rejected.extend(document.rejections)
    snapshot, content, url = Snapshot(), document.content, document.file.raw.url
    if content is None:
        return snapshot
    lists = _lists(content)
    if lists is None:
        rejected.add(url, NO_RECORDS, value=repr(content)[:80])
        return snapshot
    for where, record in lists["disruptions"]:
        disruption = _disruption(record, where, zone, snapshot, url, rejected)
        if disruption is not None:
            snapshot.disruptions[disruption.id] = disruption
    for where, record in lists["lines"]:
        _prim_line(record, where, snapshot, url, rejected)
    for _rest, record in lists["line_reports"]:
        if isinstance(record, dict) and (line := _navitia_line(record.get("line"))) is not None:
            snapshot.lines[line.id] = line
    return snapshot


def plain_text(html: object) -> str | None:
    """Return the words of a message without its markup: blocks become lines; None where nothing is left."""
    if not isinstance(html, str):
        return None
    reader = _Text()
    reader.feed(html)
    reader.close()
    words = text_of("".join(reader.words), len(html)) or ""
    lines = (re.sub(r"\s+", " ", line).strip() for line in words.split("\n"))
    text = "\n".join(line for line in lines if line)
    return text[: LONGEST_MESSAGE - 1].rstrip() + "…" if len(text) > LONGEST_MESSAGE else text or None


class _Text(HTMLParser):
    _BREAKS: Final = frozenset(
        ["br", "div", "h1", "h2", "h3", "h4", "h5", "h6", "li", "ol", "p", "table", "tr", "ul"]
    )
    _UNSEEN: Final = frozenset(("script", "style"))

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.words: list[str] = []
        self._unseen = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in self._BREAKS:
            self.words.append("\n")
        self._unseen += tag in self._UNSEEN

    def handle_endtag(self, tag: str) -> None:
        if tag in self._BREAKS:
            self.words.append("\n")
        self._unseen -= tag in self._UNSEEN and self._unseen > 0

    def handle_data(self, data: str) -> None:
        if not self._unseen:
            self.words.append(re.sub(r"\s+", " ", data))


def _tells_of(file: FeedFile, day: LocalDay) -> bool:
    return file.day == day.date or (file.hour is not None and day.begin <= file.begin < day.end)


def _lists(content: Any) -> dict[str, list[tuple[str, Any]]] | None:
    """Return every list of records in a file, each record with its place; None where there is none."""
    names = ("disruptions", "lines", "line_reports")
    records_of: dict[str, list[tuple[str, Any]]] = {name: [] for name in names}
    if isinstance(content, list):
        for n, record in enumerate(content):
            of_line = isinstance(record, dict) and ("impactedObjects" in record or "networkId" in record)
            records_of["lines" if of_line else "disruptions"].append((f"[{n}]", record))
        return records_of
    if not isinstance(content, dict) or not any(isinstance(content.get(name), list) for name in names):
        return None
    for name in names:
        if isinstance(records := content.get(name), list):
            records_of[name] = [(f"{name}[{n}]", record) for n, record in enumerate(records)]
    return records_of


def _disruption(
    record: Any, where: str, zone: ZoneInfo, snapshot: Snapshot, url: str, rejected: Rejections
) -> Disruption | None:
    if not isinstance(record, dict):
        rejected.add(url, _("the record is no object"), column=where, value=record)
        return None
    id_ = text_of(record.get("id"))
    if id_ is None:
        rejected.add(url, NO_ID, column=f"{where}.id", value=record.get("id"))
        return None
    is_prim = "applicationPeriods" in record
    name = "applicationPeriods" if is_prim else "application_periods"
    periods = tuple(_periods(record.get(name), f"{where}.{name}", zone, url, rejected))
    if not periods:
        if not record.get(name):
            rejected.add(url, NO_PERIOD, column=f"{where}.{name}", value=id_)
        return None
    return _prim(id_, record, periods, zone) if is_prim else _navitia(id_, record, periods, zone, snapshot)


def _periods(
    told_periods: Any, where: str, zone: ZoneInfo, url: str, rejected: Rejections
) -> Iterator[tuple[datetime, datetime | None]]:
    for n, period in enumerate(told_periods if isinstance(told_periods, list) else ()):
        period = period if isinstance(period, dict) else {}
        begin, end = _local(period.get("begin"), zone), _local(period.get("end"), zone)
        if begin is None or (end is None and period.get("end")):
            side = "begin" if begin is None else "end"
            rejected.add(url, BAD_TIME, column=f"{where}[{n}].{side}", value=period.get(side))
        elif end is not None and end < begin:
            rejected.add(url, BACKWARDS, column=f"{where}[{n}].end", value=period.get("end"))
        else:
            yield begin, None if end is not None and end.year >= _NEVER else end


def _local(text: object, zone: ZoneInfo) -> datetime | None:
    """Return a moment as the city's clocks show it, `20250828T182100`, in UTC."""
    if not isinstance(text, str) or not text.strip():
        return None
    try:
        at = datetime.fromisoformat(text.strip())
        return (at.replace(tzinfo=zone) if at.tzinfo is None else at).astimezone(UTC)
    except (ValueError, OverflowError):  # no moment: as one that is missing
        return None


# PRIM


def _prim(
    id_: str, record: dict[str, Any], periods: tuple[tuple[datetime, datetime | None], ...], zone: ZoneInfo
) -> Disruption:
    severity = record.get("severity")
    return Disruption(
        id=id_,
        periods=periods,
        severity=PRIM_SEVERITIES.get(str(severity).upper(), "information"),
        effect=text_of(severity),
        cause=text_of(record.get("cause")),
        title=plain_text(record.get("title")) or plain_text(record.get("shortMessage")),
        message=plain_text(record.get("message")) or plain_text(record.get("shortMessage")),
        updated_at=_local(record.get("lastUpdate"), zone),
    )


def _prim_line(record: Any, where: str, snapshot: Snapshot, url: str, rejected: Rejections) -> None:
    id_ = text_of(record.get("id")) if isinstance(record, dict) else None
    if id_ is None:
        rejected.add(url, NO_ID, column=f"{where}.id", value=record)
        return
    line = Line(
        id_,
        text_of(record.get("shortName")) or text_of(record.get("name")),
        text_of(record.get("mode")),
        text_of(record.get("networkId")),
    )
    snapshot.lines[line.id] = line
    impacted = record.get("impactedObjects")
    for object_ in impacted if isinstance(impacted, list) else ():
        kind = object_.get("type") if isinstance(object_, dict) else None
        scope = str(kind) if kind in ("line", "network") else "part"
        ids = object_.get("disruptionIds") if isinstance(object_, dict) else None
        for one_id in ids if isinstance(ids, list) else ():
            links = snapshot.links.setdefault(str(text_of(one_id)), {})
            links[line.id] = _narrower(links.get(line.id), scope)


# Navitia


def _navitia(
    id_: str,
    record: dict[str, Any],
    periods: tuple[tuple[datetime, datetime | None], ...],
    zone: ZoneInfo,
    snapshot: Snapshot,
) -> Disruption:
    severity = record.get("severity") if isinstance(record.get("severity"), dict) else {}
    effect = str((severity or {}).get("effect") or "").upper()
    lines: dict[str, str] = {}
    network = None
    impacted = record.get("impacted_objects")
    names_stops = False
    for object_ in impacted if isinstance(impacted, list) else ():
        place = object_.get("pt_object") if isinstance(object_, dict) else None
        if not isinstance(place, dict):
            continue
        names_stops = names_stops or place.get("embedded_type") in ("stop_point", "stop_area")
        network = network or _name_of(place.get("network"))
        line, scope = _impacted(object_, place)
        if line is not None:
            snapshot.lines[line.id] = line
            lines[line.id] = _narrower(lines.get(line.id), scope)
    title, message = _texts(record.get("messages"))
    return Disruption(
        id=id_,
        periods=periods,
        severity="blocked"
        if effect in BLOCKING_EFFECTS
        else "disturbed"
        if effect in DISTURBING_EFFECTS
        else "information",
        effect=effect or None,
        cause=text_of(record.get("cause")),
        title=title,
        message=message,
        updated_at=_local(record.get("updated_at"), zone),
        network=network,
        lines=dict.fromkeys(lines, "part") if names_stops else lines,
    )


def _impacted(impacted: dict[str, Any], place: dict[str, Any]) -> tuple[Line | None, str]:
    """Return the line that an impacted object names, and whether all of it is concerned."""
    for kind in ("line", "route", "line_section", "trip"):
        value = place.get(kind)
        if isinstance(value, dict):
            line = _navitia_line(value if kind == "line" else value.get("line"))
            is_whole_line = kind == "line" and not (
                impacted.get("impacted_section") or impacted.get("impacted_stops")
            )
            return line, "line" if is_whole_line else "part"
    return None, "part"


def _navitia_line(record: Any) -> Line | None:
    id_ = text_of(record.get("id")) if isinstance(record, dict) else None
    if id_ is None:
        return None
    return Line(
        id_,
        text_of(record.get("code")) or text_of(record.get("name")),
        _mode(record.get("commercial_mode")),
        _name_of(record.get("network")),
    )


def _mode(record: Any) -> str | None:
    """Return the mode by its identifier, as PRIM names it: Metro, Bus, RapidTransit …"""
    if isinstance(record, dict) and isinstance(id_ := record.get("id"), str) and ":" in id_:
        return text_of(id_.rpartition(":")[2])
    return _name_of(record)


def _texts(messages: Any) -> tuple[str | None, str | None]:
    """Return the title and the longest other message, as plain text."""
    title: str | None = None
    others: list[str] = []
    for entry in messages if isinstance(messages, list) else ():
        text = plain_text(entry.get("text")) if isinstance(entry, dict) else None
        if text is None:
            continue
        channel = entry.get("channel")
        types = channel.get("types") if isinstance(channel, dict) else None
        if title is None and isinstance(types, list) and "title" in types:
            title = text
        else:
            others.append(text)
    message = max(others, key=len, default=None)
    return title or (message.partition("\n")[0] if message else None), message or title


def rows_of(snapshot: Snapshot, day: LocalDay) -> Iterator[dict[str, Any]]:
    """Yield the rows of a local day: the active periods, line by line, then the lines that are known."""
    for disruption in snapshot.disruptions.values():
        lines = {**disruption.lines, **snapshot.links.get(disruption.id, {})}
        named: Iterable[tuple[str | None, str | None]] = lines.items() or ((None, None),)
        for begin, end in dict.fromkeys(disruption.periods):
            if begin >= day.end or (end is not None and end <= day.begin):
                continue
            for line_id, scope in named:
                line = snapshot.lines.get(line_id) if line_id is not None else None
                yield {
                    "disruption": disruption.id,
                    "line": line_id,
                    "line_name": line.name if line else None,
                    "mode": line.mode if line else None,
                    "network": line.network if line else disruption.network,
                    "begin": begin,
                    "end": end,
                    "scope": scope,
                    "severity": disruption.severity,
                    "effect": disruption.effect,
                    "cause": disruption.cause,
                    "title": disruption.title,
                    "message": disruption.message,
                    "updated_at": disruption.updated_at,
                }
    for line in snapshot.lines.values():
        yield {"line": line.id, "line_name": line.name, "mode": line.mode, "network": line.network}


def _narrower(current: str | None, scope: str) -> str:
    return scope if current is None or SCOPES.index(scope) < SCOPES.index(current) else current


def _name_of(record: Any) -> str | None:
    return text_of(record.get("name")) if isinstance(record, dict) else None


# Fetch: what the portal knows now


def _fetch(work: FetchWork, first: date, last: date) -> Iterator[FetchTask]:
    url = f"{work.portals.prim}/marketplace/disruptions_bulk/disruptions/v2"

    def run() -> Iterator[Fetched]:
        if work.key is None:
            reason = "It needs a key of the portal: set IDFM_API_KEY."
            yield Fetched("disruptions", "now", "skipped", reason=reason)
            return
        headers = {"apikey": str(work.key)}
        with work.downloads.get(url, types=JSON_TYPES, largest=LARGEST_ANSWER, headers=headers) as download:
            assert download is not None  # noqa: S101 (no condition was set)
            yield _store_answer(work, download)

    yield FetchTask("disruptions", "now", url, run)


def _store_answer(work: FetchWork, download: Download) -> Fetched:
    content = read_json(download)
    lists = [content.get(name) for name in ("disruptions", "lines")] if isinstance(content, dict) else [None]
    if not all(isinstance(list_, list) for list_ in lists):
        raise FetchFailed(
            _(
                "%(file)s lacks disruptions or lines; the portal may have changed its form.",
                file=without_query(download.url),
            )
        )
    now = work.now.astimezone(UTC)
    key = f"api/{FEED}/dt={now:%Y-%m-%d}/hour={now:%H}/disruptions-bulk-{now:%H%M%S}.json"
    work.raw.upload(download.path, key)
    return Fetched("disruptions", "now", "fetched", (key,), download.size, len(content["disruptions"]))


SOURCE: Final = Source(
    name="disruptions",
    title=N_("Disruptions"),
    words=N_("disruptions"),
    table=Table(DISRUPTIONS, ("disruption", "line", "begin", "end"), is_measured=True),
    forms=FORMS,
    curate=curate,
    inspect=inspect,
    lacks="no public transport",
    fetch=_fetch,
)
