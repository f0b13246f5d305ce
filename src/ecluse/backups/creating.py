"""Make a backup while everything goes on.

The rows are those of one moment. Objects have names of their own and are never written over, so what the rows of that
moment point at is what it was then, or was deleted since. A row that was deleted with its object while the backup was
made is noted as such, and is not restored; where a row stays and its object was replaced, the rows are read anew. What
was stored meanwhile and no row of that moment points at is not in the backup.

Contents that the place has are not written again. As who prunes may have looked before this backup began, a second look
is taken just before it is finished.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from ecluse import __version__
from ecluse.backups.addresses import Areas
from ecluse.backups.places import BEGUN, CONTENTS, MANIFEST, Backup, Place, Report, new_id
from ecluse.catalog import backup_schedules, files, rows
from ecluse.catalog.database import HEAD
from ecluse.catalog.of_backups import BackupMade
from ecluse.dying import die_at
from ecluse.errors import BackupError, CatalogError, DigestMismatch, ObjectNotFound
from ecluse.migration.survey import manifest_digests
from ecluse.moving import described
from ecluse.registry import MANIFEST as MANIFEST_OF_VERSION
from ecluse.runtime import Runtime
from ecluse.sentences import _, pack
from ecluse.settings import Area
from ecluse.storage import ObjectStore, join_key
from ecluse.storage.side_by_side import side_by_side

logger = logging.getLogger(__name__)
#: How often the rows are read anew as an object of theirs was replaced meanwhile.
ATTEMPTS: Final = 5
#: Of the work, what is done when the rows are read, and when the objects are.
ROWS_READ, OBJECTS_READ = 0.2, 0.95


@dataclass(frozen=True)
class Pointer:
    """A row of the table of files at the moment of a backup."""

    table: str
    row_id: str
    name: str
    url: str
    form: str
    sha256: str | None
    owned: bool

    @property
    def row(self) -> str:
        return " ".join(filter(None, (self.table, self.row_id, self.name)))


@dataclass
class Moment:
    """The rows of a moment, as parts of the backup, and what they point at."""

    at: datetime
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=dict)
    pointers: list[Pointer] = field(default_factory=list)


@dataclass
class Objects:
    """The objects of a backup, by area and key: their sizes and digests, and what is wrong with the others."""

    sizes: dict[tuple[Area, str], int]
    digests: dict[tuple[Area, str], str] = field(default_factory=dict)
    #: Those that rows of the moment point at, and by which.
    needed: dict[tuple[Area, str], Pointer] = field(default_factory=dict)
    dangling: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    #: (table, id) of rows of the moment that were deleted since, with their objects.
    deleted: set[tuple[str, str]] = field(default_factory=set)


class _Replaced(Exception):
    """An object that the rows of the moment point at was replaced since."""


def create(
    runtime: Runtime, place: Place, *, contents: bool = False, report: Report = lambda *_: None
) -> Backup:
    """Back a home up. With `contents`, the bytes of its objects too, which the place may have from backups before.

    Raises:
        BackupError: objects are replaced faster than they can be backed up.
        StoreUnavailable, CatalogUnavailable: a part does not answer; the backup stays unfinished and is none.
    """
    begun = datetime.now(UTC)
    backup_id = new_id(begun)
    folder = f"backups/{backup_id}"
    place.store.put(f"{folder}/{BEGUN}", json.dumps({"begun_at": begun.isoformat()}).encode())
    maker = _Maker(runtime, place, backup_id, contents, report)
    moment, objects = maker.rows_and_objects()
    report(OBJECTS_READ, "documents")
    parts, documents = dict(moment.parts), _Counter()
    parts |= maker.write("documents.jsonl.gz", documents.through(_documents(runtime)))
    parts |= maker.write("objects.jsonl.gz", _lines_of(objects))
    needed = sorted({place.name_of(sha256) for sha256 in objects.digests.values()}) if contents else []
    parts |= maker.write("contents.gz", (name.removeprefix(f"{CONTENTS}/") for name in needed), plain=True)
    backup = Backup(
        id=backup_id,
        created_at=moment.at,
        finished_at=datetime.now(UTC),
        release=__version__,
        head=HEAD,
        applications=runtime.catalog.versions_of_applications(),
        encrypted=place.keys.recipient is not None,
        has_contents=contents,
        home=described(runtime.settings),
        rows=moment.rows,
        documents=documents.number,
        objects=len(objects.digests),
        object_bytes=sum(objects.sizes[where] for where in objects.digests),
        parts=parts,
        dangling=tuple(objects.dangling),
        damaged=tuple(objects.damaged),
        deleted=tuple(sorted(objects.deleted)),
        recipient=place.keys.mark,
    )
    if contents:
        maker.write_again(objects)
    die_at("backup.finish")
    report(OBJECTS_READ, "finishing")  # who has lost its place to another writes no manifest
    place.store.put(f"{folder}/{MANIFEST}", backup.to_json())
    _note(runtime, place, backup)
    report(1.0, "done")
    return backup


def _note(runtime: Runtime, place: Place, backup: Backup) -> None:
    """Note in the catalog that a backup was finished; it is one, whether that can be noted or not."""
    made = BackupMade(
        id=backup.id,
        url=place.store.url,
        size=sum(part["size"] for part in backup.parts.values()) + backup.object_bytes * backup.has_contents,
        contents=backup.has_contents,
        encrypted=backup.encrypted,
        damaged=len(backup.damaged),
    )
    try:
        with runtime.catalog.write(closed=True) as transaction:
            backup_schedules.add_made(transaction, made)
    except CatalogError as error:
        logger.warning("Backup %s is finished, and its age will not be known: %s", backup.id, error)


class _Maker:
    """Read the parts of a home and write those of a backup."""

    def __init__(
        self, runtime: Runtime, place: Place, backup_id: str, contents: bool, report: Report
    ) -> None:
        self._runtime = runtime
        self._place = place
        self._id = backup_id
        self._contents = contents
        self._report = report
        self._areas = Areas.of_stores(runtime.stores)
        self._tables = {table.name: table for table in rows.tables()}
        self._there = place.contents() if contents else dict[str, int]()

    def write(self, name: str, lines: Iterator[str], *, plain: bool = False) -> dict[str, dict[str, Any]]:
        """Write a part; what the manifest says of it."""
        called, stored = self._place.write_part(self._id, name, lines, plain=plain)
        return {called: {"sha256": stored.sha256, "size": stored.size}}

    def rows_and_objects(self) -> tuple[Moment, Objects]:
        """Read the rows of a moment and all that they point at."""
        for _attempt in range(ATTEMPTS):
            self._report(0.0, "listing objects")
            listed = self._listed()
            moment = self._read_rows()
            try:
                objects = self._pointed_at(moment, listed)
                self._read_objects(objects)
            except _Replaced:  # the rows are read anew
                continue
            return moment, objects
        raise BackupError(
            _(
                "Objects were replaced %(count)s times while they were backed up. Try again at a quieter time.",
                count=ATTEMPTS,
            )
        )

    def _listed(self) -> dict[tuple[Area, str], int]:
        """List every object of the areas."""
        return {
            where: info.size
            for store in self._runtime.stores.distinct()
            for info in store.list()
            if (where := self._areas.split(store.url_of(info.key))) is not None
        }

    def _read_rows(self) -> Moment:
        """Write the rows of one moment."""
        everything = rows.tables()
        with rows.snapshot(self._runtime.catalog.engine) as connection:
            moment = Moment(datetime.now(UTC))
            for number, table in enumerate(everything):
                self._report(ROWS_READ * number / len(everything), f"rows of {table.name}")
                counter = _Counter()
                moment.parts |= self.write(
                    f"rows/{table.name}.jsonl.gz", counter.through(_rows_of(connection, table, moment))
                )
                moment.rows[table.name] = counter.number
        return moment

    def _pointed_at(self, moment: Moment, listed: dict[tuple[Area, str], int]) -> Objects:
        """Add to what was listed what rows of the moment point at and was stored since; the digests that are known.

        Raises:
            _Replaced: something that a row points at was replaced.
        """
        objects = Objects(dict(listed))
        for number, pointer in enumerate(moment.pointers):
            if number % 1000 == 0:
                self._report(ROWS_READ, "looking for what rows point at")
            where = self._areas.split(pointer.url.rstrip("/"))
            if where is None:  # a store that is no area of this home stays where it is
                continue
            if pointer.form == "object":
                self._find_object(pointer, where, objects)
            else:
                self._find_folder(pointer, where, objects)
        return objects

    def _find_object(self, pointer: Pointer, where: tuple[Area, str], objects: Objects) -> None:
        if where not in objects.sizes:
            try:
                objects.sizes[where] = self._store(where[0]).head(where[1]).size
            except ObjectNotFound:
                self._miss(pointer, objects)
                return
        objects.needed[where] = pointer
        if pointer.sha256:
            objects.digests[where] = pointer.sha256

    def _find_folder(self, pointer: Pointer, where: tuple[Area, str], objects: Objects) -> None:
        area, key = where
        store = self._store(area)
        if pointer.form == "folder":
            inside: dict[tuple[Area, str], int] = {(area, info.key): info.size for info in store.list(key)}
            objects.sizes |= inside
            objects.needed |= dict.fromkeys(inside, pointer)
            return
        manifest = (area, join_key(key, MANIFEST_OF_VERSION))
        if manifest not in objects.sizes:  # published since they were listed, or not there
            objects.sizes |= {(area, info.key): info.size for info in store.list(key)}
        if manifest not in objects.sizes:
            self._miss(pointer, objects)
            return
        objects.needed[manifest] = pointer
        read = manifest_digests(store, manifest[1])
        if read is not None and pointer.sha256 in (None, read[0]):
            of_files = {(area, name): sha256 for name, sha256 in read[1].items()}
            objects.digests |= {manifest: read[0]} | of_files
            objects.needed |= dict.fromkeys(of_files, pointer)

    def _miss(self, pointer: Pointer, objects: Objects) -> None:
        """Note a row that points at nothing: for long, or as it was deleted since the moment.

        Raises:
            _Replaced: the row is there and points elsewhere by now.
        """
        if not pointer.owned:  # which nobody misses
            return
        with self._runtime.catalog.read() as transaction:
            points = any(
                file.row == pointer.row for file in files.files_at(transaction, pointer.url, limit=1_000)
            )
            table = self._tables.get(pointer.table)
            is_there = table is None or rows.with_ids(transaction.connection(), table, [pointer.row_id])
        if points:
            objects.dangling.append(f"{pointer.row}: {pointer.url}")
        elif is_there:
            raise _Replaced
        else:
            objects.deleted.add((pointer.table, pointer.row_id))

    def _read_objects(self, objects: Objects) -> None:
        """Learn the digests that are not known, and write the bytes that the place does not have."""
        known, objects.digests = objects.digests, {}
        pending = list[tuple[Area, str]]()
        for where, sha256 in known.items():
            if where not in objects.sizes:  # named by a manifest, and not there
                objects.dangling.append(self._areas.join(*where))
            elif self._contents and not self._is_there(sha256, objects.sizes[where]):
                pending.append(where)
            else:
                objects.digests[where] = sha256
        pending += [where for where in objects.sizes if where not in known]
        size = sum(objects.sizes[where] for where in pending) or 1
        done = 0

        def count(number: int) -> None:
            nonlocal done
            done += number
            self._report(ROWS_READ + (OBJECTS_READ - ROWS_READ) * min(1.0, done / size), "objects")

        def keep(where: tuple[Area, str], passed: Any) -> None:
            area, key = where
            with self._place.file() as file:
                try:
                    stored = self._store(area).download(key, file, progress=passed)
                except ObjectNotFound:
                    if (pointer := objects.needed.get(where)) is not None:
                        self._miss(pointer, objects)
                    return
                if known.get(where, stored.sha256) != stored.sha256:
                    objects.damaged.append(self._areas.join(*where))
                    return
                if self._contents and not self._is_there(stored.sha256, stored.size):
                    written = self._place.write_content(file, stored.sha256)
                    self._there[self._place.name_of(stored.sha256)] = written.size
                    die_at("backup.written")
            objects.sizes[where] = stored.size
            objects.digests[where] = stored.sha256

        side_by_side(keep, pending, count)
        for where, pointer in objects.needed.items():  # what is left of rows that were deleted meanwhile
            if (pointer.table, pointer.row_id) in objects.deleted:
                objects.digests.pop(where, None)

    def write_again(self, objects: Objects) -> None:
        """Write again the bytes that were there when this backup began, and that a prune has removed since.

        Raises:
            BackupError: the object is not there any more, or its bytes changed.
        """
        self._there = self._place.contents()
        gone = {
            sha256: where
            for where, sha256 in objects.digests.items()
            if not self._is_there(sha256, objects.sizes[where])
        }

        def write(lost: tuple[str, tuple[Area, str]], passed: Any) -> None:
            sha256, (area, key) = lost
            with self._place.file() as file:
                try:
                    self._store(area).download(key, file, sha256=sha256, progress=passed)
                except (ObjectNotFound, DigestMismatch) as error:
                    raise BackupError(
                        _(
                            "Bytes that the backup needs were removed from its place, and %(object)s has changed "
                            "since. Make another backup, while nothing is pruned there.",
                            object=self._areas.join(area, key),
                        )
                    ) from error
                self._place.write_content(file, sha256)

        side_by_side(write, gone.items())

    def _is_there(self, sha256: str, size: int) -> bool:
        """Return whether the place has these bytes, as far as their size says; what was cut there is written again."""
        return self._place.is_whole(size, self._there.get(self._place.name_of(sha256)))

    def _store(self, area: Area) -> ObjectStore:
        return self._runtime.stores.area(area)


@dataclass
class _Counter:
    number: int = 0

    def through(self, lines: Iterator[str]) -> Iterator[str]:
        for line in lines:
            self.number += 1
            yield line


def _rows_of(connection: Any, table: Any, moment: Moment) -> Iterator[str]:
    for row in rows.read(connection, table):
        if table.name == "files" and row["url"]:
            names = (row["table_name"], row["row_id"], row["name"])
            moment.pointers.append(Pointer(*names, row["url"], row["form"], row["sha256"], row["owned"]))
        yield rows.to_line(row)


def _documents(runtime: Runtime) -> Iterator[str]:
    for kind in runtime.documents.kinds():
        for document in runtime.documents.all(kind):
            values = {"kind": document.kind, "key": document.key, "body": pack(document.body)}
            yield json.dumps(values, ensure_ascii=False, allow_nan=False)


def _lines_of(objects: Objects) -> Iterator[str]:
    for area, key in sorted(objects.digests):
        where = (area, key)
        values = {"area": area, "key": key, "size": objects.sizes[where], "sha256": objects.digests[where]}
        yield json.dumps(values, ensure_ascii=False)
