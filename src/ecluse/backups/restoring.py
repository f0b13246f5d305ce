"""Restore a backup into an empty place: objects first, then rows and documents; compare, and let people in.

Until all is there and compared the place is closed, as one to which a home moves. A run that was killed begins anew by
the same command; objects that arrived are not brought again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from ecluse.backups.addresses import Areas, is_inside
from ecluse.backups.places import Backup, Place, Report
from ecluse.backups.verifying import NAMED, lines_of
from ecluse.catalog import files, homes, jobs, rows, second_factors
from ecluse.catalog.database import HEAD
from ecluse.catalog.filed import File
from ecluse.catalog.tables import HomeMove
from ecluse.documents import Document
from ecluse.dying import die_at
from ecluse.errors import BackupError, DigestMismatch, InvalidKey, ObjectNotFound
from ecluse.moving import described
from ecluse.moving.opening import obstacles_at
from ecluse.runtime import Runtime
from ecluse.sentences import unpack
from ecluse.settings import AREAS
from ecluse.storage import checked_key
from ecluse.storage.side_by_side import side_by_side

#: Of the work, what is done when the objects are there, and when the rows and documents are.
_OBJECTS, _ROWS = 0.6, 0.8
_SHA256: Final = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Restored:
    """What a restore brought. `missing`: objects whose bytes the backup does not hold and the stores do not have."""

    id: str
    rows: dict[str, int]
    documents: int
    objects: int
    size: int
    missing: tuple[str, ...]
    notes: tuple[str, ...]


def restore(
    runtime: Runtime,
    place: Place,
    backup: Backup,
    *,
    outside: Sequence[str] = (),
    report: Report = lambda *_: None,
) -> Restored:
    """Bring everything of a backup into the home that `runtime` opened for a move (`moves=True`), which is empty.

    A backup without the bytes of objects needs them in the stores of the home, under the same keys. Rows that point
    at folders and buckets outside the areas are refused, but for those of `outside`.

    Raises:
        BackupError: the place is not empty, the versions do not match, or the backup is damaged; what was brought
            until then stays closed to people, and the same command begins anew.
    """
    _check_versions(runtime, backup)
    resumed = _is_resumed(runtime, backup)
    runtime.documents.create()
    if not resumed and (obstacles := obstacles_at(runtime)):
        raise BackupError(obstacles[0])
    _check_fits(runtime, place, backup, report)
    _check_addresses(place, backup, outside)
    if not resumed:
        with runtime.catalog.write() as transaction:
            homes.close(transaction, _record(runtime, place, backup))
    ours, there = Areas.of_home(backup.home), Areas.of_stores(runtime.stores)
    brought, missing = _bring_objects(runtime, place, backup, report)
    _bring_rows(runtime, place, backup, lambda table, row: ours.row_there(there, table, row), report)
    documents = _bring_documents(runtime, place, backup)
    die_at("restore.compare")
    _compare(runtime, place, backup, lambda table, row: ours.row_there(there, table, row), report)
    named = {table.name: table for table in rows.tables()}
    with runtime.catalog.write() as transaction:
        rows.set_sequences(transaction.connection(), rows.tables())
        jobs.put_back_all(transaction)
        for table, row_id in backup.deleted:
            files.remove(transaction, table, [row_id])
            rows.remove_keys(transaction.connection(), named[table], [(row_id,)])
        counts = {"rows": backup.rows, "documents": documents, "objects": len(brought)}
        homes.set_state(transaction, backup.id, "done", counts=counts)
    report(1.0, "done")
    return Restored(
        id=backup.id,
        rows=backup.rows,
        documents=documents,
        objects=len(brought),
        size=sum(item["size"] for item in brought),
        missing=tuple(missing),
        notes=tuple(_notes(runtime, backup)),
    )


def _check_versions(runtime: Runtime, backup: Backup) -> None:
    if backup.head != HEAD:
        raise BackupError(
            f"The backup has tables of version {backup.head}, made by Écluse {backup.release}; this one has {HEAD}. "
            "Restore it with the Écluse that made it, and install this one then: it brings the tables up to date."
        )
    here = runtime.catalog.versions_of_applications()
    for name, version in backup.applications.items():
        if here.get(name) != version:
            raise BackupError(
                f"The backup has tables of the application {name} of version {version}, here they have "
                f"{here.get(name, 'none')}. Install the package of then."
            )
    unknown = sorted(set(backup.rows) - {table.name for table in rows.tables()})
    if unknown:
        raise BackupError(
            f"The backup has tables that no application here knows: {', '.join(unknown[:NAMED])}. Install the packages "
            "of then."
        )


def _is_resumed(runtime: Runtime, backup: Backup) -> bool:
    """Return whether this backup had begun to be restored here."""
    with runtime.catalog.read() as transaction:
        move = homes.open_move(transaction, "in")
        leaving = homes.open_move(transaction, "out")
    if leaving is not None:
        raise BackupError(
            "This home is moving, or has moved. A backup is restored elsewhere: choose an empty database."
        )
    if move is None or move.state == "done":
        return False
    if move.id != backup.id and homes.is_restore(move.source):
        raise BackupError(
            f"The restore of backup {move.id} has begun here and has not ended. Run it again, from "
            f"{move.source['place']}. Or begin anew with another: choose an empty database and empty buckets or "
            "folders, or move what is in these away."
        )
    if move.id != backup.id:
        raise BackupError(
            f"Something else is on its way to this place: {move.source['database']}. Finish that, or choose an empty "
            "database."
        )
    return True


def _record(runtime: Runtime, place: Place, backup: Backup) -> HomeMove:
    """Record the backup as what comes to this place."""
    source = {
        **backup.home,
        "place": place.store.url,
        "database": f"backup {backup.id} of {backup.home['database']} in {place.store.url}",
    }
    return HomeMove(
        id=backup.id,
        direction="in",
        state="arriving",
        source=source,
        destination=described(runtime.settings),
        head=HEAD,
    )


def _check_fits(runtime: Runtime, place: Place, backup: Backup, report: Report) -> None:
    """Refuse, before anything is written, what the database here could not keep."""
    dialect = runtime.catalog.engine.dialect.name
    for table in rows.tables():
        if not backup.rows.get(table.name):
            continue
        report(0.0, "looking through rows")
        for row in _rows_in(place, backup, table.name):
            if (reason := rows.unfit(table, row, dialect)) is not None:
                key = " ".join(map(str, rows.key_of(table, row)))
                raise BackupError(
                    f"{table.name} {key}: {reason}, which {dialect} does not keep. Restore it to the kind of database "
                    "that it was made of."
                )


def _check_addresses(place: Place, backup: Backup, outside: Sequence[str]) -> None:
    """Refuse, before anything is written, rows that point at files or objects which are none of the home.

    Whoever sees such a row would read it with the rights of this machine, and with the keys of stores that are set
    here. A row whose object is gone for good has no address.

    Raises:
        BackupError: a row points into a store outside the areas and outside those of `outside`.
    """
    if not backup.rows.get(File.__tablename__):
        return
    areas = Areas.of_home(backup.home)
    for row in _rows_in(place, backup, File.__tablename__):
        url = row["url"]
        if url and not (areas.holds(url) or any(is_inside(url, store) for store in outside)):
            raise BackupError(
                f"{row['table_name']} {row['row_id']} points at {url}, which is in no area of the home that was backed "
                "up. Was it stored in another folder or bucket, before the settings changed? Name that one: --outside "
                "URL. Else somebody changed the backup: choose another."
            )


def _objects_of(place: Place, backup: Backup) -> list[dict[str, Any]]:
    """Return what a backup says of each object.

    Raises:
        BackupError: that is of no area, no key, no size or no digest.
    """
    items = lines_of(place, backup, "objects.jsonl.gz")
    for item in items:
        try:
            checked_key(item["key"])
            is_one = item["area"] in AREAS and item["size"] >= 0 and _SHA256.fullmatch(item["sha256"])
        except (InvalidKey, KeyError, TypeError, AttributeError):
            is_one = False
        if not is_one:
            raise BackupError(
                f"objects.jsonl.gz of backup {backup.id} names no object of an area: {str(item)[:200]}. Choose another "
                "backup."
            )
    return items


def _bring_objects(
    runtime: Runtime, place: Place, backup: Backup, report: Report
) -> tuple[list[dict[str, Any]], list[str]]:
    """Bring the bytes of all objects, or make sure that they are there; those that are, and the addresses of others.

    Raises:
        BackupError: something else is under one of their keys.
    """
    items = _objects_of(place, backup)
    stores = runtime.stores.areas()
    total, done = sum(item["size"] for item in items) or 1, 0
    missing, others = list[str](), list[str]()

    def bring(item: dict[str, Any], passed: Callable[[int], None]) -> bool:
        store, key = stores[item["area"]], item["key"]
        arrived = True
        with place.file() as file:
            try:
                store.download(key, file, sha256=item["sha256"])
            except DigestMismatch:
                others.append(store.url_of(key))
            except ObjectNotFound:
                arrived = backup.has_contents
                if backup.has_contents:
                    place.fetch_content(backup, item["sha256"], file)
                    store.upload(file, key)
                else:
                    missing.append(store.url_of(key))
        die_at("restore.object")
        passed(item["size"])
        return arrived

    def count(number: int) -> None:
        nonlocal done
        done += number
        report(_OBJECTS * done / total, "objects")

    arrived = side_by_side(bring, items, count)
    if others:
        raise BackupError(
            f"{len(others)} object(s) are there with another content, such as {others[0]}. Choose empty buckets or "
            "folders, or remove these."
        )
    return [item for item, is_there in zip(items, arrived, strict=True) if is_there], sorted(missing)


def _bring_rows(
    runtime: Runtime,
    place: Place,
    backup: Backup,
    as_there: Callable[[str, rows.Row], rows.Row],
    report: Report,
) -> None:
    """Write all rows in one transaction, in place of those of a run that was killed."""
    everything = rows.tables()
    with runtime.catalog.write() as transaction:
        homes.hold(transaction, backup.id, ("arriving",))
        transaction.flush()
        rows.remove_all(transaction.connection(), everything)
        for number, table in enumerate(everything):
            report(_OBJECTS + (_ROWS - _OBJECTS) * number / len(everything), "rows")
            die_at(f"restore.rows.{table.name}")
            if not backup.rows.get(table.name):
                continue
            lines = (as_there(table.name, row) for row in _rows_in(place, backup, table.name))
            while batch := list(islice(lines, rows.BATCH)):
                rows.write(transaction.connection(), table, batch)


def _rows_in(place: Place, backup: Backup, table: str) -> Iterator[rows.Row]:
    with place.part(backup, f"rows/{table}.jsonl.gz") as lines:
        yield from map(rows.from_line, lines)


def _bring_documents(runtime: Runtime, place: Place, backup: Backup) -> int:
    with place.part(backup, "documents.jsonl.gz") as lines:
        items = map(json.loads, lines)
        runtime.documents.put_many(
            Document(item["kind"], item["key"], unpack(item["body"])) for item in items
        )
    return backup.documents


def _compare(
    runtime: Runtime,
    place: Place,
    backup: Backup,
    as_there: Callable[[str, rows.Row], rows.Row],
    report: Report,
) -> None:
    """Compare what is here with the backup, row by row and document by document.

    Raises:
        BackupError: they are not the same.
    """
    findings = list[str]()
    everything = rows.tables()
    for number, table in enumerate(everything):
        report(_ROWS + (1.0 - _ROWS) * number / len(everything), "comparing rows")
        written = (
            (as_there(table.name, row) for row in _rows_in(place, backup, table.name))
            if backup.rows.get(table.name)
            else iter(())
        )
        findings += rows.compare_rows(written, runtime.catalog.engine, table).named
    with place.part(backup, "documents.jsonl.gz") as lines:
        items = map(json.loads, lines)
        while batch := list(islice(items, rows.BATCH)):
            kept = runtime.documents.get_many([(item["kind"], item["key"]) for item in batch])
            findings += [
                f"other: document {item['kind']} {item['key']}"
                for item in batch
                if kept.get((item["kind"], item["key"])) != unpack(item["body"])
            ]
    if findings:
        raise BackupError(
            f"What arrived is not what the backup holds: {'; '.join(findings[:NAMED])}. Nobody was let in. Run the "
            "same command again, or choose another empty database."
        )


def _notes(runtime: Runtime, backup: Backup) -> list[str]:
    """Say what a person has to know of the place now."""
    with runtime.catalog.read() as transaction:
        kept = second_factors.secrets(transaction)
    unread = sum(not runtime.accounts.vault.can_open(owner, secret) for owner, secret in kept)
    notes = list(backup.dangling) and [
        f"{len(backup.dangling)} row(s) point at nothing, here as when it was made."
    ]
    if backup.damaged:
        notes.append(f"{len(backup.damaged)} object(s) were damaged when it was made, and are missing here.")
    if unread:
        notes.append(
            f"{unread} account(s) have a second factor, whose key is not here. Bring it back (ECLUSE_SECRET_KEYS, or "
            "the key's file in the home), or take them off: ecluse users second-factor EMAIL --remove"
        )
    return notes
