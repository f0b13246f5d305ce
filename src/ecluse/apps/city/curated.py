"""Keep the curated layer: typed Parquet per source and day, written whole, read by day.

    {curated}/{table}/dt=YYYY-MM-DD/{origin}.json               what a part holds, and the name of its file
    {curated}/{table}/dt=YYYY-MM-DD/{origin}-{nonce}.parquet    the rows
    {curated}/{table}/{origin}.json                             what is known of a batch file, and its days
    {curated}/{table}.json, {table}-{nonce}.parquet             a table that is kept once for all days
    {curated}/failures.json                                     which sources could not be read, and why

`origin` names what the rows were made from: a batch file, or a day's partitions. Writing an origin again
replaces its rows. A part's file is there before the JSON names it, and the old one goes afterwards, so that a
reader sees the old rows or the new ones. No two writes share a file, so that no writer takes away what another
one's JSON names.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, Final, Required, TypedDict, Unpack

import polars as pl

from ecluse.apps.city.tables import Table
from ecluse.errors import ObjectNotFound
from ecluse.sentences import _, pack, unpack
from ecluse.storage import Cache, ObjectInfo, ObjectStore, join_key
from ecluse.storage.side_by_side import side_by_side

#: Changes with the meaning of a curated table; what was written under another is written anew.
LAYOUT: Final = 4
#: How many bad records a part quotes.
QUOTED: Final = 20
#: A file that no JSON names is one that a writer is about to name, unless it is older than this.
LEFT_BEHIND: Final = timedelta(hours=6)
#: How often a reader looks again where writers replace what it reads.
_ATTEMPTS: Final = 5
_FAILURES: Final = "failures.json"
_ORIGIN: Final = re.compile(r"[a-z0-9-]{1,64}")


@dataclass(frozen=True)
class RejectedRecord:
    """A record that was not taken: where it stood, and why."""

    file: str
    line: int | None
    column: str | None
    reason: str
    value: str = ""


@dataclass(frozen=True)
class Part:
    """What is known of some rows of one day. `records`: how many were read, `rejected`: reason → how many."""

    origin: str
    file: str
    sha256: str
    size: int
    rows: int
    fingerprint: str
    #: When the newest of its raw files was written, in ISO 8601: of two parts the later one wins.
    modified: str = ""
    layout: int = LAYOUT
    records: int = 0
    files: tuple[str, ...] = ()
    fallback: tuple[str, ...] = ()
    rejected: Mapping[str, int] = field(default_factory=dict)
    examples: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Batch:
    """What is known of a batch file that was spread over many days: the days, and what it was.

    It is noted twice: before the first day is written, with no fingerprint and the days that may be touched, and
    when the last one is. So a fingerprint means that every day is there, and without one no day is forgotten.
    """

    origin: str
    file: str
    fingerprint: str = ""
    days: tuple[str, ...] = ()
    #: Of road counts: the arcs that it tells of.
    arcs: tuple[int, ...] = ()
    layout: int = LAYOUT
    records: int = 0
    rejected: Mapping[str, int] = field(default_factory=dict)
    examples: tuple[Mapping[str, Any], ...] = ()


class Made(TypedDict, total=False):
    """What rows were made from; what is left out is empty, and `records` as many as the rows. See `Part`."""

    fingerprint: Required[str]
    modified: str
    records: int
    files: Sequence[str]
    fallback: Sequence[str]
    rejected: Mapping[str, int]
    examples: Iterable[RejectedRecord]


class Curated:
    """The curated layer in `store`; remote parts are read through `cache`, linked into `scratch`.

    `tables`: those that it has, by name.
    """

    def __init__(self, store: ObjectStore, cache: Cache, scratch: Path, tables: Mapping[str, Table]) -> None:
        self.tables = tables
        self._store = store
        self._cache = cache
        self._scratch = scratch
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str | None], Part] = {}

    # Write

    def write(
        self,
        table: str,
        day: date,
        origin: str,
        rows: pl.DataFrame,
        *,
        in_order: bool = False,
        **facts: Unpack[Made],
    ) -> Part:
        """Replace the rows of `origin` on `day`. `rows` has the columns of the table.

        `fingerprint` says what they were made from, so that the same need not be read twice; `in_order`: the rows
        are in the order of the table's key already.
        """
        schema, key = self.tables[table].schema, self.tables[table].key
        typed = rows if rows.schema == schema else rows.select(schema.names()).cast(schema)
        return self._put(
            _folder(table, day), origin, typed if in_order else typed.sort(key), _facts_of(rows, facts)
        )

    def write_whole(
        self,
        table: str,
        rows: pl.DataFrame,
        **facts: Unpack[Made],
    ) -> Part:
        """Replace a table that is kept once for all days; see `write`."""
        schema, key = self.tables[table].schema, self.tables[table].key
        return self._put(
            "", table, rows.select(schema.names()).cast(schema).sort(key), _facts_of(rows, facts)
        )

    def remove(self, table: str, day: date, origin: str) -> None:
        """Take the rows of an origin away; where there are none, nothing happens."""
        folder = _folder(table, day)
        if (part := self._part_of(folder, origin)) is not None:
            self._store.delete(join_key(folder, f"{origin}.json"))
            self._store.delete(join_key(folder, part.file))

    def note_batch(self, table: str, batch: Batch) -> None:
        """Write down what is known of a batch file."""
        self._put_json(join_key(table, f"{_checked(batch.origin)}.json"), batch)

    def note_failures(self, failures: Mapping[str, str]) -> None:
        """Write down which sources could not be read, and why; an empty mapping where all could."""
        if dict(failures) != self.failures():
            self._store.put(
                _FAILURES, json.dumps(pack(dict(failures)), ensure_ascii=False, sort_keys=True).encode()
            )

    # Inspect

    def failures(self) -> dict[str, str]:
        """Return by source why its raw files could not be read at the last look; what was read before stays."""
        try:
            failures: dict[str, str] = unpack(json.loads(self._store.get(_FAILURES)))
        except ObjectNotFound:  # none was noted yet
            return {}
        return failures

    def daily(self) -> list[str]:
        """Return the names of the tables that are kept per day."""
        return [name for name, table in self.tables.items() if not table.whole]

    def kept_whole(self) -> list[str]:
        """Return the names of the tables that are kept once for all days, in alphabetical order."""
        return sorted(name for name, table in self.tables.items() if table.whole)

    def days(self, table: str) -> list[date]:
        """Return the days that have rows of a table, or were found to have none, in order."""
        names = (name.strip("/") for name in self._store.list_names(table))
        return sorted(date.fromisoformat(name[3:]) for name in names if name.startswith("dt="))

    def parts(self, table: str, day: date) -> list[Part]:
        """Return what a day of a table was made of, oldest first."""
        return self._parts(self._jsons(_folder(table, day)))

    def parts_between(self, table: str, first: date, last: date) -> dict[date, list[Part]]:
        """Return the same for each day from `first` to `last` that has any, by one listing."""
        days = list(self._listed(table, first, last).items())
        parts = side_by_side(lambda day_and_infos, _: self._parts(day_and_infos[1]), days)
        return {day: parts for (day, _), parts in zip(days, parts, strict=True)}

    def whole(self, table: str) -> Part | None:
        """Return what a table that is kept once was made of; None before it is written."""
        return self._part_of("", table)

    def batch(self, table: str, origin: str) -> Batch | None:
        """Return what is known of a batch file; None before it is begun."""
        content = self._json(join_key(table, f"{origin}.json"))
        return None if content is None else Batch(**content)

    # Read

    def read(self, table: str, first: date, last: date) -> pl.DataFrame:
        """Return the rows of a table from `first` to `last`, both included; empty where nothing is known.

        Of records of the same key, that of the later part is taken.
        """
        schema = self.tables[table].schema
        days = list(self._listed(table, first, last).items())
        read_days = side_by_side(lambda day_and_infos, _: self._read_day(table, *day_and_infos), days)
        frames = [frame for _parts, frame in read_days if frame.height]
        return pl.concat(frames) if frames else pl.DataFrame(schema=schema)

    def read_day_marked(self, table: str, day: date) -> tuple[str, pl.DataFrame]:
        """Return the rows of one day as `read` does, behind the mark that `marks` has of them."""
        parts, frame = self._read_day(table, day, self._jsons(_folder(table, day)))
        return _mark_of(parts), frame

    def marks(self, table: str, first: date, last: date) -> dict[date, str]:
        """Return, for each day from `first` to `last` that has any part, a mark that changes with its rows."""
        return {day: _mark_of(parts) for day, parts in self.parts_between(table, first, last).items()}

    def read_whole(self, table: str) -> pl.DataFrame:
        """Read a table that is kept once for all days; empty where nothing is known."""
        return self.read_whole_marked(table)[1]

    def read_whole_marked(self, table: str) -> tuple[str, pl.DataFrame]:
        """Return the same behind a mark that changes with its rows."""
        for _turn in range(_ATTEMPTS):
            part = self.whole(table)
            if part is None:
                return "", pl.DataFrame(schema=self.tables[table].schema)
            try:
                return part.sha256, self._rows("", part)
            except ObjectNotFound as error:
                first_error = error
        raise first_error

    def _listed(self, table: str, first: date, last: date) -> dict[date, list[ObjectInfo]]:
        """Return the JSONs of each day, by one listing, whatever the number of days."""
        infos_of: dict[date, list[ObjectInfo]] = {}
        # a store may leave out all of the folder that a listing is to begin behind (SeaweedFS does), so that it is
        # the folder of the day before
        for info in self._store.list(table, after=_folder(table, first - timedelta(days=1))):
            name = info.key.split("/")[1]
            if not name.startswith("dt="):
                continue
            if (day := date.fromisoformat(name[3:])) > last:
                break
            if day >= first and info.key.endswith(".json"):
                infos_of.setdefault(day, []).append(info)
        return infos_of

    def _read_day(
        self, table: str, day: date, infos: Iterable[ObjectInfo]
    ) -> tuple[list[Part], pl.DataFrame]:
        schema, key = self.tables[table].schema, self.tables[table].key
        folder = _folder(table, day)
        for _turn in range(_ATTEMPTS):
            try:
                parts = self._parts(infos)
                frames = [self._rows(folder, part) for part in parts]
                break
            except ObjectNotFound as error:  # a writer replaced a part between our two looks
                infos, first_error = self._jsons(folder), error
        else:
            raise first_error
        if not frames:
            return parts, pl.DataFrame(schema=schema)
        if len(frames) == 1:
            return parts, frames[0]
        return parts, pl.concat(frames).unique(key, keep="last", maintain_order=True).sort(key)

    def _rows(self, folder: str, part: Part) -> pl.DataFrame:
        key = join_key(folder, part.file)
        if (path := self._store.local_path(key)) is not None:
            try:
                return pl.read_parquet(path)
            except FileNotFoundError as error:
                raise ObjectNotFound(
                    _("%(file)s is gone. Run it again.", file=self._store.url_of(key))
                ) from error
        destination = self._scratch / f"{part.sha256}.parquet"
        if not destination.exists():
            self._cache.link(self._store, key, part.sha256, part.size, destination)
        return pl.read_parquet(destination)

    def _jsons(self, folder: str) -> list[ObjectInfo]:
        return list(self._store.list(folder, suffix=".json"))

    def _parts(self, infos: Iterable[ObjectInfo]) -> list[Part]:
        parts = (self._part(info) for info in infos)
        return sorted(
            (part for part in parts if part is not None), key=lambda part: (part.modified, part.origin)
        )

    def _part_of(self, folder: str, origin: str) -> Part | None:
        try:
            return self._part(self._store.head(join_key(folder, f"{origin}.json")))
        except ObjectNotFound:  # nothing of this origin was kept
            return None

    def _part(self, info: ObjectInfo) -> Part | None:
        """Return what a JSON says of a part; None where it went, or was written under another layout."""
        at = (info.key, info.e_tag)
        with self._lock:
            cached = self._known.get(at) if info.e_tag else None
        if cached is not None:
            return cached
        content = self._json(info.key)
        if content is None:
            return None
        part = Part(**content)
        with self._lock:
            self._known[at] = part
        return part

    def _json(self, key: str) -> dict[str, Any] | None:
        try:
            content: dict[str, Any] = unpack(json.loads(self._store.get(key)))
        except ObjectNotFound:  # not written yet, or removed since it was listed
            return None
        if content["layout"] != LAYOUT:
            return None
        return {name: tuple(value) if isinstance(value, list) else value for name, value in content.items()}

    def _put_json(self, key: str, record: Part | Batch) -> None:
        self._store.put(key, json.dumps(pack(vars(record)), ensure_ascii=False, sort_keys=True).encode())

    def _put(self, folder: str, origin: str, rows: pl.DataFrame, facts: Mapping[str, Any]) -> Part:
        before = self._part_of(folder, _checked(origin))
        name = f"{origin}-{uuid.uuid4().hex[:16]}.parquet"
        buffer = BytesIO()
        rows.write_parquet(buffer, compression="zstd", compression_level=1, statistics=True)
        data = buffer.getvalue()
        part = Part(origin, name, hashlib.sha256(data).hexdigest(), len(data), rows.height, **facts)
        self._store.put(join_key(folder, name), data)
        self._put_json(join_key(folder, f"{origin}.json"), part)
        if before is not None:
            self._store.delete(join_key(folder, before.file))
        if folder:
            self._sweep(folder, part)
        return part

    def _sweep(self, folder: str, part: Part) -> None:
        """Remove what writers that were killed left; the file of a writer at work is younger."""
        left = re.compile(re.escape(part.origin) + r"-[0-9a-f]{16}\.parquet")
        limit = datetime.now(UTC) - LEFT_BEHIND
        for info in self._store.list(folder, suffix=".parquet"):
            name = info.key.rpartition("/")[2]
            if name != part.file and left.fullmatch(name) and info.last_modified < limit:
                self._store.delete(info.key)


def _mark_of(parts: Iterable[Part]) -> str:
    return " ".join(part.sha256 for part in parts)


def _checked(origin: str) -> str:
    if not _ORIGIN.fullmatch(origin):
        raise ValueError(f"{origin!r} is no name of an origin")
    return origin


def _facts_of(rows: pl.DataFrame, facts: Made) -> dict[str, Any]:
    """Return what a part keeps of what its rows were made from."""
    return {
        "fingerprint": facts["fingerprint"],
        "modified": facts.get("modified", ""),
        "records": facts.get("records", rows.height),
        "files": tuple(facts.get("files", ())),
        "fallback": tuple(facts.get("fallback", ())),
        "rejected": dict(facts.get("rejected", {})),
        "examples": tuple(vars(example) for example in islice(facts.get("examples", ()), QUOTED)),
    }


def _folder(table: str, day: date) -> str:
    return join_key(table, f"dt={day.isoformat()}")
