"""Keep the curated layer: typed Parquet per source and day, written whole, read by day.

    {curated}/{table}/dt=YYYY-MM-DD/{origin}.json           what a part holds, and the name of its file
    {curated}/{table}/dt=YYYY-MM-DD/part-{digest}.parquet   the rows
    {curated}/{table}.json, {table}-{digest}.parquet        a table that is kept once for all days

`origin` names what the rows were made from: a batch file, or a day's partitions. Writing an origin again
replaces its rows. A part's file is there before the JSON names it, and the old one goes afterwards, so that a
reader sees the old rows or the new ones.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import Any, Final

import polars as pl

from ecluse.city.calendar import days_between
from ecluse.city.tables import DAILY, WHOLE
from ecluse.errors import ObjectNotFound
from ecluse.storage import Cache, ObjectStore, join_key
from ecluse.storage.side_by_side import transfer_all

#: Changes with the meaning of a curated table; what was written under another is written anew.
LAYOUT: Final = 1
#: How many bad records a part quotes.
QUOTED: Final = 20
_ORIGIN: Final = re.compile(r"[a-z0-9-]{1,64}")


@dataclass(frozen=True)
class SetAside:
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


class Curated:
    """The curated layer in `store`; remote parts are read through `cache`, linked into `scratch`."""

    def __init__(self, store: ObjectStore, cache: Cache, scratch: Path) -> None:
        self._store = store
        self._cache = cache
        self._scratch = scratch
        self._lock = threading.Lock()
        self._known: dict[tuple[str, str | None, str], Part] = {}

    # Write

    def write(
        self,
        table: str,
        day: date,
        origin: str,
        rows: pl.DataFrame,
        *,
        fingerprint: str,
        modified: str = "",
        records: int | None = None,
        files: Sequence[str] = (),
        fallback: Sequence[str] = (),
        rejected: Mapping[str, int] | None = None,
        examples: Iterable[SetAside] = (),
    ) -> Part:
        """Replace the rows of `origin` on `day`. `rows` has the columns of the table, in its order.

        `fingerprint` says what they were made from, so that the same need not be read twice.
        """
        told = {
            "fingerprint": fingerprint,
            "modified": modified,
            "records": rows.height if records is None else records,
            "files": tuple(files),
            "fallback": tuple(fallback),
            "rejected": dict(rejected or {}),
            "examples": tuple(vars(one) for one in islice(examples, QUOTED)),
        }
        return self._put(_folder(table, day), origin, _ordered(rows, *DAILY[table]), told)

    def write_whole(
        self,
        table: str,
        rows: pl.DataFrame,
        *,
        fingerprint: str,
        modified: str = "",
        records: int | None = None,
        files: Sequence[str] = (),
        fallback: Sequence[str] = (),
        rejected: Mapping[str, int] | None = None,
        examples: Iterable[SetAside] = (),
    ) -> Part:
        """Replace a table that is kept once for all days; see `write`."""
        told = {
            "fingerprint": fingerprint,
            "modified": modified,
            "records": rows.height if records is None else records,
            "files": tuple(files),
            "fallback": tuple(fallback),
            "rejected": dict(rejected or {}),
            "examples": tuple(vars(one) for one in islice(examples, QUOTED)),
        }
        return self._put("", table, _ordered(rows, *WHOLE[table]), told)

    def remove(self, table: str, day: date, origin: str) -> None:
        """Take the rows of an origin away; where there are none, nothing happens."""
        folder = _folder(table, day)
        for part in self._parts(folder):
            if part.origin == origin:
                self._store.delete(join_key(folder, f"{origin}.json"))
                self._store.delete(join_key(folder, part.file))

    # Look

    def days(self, table: str) -> list[date]:
        """The days that have rows of a table, or were found to have none, in order."""
        names = (name.strip("/") for name in self._store.list_names(table))
        return sorted(date.fromisoformat(name[3:]) for name in names if name.startswith("dt="))

    def parts(self, table: str, day: date) -> list[Part]:
        """What a day of a table was made of, oldest first."""
        return self._parts(_folder(table, day))

    def whole(self, table: str) -> Part | None:
        """What a table that is kept once was made of; None before it is written."""
        return next((part for part in self._parts("") if part.origin == table), None)

    # Read

    def read(self, table: str, first: date, last: date) -> pl.DataFrame:
        """The rows of a table from `first` to `last`, both included; empty where nothing is known.

        Of records of the same key, that of the later part is taken.
        """
        schema, _ = DAILY[table]
        days = list(days_between(first, last))
        found = transfer_all(lambda day, _: self._read_day(table, day), days)
        frames = [frame for frame in found if frame.height]
        return pl.concat(frames) if frames else pl.DataFrame(schema=schema)

    def read_whole(self, table: str) -> pl.DataFrame:
        """A table that is kept once for all days; empty where nothing is known."""
        part = self.whole(table)
        return pl.DataFrame(schema=WHOLE[table][0]) if part is None else self._rows("", part)

    def _read_day(self, table: str, day: date) -> pl.DataFrame:
        schema, key = DAILY[table]
        folder = _folder(table, day)
        try:
            frames = [self._rows(folder, part) for part in self._parts(folder)]
        except ObjectNotFound:  # a writer replaced a part between our two looks
            frames = [self._rows(folder, part) for part in self._parts(folder)]
        if not frames:
            return pl.DataFrame(schema=schema)
        if len(frames) == 1:
            return frames[0]
        return pl.concat(frames).unique(key, keep="last", maintain_order=True).sort(key)

    def _rows(self, folder: str, part: Part) -> pl.DataFrame:
        key = join_key(folder, part.file)
        if (path := self._store.local_path(key)) is not None:
            return pl.read_parquet(path)
        destination = self._scratch / f"{part.sha256}.parquet"
        if not destination.exists():
            self._cache.link(self._store, key, part.sha256, part.size, destination)
        return pl.read_parquet(destination)

    def _parts(self, folder: str) -> list[Part]:
        infos = [
            info
            for info in (self._store.list(folder) if folder else self._store_root())
            if info.key.endswith(".json")
        ]
        return sorted(
            (self._part(info.key, info.e_tag) for info in infos),
            key=lambda part: (part.modified, part.origin),
        )

    def _store_root(self) -> Iterator[Any]:
        for table in WHOLE:
            if self._store.exists(f"{table}.json"):
                yield self._store.head(f"{table}.json")

    def _part(self, key: str, e_tag: str | None) -> Part:
        at = (key, e_tag, "")
        with self._lock:
            known = self._known.get(at) if e_tag else None
        if known is not None:
            return known
        told = json.loads(self._store.get(key))
        for name in ("files", "fallback", "examples"):
            told[name] = tuple(told.get(name, ()))
        part = Part(**told)
        with self._lock:
            self._known[at] = part
        return part

    def _put(self, folder: str, origin: str, rows: pl.DataFrame, told: Mapping[str, Any]) -> Part:
        if not _ORIGIN.fullmatch(origin):
            raise ValueError(f"{origin!r} is no name of an origin")
        buffer = BytesIO()
        rows.write_parquet(buffer, compression="zstd", statistics=True)
        data = buffer.getvalue()
        digest = hashlib.sha256(data).hexdigest()
        name = f"part-{digest[:16]}.parquet" if folder else f"{origin}-{digest[:16]}.parquet"
        before = [part for part in self._parts(folder) if part.origin == origin]
        part = Part(origin, name, digest, len(data), rows.height, **told)
        self._store.put(join_key(folder, name), data)
        body = json.dumps(vars(part), ensure_ascii=False, sort_keys=True)
        self._store.put(join_key(folder, f"{origin}.json"), body.encode())
        for old in before:
            if old.file != name and not any(p.file == old.file for p in self._parts(folder)):
                self._store.delete(join_key(folder, old.file))
        return part


def _ordered(rows: pl.DataFrame, schema: pl.Schema, key: Sequence[str]) -> pl.DataFrame:
    return rows.select(schema.names()).cast(schema).sort(key)


def _folder(table: str, day: date) -> str:
    return join_key(table, f"dt={day.isoformat()}")
