"""Bring files of open data into the raw layout, and note what came, so that it is not asked for again.

What a source needs to say how it is fetched: `FetchTask` is one request's worth of work, `bring` does it. What came
whole is noted in `fetch/` beside the data. A file appears under its name when it has come whole and is what its name
says; `fetch` runs the tasks of all sources.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import date, datetime
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from ecluse.apps.city.download import Download, Downloads, Validators
from ecluse.apps.city.errors import FetchFailed
from ecluse.errors import ObjectNotFound
from ecluse.sentences import _
from ecluse.settings import Secret
from ecluse.storage import ObjectStore, read_chunks
from ecluse.storage.side_by_side import side_by_side

#: fetched: new or changed. unchanged: asked for, and as it was. kept: whole already, not asked for. empty: the portal
#: has nothing for it. failed, skipped: the reason is given.
Outcome = Literal["fetched", "unchanged", "kept", "empty", "failed", "skipped"]
#: Bounds against an answer without end; 13 months of roads have 6.2 GB, a day of them 16 MB.
LARGEST_TABLE: Final = 1024 * 1024 * 1024
LARGEST_ANSWER: Final = 256 * 1024 * 1024
CSV_TYPES: Final = ("text/csv", "application/csv", "text/plain")
JSON_TYPES: Final = ("application/json", "application/geo+json", "application/vnd.geo+json", "text/json")


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

    source: str
    what: str
    outcome: Outcome
    keys: tuple[str, ...] = ()
    size: int = 0
    records: int | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Note:
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
class FetchWork:
    """What the tasks of all sources share. `again`: ask for what is there already."""

    raw: ObjectStore
    downloads: Downloads
    portals: Portals
    zone: ZoneInfo
    key: Secret | None
    again: bool
    now: datetime


@dataclass(frozen=True)
class FetchTask:
    """One request's worth of work."""

    source: str
    what: str
    url: str
    run: Callable[[], Iterable[Fetched]] = field(compare=False)


#: Lists what a source has to fetch for the local days from the first to the last.
Fetch = Callable[[FetchWork, date, date], Iterable[FetchTask]]
#: How many records came, and the keys under which they were written.
Stored = tuple[int, tuple[str, ...]]


@dataclass(frozen=True)
class PortalFile:
    """A file to bring: what it is, where it is asked for, and what writes it into the raw layout."""

    source: str
    what: str
    url: str
    types: tuple[str, ...]
    largest: int
    store: Callable[[Download], Stored]
    #: Its figures are not corrected any more.
    settled: bool = False
    where: str = ""


def bring(work: FetchWork, file: PortalFile, note: Note | None) -> Fetched:
    """Download a file, and write it where it changed since the `note`."""
    before = note if note is not None and is_there(work, note) else None
    validators = None if before is None or work.again else Validators(before.etag, before.last_modified)
    with work.downloads.get(
        file.url, types=file.types, largest=file.largest, validators=validators
    ) as download:
        if download is not None:
            return _keep(work, file, download, before)
    assert before is not None  # noqa: S101 (it was asked whether it changed)
    renewed = replace(before, fetched_at=work.now.isoformat(), settled=file.settled)
    write_note(work, file.source, file.what, renewed)
    return Fetched(file.source, file.what, "unchanged", before.keys, before.size, before.records)


def _keep(work: FetchWork, file: PortalFile, download: Download, before: Note | None) -> Fetched:
    """Write what came, unless it is what is there `before`."""
    digest = hashlib.sha256()
    for chunk in read_chunks(download.path):
        digest.update(chunk)
    is_same = before is not None and before.sha256 == digest.hexdigest()
    records, keys = (before.records, before.keys) if before is not None and is_same else file.store(download)
    if not records:
        return Fetched(file.source, file.what, "empty", reason="The portal has no records for it.")
    note = Note(
        digest.hexdigest(),
        download.size,
        records,
        keys,
        work.now.isoformat(),
        file.settled,
        download.validators.etag,
        download.validators.last_modified,
        file.where,
    )
    write_note(work, file.source, file.what, note)
    outcome: Outcome = "unchanged" if is_same else "fetched"
    return Fetched(file.source, file.what, outcome, keys, download.size, records)


def read_note(work: FetchWork, source: str, what: str) -> Note | None:
    """Return what is noted of something to fetch; None before it came."""
    try:
        content = json.loads(work.raw.get(_note_key(source, what)))
    except ObjectNotFound:
        return None
    return Note(**{**content, "keys": tuple(content["keys"])})


def write_note(work: FetchWork, source: str, what: str, note: Note) -> None:
    """Note what came of something to fetch."""
    work.raw.put(_note_key(source, what), json.dumps(asdict(note), sort_keys=True).encode())


def _note_key(source: str, what: str) -> str:
    return f"fetch/{source}/{what}.json"


def is_there(work: FetchWork, note: Note) -> bool:
    """Return whether every file of a note is still there."""
    return all(side_by_side(lambda key, _: work.raw.exists(key), note.keys))


def kept(source: str, what: str, note: Note) -> Fetched:
    """Return the outcome for what is whole already and was not asked for."""
    return Fetched(source, what, "kept", note.keys, note.size, note.records)


def read_json(download: Download) -> Any:
    """Return what a JSON file says.

    Raises:
        FetchFailed: it is no whole JSON.
    """
    try:
        return json.loads(download.path.read_bytes())
    except ValueError as error:
        raise FetchFailed(
            _(
                "%(file)s is no whole JSON: %(error)s. Give the same command again.",
                file=without_query(download.url),
                error=error,
            )
        ) from None


def without_query(url: str) -> str:
    """Return an address as messages show it."""
    return url.partition("?")[0]
