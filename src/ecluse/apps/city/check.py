"""Say of raw data what can be read, how much of which days it holds, what is missing, and what is not taken.

    check_raw(store, zone, scratch, report=report)

Nothing is kept: each file is read as a run would read it, and only counted. What lies outside the raw layout, or
under a name of no input, is looked into, so that the answer can say what it is and where it belongs.
"""

from __future__ import annotations

import csv
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Final, Literal
from zoneinfo import ZoneInfo

import polars as pl

from ecluse.apps.city.curated import Curated
from ecluse.apps.city.errors import BadRaw
from ecluse.apps.city.progress import Report, part_of, unheard
from ecluse.apps.city.provenance import MARKER, is_invented
from ecluse.apps.city.raw import RawFile
from ecluse.apps.city.sources import SOURCES, curated_tables, forms
from ecluse.apps.city.sources.curating import Curating, FileContents
from ecluse.apps.city.sources.forms import Form
from ecluse.storage import Cache, ObjectInfo, ObjectStore, open_store

#: What fetching notes beside the data, and the mark of the sample: no data.
_NOT_DATA: Final = ("fetch/", MARKER)
#: So much of a file tells its columns.
_HEAD: Final = 64 * 1024
_SEPARATORS: Final = (";", ",", "\t")
_ENDINGS: Final = (".csv", ".csv.gz", ".parquet", ".json", ".json.gz", ".geojson", ".geojson.gz")
_FEED: Final = re.compile(r"api/([^/]+)/dt=([^/]+)/")
#: How many files without a place are looked into.
LOOKED_INTO: Final = 200
Outcome = Literal["readable", "unreadable", "not taken"]


@dataclass(frozen=True)
class CheckedFile:
    """One file. `reason`: why it cannot be read or is not taken; `advice`: what to do about it."""

    key: str
    outcome: Outcome
    source: str | None = None
    contents: FileContents = field(default_factory=lambda: FileContents(0))
    reason: str | None = None
    advice: str | None = None


@dataclass(frozen=True)
class CheckedSource:
    """All readable files of a source together; without any, `lacks` says what a day is then without."""

    source: str
    files: int
    rows: int
    first: date | None
    last: date | None
    rejected: Mapping[str, int]
    lacks: str | None


@dataclass(frozen=True)
class Checked:
    """What there is."""

    url: str
    files: list[CheckedFile]
    sources: list[CheckedSource]
    invented: bool = False

    def of(self, outcome: Outcome) -> list[CheckedFile]:
        return [file for file in self.files if file.outcome == outcome]

    @property
    def is_usable(self) -> bool:
        """Say whether a day can be computed of it: something was measured."""
        return any(source.rows and SOURCES[source.source].table.is_measured for source in self.sources)


def check_raw(store: ObjectStore, zone: ZoneInfo, scratch: Path, report: Report = unheard) -> Checked:
    """Look at every file of a raw store, or of a folder that was meant to be one."""
    infos = [info for info in store.list() if not info.key.startswith(_NOT_DATA)]
    total_size = sum(info.size for info in infos) or 1
    done = 0
    files: list[CheckedFile] = []
    looked = 0
    for info in infos:
        tell = part_of(report, done / total_size, (done + info.size) / total_size)
        # By folder: a feed has a file for each hour, and a line for each would say nothing.
        tell(0.0, _folder(info.key))
        form = form_of(info.key)
        if form is not None:
            files.append(_read(store, info, form, _curating(scratch, zone, tell)))
        else:
            looked += 1
            files.append(_not_taken(store, info, scratch, looks=looked <= LOOKED_INTO))
        done += info.size
    sources = [_together(source, files) for source in SOURCES]
    return Checked(store.url, files, sources, invented=is_invented(store))


def _folder(key: str) -> str:
    """Return what is named of a file while it is read: its feed, or the file itself."""
    feed = _FEED.match(key)
    return key if feed is None else f"api/{feed[1]}"


def form_of(key: str) -> Form | None:
    """Return the form that a file of this key is read as; None: none of the inputs."""
    folder = _FEED.match(key)
    if folder is not None and not _is_date(folder[2]):
        return None
    return next((form for form in forms() if form.fits(key)), None)


def why_not_taken(key: str) -> str:
    """Return why a file of this key is none of the inputs."""
    name = key.rpartition("/")[2]
    if not name.endswith(_ENDINGS):
        return "It is of a kind that is not read; inputs are CSV, packed CSV, Parquet, JSON and GeoJSON."
    if key.startswith("api/"):
        feed = _FEED.match(key)
        if feed is None or not _is_date(feed[2]):
            return f"Below api/ files lie in api/{{{','.join(sorted(_feeds()))}}}/dt=YYYY-MM-DD/hour=HH/."
        feeds = ", ".join(sorted(_feeds()))
        return f"There is no feed {feed[1]!r}, or it has no such files: {feeds} are JSON."
    if "/" not in key or not key.startswith("batch/"):
        return "It lies outside of batch/ and api/."
    if key.count("/") > 1:
        return "It lies in a folder below batch/."
    return "Its name is not that of an input."


def not_taken(store: ObjectStore) -> list[str]:
    """Files and folders that no source reads, as far as three short listings tell; `check_raw` has all of them."""
    names = {name.strip("/") for name in store.list_names()}
    if not names & {"api", "batch"}:
        keys = [info.key for info in islice(store.list(), LOOKED_INTO)]
    else:
        keys = [f"{name}/" for name in names - {"api", "batch", "fetch"} if not name.startswith(".")]
        keys += [
            f"api/{name}/" for name in {name_.strip("/") for name_ in store.list_names("api")} - _feeds()
        ]
        keys += [info.key for info in store.list("batch") if form_of(info.key) is None]
    return sorted(key for key in keys if not key.startswith(_NOT_DATA))


def _feeds() -> set[str]:
    """Return the names of the feeds that are read: the folders of `api` in which a form lies."""
    places = (place.split("/") for form in forms() for place in form.places)
    return {folders[1] for folders in places if folders[0] == "api"}


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _curating(scratch: Path, zone: ZoneInfo, report: Report) -> Curating:
    """Return what sources are given to look at a file; nothing is curated."""
    layer = Curated(open_store("memory://"), Cache(scratch / "cache", 1), scratch, curated_tables())
    return Curating(layer, date.min, date.min, zone, scratch, report)


def _read(store: ObjectStore, info: ObjectInfo, form: Form, work: Curating) -> CheckedFile:
    file = RawFile(store, info)
    try:
        contents = SOURCES[form.source].inspect(file, work)
    except BadRaw as error:
        return CheckedFile(info.key, "unreadable", form.source, reason=str(error))
    if not contents.rows:
        return CheckedFile(info.key, "unreadable", form.source, contents, "No record of it is good.")
    return CheckedFile(info.key, "readable", form.source, contents)


def _together(source: str, files: Iterable[CheckedFile]) -> CheckedSource:
    mine = [file.contents for file in files if file.source == source and file.outcome == "readable"]
    rejected: Counter[str] = Counter()
    for contents in mine:
        rejected.update(contents.rejected)
    days = [day for contents in mine for day in (contents.first, contents.last) if day is not None]
    return CheckedSource(
        source,
        len(mine),
        sum(contents.rows for contents in mine),
        min(days, default=None),
        max(days, default=None),
        dict(rejected),
        None if mine else SOURCES[source].lacks,
    )


def _not_taken(store: ObjectStore, info: ObjectInfo, scratch: Path, *, looks: bool) -> CheckedFile:
    """Return why a file is not read, and where it belongs if its columns tell what it is."""
    names = _columns(store, info, scratch) if looks and info.key.endswith(_ENDINGS) else []
    form = next((form for form in forms() if names and form.is_alike(names)), None)
    reason = why_not_taken(info.key)
    if form is None:
        return CheckedFile(info.key, "not taken", reason=reason)
    ending = next(
        ending_ for ending_ in sorted(_ENDINGS, key=len, reverse=True) if info.key.endswith(ending_)
    )
    place = next((place for place in form.places if place.endswith(ending)), form.places[0])
    return CheckedFile(
        info.key,
        "not taken",
        form.source,
        reason=reason,
        advice=f"Its columns are those of: {form.title}. It is read as {place}",
    )


def _columns(store: ObjectStore, info: ObjectInfo, scratch: Path) -> list[str]:
    """Return the columns of a table, or the fields that the begin of a JSON file names, as far as there are any."""
    if info.key.endswith(".parquet"):
        try:
            return list(pl.read_parquet_schema(RawFile(store, info).local(scratch)))
        except (pl.exceptions.PolarsError, OSError):  # reading it says what is wrong with it
            return []
    head = b"".join(store.stream(info.key, end=min(_HEAD, info.size))) if info.size else b""
    if head.startswith(b"\x1f\x8b"):
        head = zlib.decompressobj(wbits=31).decompress(head, _HEAD)
    text = head.decode("utf-8-sig", errors="replace")
    if ".csv" in info.key:
        line = text.partition("\n")[0].strip()
        return max((next(csv.reader([line], delimiter=separator), []) for separator in _SEPARATORS), key=len)
    return re.findall(r'"([^"\\]{1,60})"\s*:', text)
