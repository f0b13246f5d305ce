"""Run a migration: copy what is planned, verify it, and switch the rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ecluse.catalog import Catalog, audit, files, journal
from ecluse.catalog.files import Switch
from ecluse.catalog.journal import SETTLED, Amount, Entry
from ecluse.catalog.tables import File, Migration
from ecluse.dying import die_at
from ecluse.errors import (
    DigestMismatch,
    MigrationConflict,
    ObjectNotFound,
)
from ecluse.migration.copying import Copier, Watch, in_parallel
from ecluse.migration.ends import Ends, ends_of
from ecluse.migration.hold import Hold
from ecluse.migration.holding import held
from ecluse.migration.needs import Intact, Pointed, keeps_name, released_since
from ecluse.migration.planning import batches
from ecluse.migration.results import Outcome, Part, Report, Summary
from ecluse.migration.summaries import find, summary, total_of
from ecluse.migration.survey import names, survey
from ecluse.registry import SIGNATURE
from ecluse.sentences import _, num
from ecluse.storage import Stores

#: While objects arrive at the source or change there, a run looks again, this often at most.
PASSES: Final = 3


def run(
    catalog: Catalog,
    stores: Stores,
    migration_id: str,
    *,
    part: Part | None = None,
    progress: Report = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Copy what is planned, verify it at the destination, and switch the rows if the migration does.

    May be killed at any moment and called again: what is done is done, and nothing that arrived is copied
    again. `progress` is called in this thread; what it raises ends the run.

    Raises:
        MigrationHeld: another process is at work on it, or on one that shares a place with it.
        InvalidInput: it was rolled back, or its rollback has begun.
        MigrationConflict: the destination holds another content under a planned key; nothing was copied.
        MigrationStopped: it ended early; the message says why, and how to go on.
    """
    migration = find(catalog, migration_id)
    ends = ends_of(catalog, stores, migration, part)
    watch = Watch(progress, should_stop)
    with held(catalog, migration_id, "running", "done", "stopped") as hold:
        copied = _copy(catalog, ends, hold, watch)
        _check_undamaged(catalog, migration_id, ends)
        switched, left = _switch(catalog, ends, hold, watch, migration)
        state = summary(catalog, migration_id)
    return Outcome(
        id=migration_id,
        copied=copied,
        verified=state.settled,
        rows_switched=switched,
        rows_left=left,
        gone=state.amounts.get("gone", Amount()).objects,
        copied_again=state.copied_again,
    )


def read_journal(catalog: Catalog, migration_id: str) -> dict[str, Entry]:
    """Return what the journal has of each object, by key."""
    with catalog.read() as transaction:
        return {entry.key: entry for entry in journal.entries(transaction, migration_id)}


def _copy(catalog: Catalog, ends: Ends, hold: Hold, watch: Watch) -> Amount:
    """Copy until the source has nothing more, or keeps changing; return what was copied."""
    copier, copied = Copier(ends.source, ends.destination, hold, watch), Amount()

    def read(after: str) -> list[Entry]:
        with catalog.read() as transaction:
            return journal.entries(transaction, hold.migration_id, ("planned",), after=after, limit=500)

    for turn in range(PASSES):
        _look_again(catalog, ends, hold, watch, first=turn == 0)
        before = summary(catalog, hold.migration_id)
        _check_conflicts(before, ends, copied)
        if set(before.amounts) == {"gone"}:
            raise ObjectNotFound(
                _(
                    "Nothing of what was planned lies at %(store)s any more. Check that its disk is mounted.",
                    store=ends.source.url,
                )
            )
        planned = before.amounts.get("planned", Amount())
        if not planned.objects:
            break
        watch.begin(
            "copy",
            before.everything.objects,
            before.everything.size,
            objects_done=before.everything.objects - planned.objects,
            size_done=before.everything.size - planned.size,
        )
        copier.copy_planned(read)
        after = summary(catalog, hold.migration_id)
        done = [after.settled.objects - before.settled.objects, after.settled.size - before.settled.size]
        copied = total_of((copied, Amount(*done)))
    return copied


def _look_again(catalog: Catalog, ends: Ends, hold: Hold, watch: Watch, *, first: bool) -> None:
    """Bring the journal up to date with what lies at both ends."""
    recorded = read_journal(catalog, hold.migration_id)
    released = released_since(catalog, ends, hold.migration_id)
    pointed = Pointed(ends, ends.files(catalog, ends.destination))

    def is_released(key: str) -> bool:
        own = key.rpartition("/")[2] == SIGNATURE and pointed.covers(key) and ends.destination.exists(key)
        return own or released.covers(key)

    for batch in batches(survey(catalog, ends, recorded, watch, again=first, is_released=is_released)):
        with hold.write() as transaction:
            journal.add_entries(transaction, hold.migration_id, [e for e in batch if e.key not in recorded])
            journal.set_entries(transaction, hold.migration_id, [e for e in batch if e.key in recorded])


def _check_conflicts(state: Summary, ends: Ends, copied: Amount) -> None:
    count = state.amounts.get("conflict", Amount()).objects
    if count:
        so_far = _("Nothing was copied.") if not copied.objects else _("What was copied is kept.")
        raise MigrationConflict(
            _(
                "%(count)s object(s) cannot be put to %(store)s, because another content, or a name "
                "that cannot be kept, is in the way: %(values)s. %(done_so_far)s Remove or rename "
                "these there, or plan with another destination; then: ecluse migrate run %(value)s",
                count=num(count, ","),
                store=ends.destination.url,
                values=names(state.conflicts),
                done_so_far=so_far,
                value=state.migration.id,
            )
        )


def _check_undamaged(catalog: Catalog, migration_id: str, ends: Ends) -> None:
    state = summary(catalog, migration_id)
    count = state.amounts.get("damaged", Amount()).objects
    if count:
        raise DigestMismatch(
            _(
                "%(count)s object(s) at %(store)s are damaged, not what was recorded of them: "
                "%(values)s. Make or upload them again, or delete what they belong to.",
                count=num(count, ","),
                store=ends.source.url,
                values=names(state.damaged),
            )
        )


def _switch(
    catalog: Catalog, ends: Ends, hold: Hold, watch: Watch, migration: Migration
) -> tuple[int, tuple[str, ...]]:
    """Point rows at the destination, if all they need was verified there; return how many, and those that stay."""
    if not migration.switches_rows:
        return 0, ()
    pointing = [file for file in ends.files(catalog, ends.source) if file.form != "folder"]
    owned = {file.url for file in pointing if file.owned}
    watch.begin("switch", len(pointing), 0)
    with catalog.read() as transaction:
        settled = journal.entries(transaction, hold.migration_id, SETTLED)
    there = Intact(ends.destination, {entry.key: entry.sha256 for entry in settled})
    switches, left = list[Switch](), list[str]()

    def prepare(file: File) -> tuple[File, str | None]:
        key = ends.source.key_of(file.url)
        if key is None or not keeps_name(file, ends.destination.url_of(key)):
            return file, None
        return file, key if there.holds(key, file.sha256, is_version=file.is_version) else None

    def take(prepared: tuple[File, str | None]) -> None:
        file, key = prepared
        watch.passed(0, objects=1)
        if key is not None:
            switches.append(Switch(file, ends.destination.url_of(key)))
        elif file.owned or file.url in owned:
            # A run whose version was deleted needs nothing any more, nor does what was never committed.
            left.append(file.row)

    in_parallel(watch, pointing, prepare, take)
    die_at("move.switch")
    with hold.write() as transaction:
        switched = files.switch(transaction, hold.migration_id, switches)
        if migration.move_id is None:
            audit.record(
                transaction,
                migration.user_id,
                "migration.switch",
                ends.destination.url,
                rows=switched,
                left=len(left),
            )
    return switched, tuple(sorted(left))
