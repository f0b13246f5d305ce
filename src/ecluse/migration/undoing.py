"""Roll a migration back: switch the rows to the source again, and delete what it wrote."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from ecluse.catalog import Catalog, audit, files, journal
from ecluse.catalog.journal import SETTLED, Entry
from ecluse.catalog.tables import MigrationRow
from ecluse.dying import die_at
from ecluse.errors import (
    ObjectNotFound,
)
from ecluse.migration.copying import Watch, digest_of, in_parallel
from ecluse.migration.ends import Ends, ends_of
from ecluse.migration.hold import Hold
from ecluse.migration.holding import held
from ecluse.migration.needs import Covered, Intact, Pointed, key_of_row
from ecluse.migration.planning import batches
from ecluse.migration.results import Part, Report, RolledBack
from ecluse.migration.running import read_journal
from ecluse.migration.summaries import find
from ecluse.storage import Stores

#: States of an object that this migration may have written, if it ever began to copy it.
_MAY_BE_WRITTEN: Final = ("verified", "copying", "planned", "damaged", "gone")


def rollback(
    catalog: Catalog,
    stores: Stores,
    migration_id: str,
    *,
    part: Part | None = None,
    progress: Report = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> RolledBack:
    """Give the rows their former addresses, then delete what this migration wrote at the destination.

    A row goes back only if all it needs is intact at the source, which is read again for that, and if it
    still points where the migration put it. An object is deleted only if the migration wrote it, it is
    unchanged since, no row points at it, and the source has it too. May be killed at any moment and called again.

    Raises:
        MigrationHeld: another process is at work on it, or on one that shares a place with it.
        MigrationStopped: it ended early; the message says why, and how to go on.
    """
    migration = find(catalog, migration_id)
    ends, watch = ends_of(catalog, stores, migration, part), Watch(progress, should_stop)
    with held(catalog, migration_id, "rolling_back", "rolled_back", "rolling_back") as hold:
        back, rows_kept, intact = _switch_back(catalog, ends, hold, watch, audited=migration.move_id is None)
        removed, kept = _remove(catalog, ends, hold, watch, intact)
    return RolledBack(migration_id, back, rows_kept, removed, kept)


def _switch_back(
    catalog: Catalog, ends: Ends, hold: Hold, watch: Watch, *, audited: bool
) -> tuple[int, tuple[str, ...], dict[str, str | None]]:
    """Point rows at the source where it is intact; return how many, those that stay, and the digests read there."""
    with catalog.read() as transaction:
        rows = files.switched(transaction, hold.migration_id)
        now_at = {key_of_row(row): files.find(transaction, key_of_row(row)) for row in rows}
    recorded = read_journal(catalog, hold.migration_id)
    read = _read_again(ends, watch, rows, recorded)
    intact = Intact(ends.source, read)
    switches, kept = list[tuple[MigrationRow, str]](), list[str]()
    for row in rows:
        key, file = ends.source.key_of(row.url), now_at[key_of_row(row)]
        if file is None or key is None or file.url != ends.destination.url_of(key):
            switches.append((row, ""))  # it has moved on, or is gone: nothing to put back
        elif intact.holds(key, None, is_version=file.is_version):
            switches.append((row, file.url))
        else:
            kept.append(file.row)
    with hold.write() as transaction:
        back = files.switch_back(transaction, hold.migration_id, switches)
        if audited:
            audit.record(transaction, None, "migration.rollback", ends.source.url, rows=back, kept=len(kept))
    return back, tuple(sorted(kept)), read


def _read_again(
    ends: Ends, watch: Watch, rows: Sequence[MigrationRow], recorded: Mapping[str, Entry]
) -> dict[str, str | None]:
    """Return the digests of what the rows need at the source, of those objects that are as the journal has them."""
    roots = Covered(key for row in rows if (key := ends.source.key_of(row.url)) is not None)
    needed = [e for e in recorded.values() if e.sha256 and e.state in SETTLED and roots.covers(e.key)]
    watch.begin("verify", len(needed), sum(entry.size for entry in needed))
    intact: dict[str, str | None] = {}

    def read(entry: Entry) -> tuple[Entry, bool]:
        try:
            return entry, digest_of(ends.source, entry.key, watch) == entry.sha256
        except ObjectNotFound:
            return entry, False
        finally:
            watch.passed(0, objects=1)

    def take(compared: tuple[Entry, bool]) -> None:
        entry, same = compared
        if same:
            intact[entry.key] = entry.sha256

    in_parallel(watch, needed, read, take)
    return intact


def _remove(
    catalog: Catalog, ends: Ends, hold: Hold, watch: Watch, intact: Mapping[str, str | None]
) -> tuple[int, tuple[str, ...]]:
    """Delete what the migration wrote and the source has too; return how many objects, and those that stay."""
    with catalog.read() as transaction:
        entries = journal.entries(transaction, hold.migration_id, _MAY_BE_WRITTEN)
    written = [entry for entry in entries if entry.times_copied]
    pointed = Pointed(ends, ends.files(catalog, ends.destination))
    watch.begin("remove", len(written), 0)
    removed, kept = list[str](), list[str]()

    def remove(batch: list[Entry]) -> list[tuple[Entry, bool]]:
        ended = []
        for entry in batch:
            free = not pointed.covers(entry.key) and _is_spare(ends, entry, watch, intact)
            if free:
                ends.destination.delete(entry.key)
                die_at("move.removed")
            ended.append((entry, free))
            watch.passed(0, objects=1)
        return ended

    def take(ended: list[tuple[Entry, bool]]) -> None:
        gone = [replace(entry, state="removed") for entry, free in ended if free]
        with hold.write() as transaction:
            journal.set_entries(transaction, hold.migration_id, gone)
        removed.extend(entry.key for entry in gone)
        kept.extend(entry.key for entry, free in ended if not free)

    in_parallel(watch, batches(written, 20), remove, take)
    return len(removed), tuple(sorted(kept))


def _is_spare(ends: Ends, entry: Entry, watch: Watch, intact: Mapping[str, str | None]) -> bool:
    """Return whether the destination can do without an object: this migration wrote it, and the source has it too."""
    try:
        there = ends.destination.head(entry.key)
        recorded = entry.sha256 if entry.state in SETTLED else None
        content = recorded or digest_of(ends.destination, entry.key, watch, counted=False)
    except ObjectNotFound:
        return True
    try:
        at_source = intact.get(entry.key) or digest_of(ends.source, entry.key, watch, counted=False)
    except ObjectNotFound:
        return False
    if at_source != content:
        return False
    if entry.e_tag is not None and there.e_tag is not None:
        return there.e_tag == entry.e_tag
    return not recorded or digest_of(ends.destination, entry.key, watch, counted=False) == recorded
