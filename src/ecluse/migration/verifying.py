"""Read again at the destination all that a migration brought, and compare it with the journal."""

from __future__ import annotations

from collections.abc import Callable, Collection

from ecluse.catalog import Catalog, journal
from ecluse.catalog.journal import SETTLED, Entry
from ecluse.catalog.tables import Migration
from ecluse.errors import (
    MigrationHeld,
    ObjectNotFound,
)
from ecluse.migration.copying import Watch, digest_of, in_parallel
from ecluse.migration.ends import Ends, ends_of
from ecluse.migration.needs import Pointed, is_claim, is_signed_anew, released_since
from ecluse.migration.results import Part, Report, Verification
from ecluse.migration.running import read_journal
from ecluse.migration.survey import names
from ecluse.sentences import _, num
from ecluse.storage import Stores


def verify(
    catalog: Catalog,
    stores: Stores,
    migration_id: str,
    *,
    part: Part | None = None,
    progress: Report = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Verification:
    """Read again at the destination all that is done and compare it with the journal. Nothing is changed.

    An object is neither missing nor different where its row was deleted, or points elsewhere, since the
    migration switched it. A signature may be another one by now. An object that a row points at is not extra,
    nor is what keeps the name of a deleted version.

    Raises:
        MigrationHeld: a process is at work on it, and what it has begun is not as recorded yet.
    """
    migration = _at_rest(catalog, migration_id)
    ends, watch = ends_of(catalog, stores, migration, part), Watch(progress, should_stop)
    entries = read_journal(catalog, migration_id)
    kept = {e.key: e for e in entries.values() if e.state not in ("gone", "removed")}
    expected = {key: entry for key, entry in kept.items() if entry.state in SETTLED}
    undone = migration.state in ("rolling_back", "rolled_back")  # and does not go on
    watch.begin("verify", len(expected), sum(entry.size for entry in expected.values()))
    pointed = Pointed(ends, ends.files(catalog, ends.destination))
    released = released_since(catalog, ends, migration_id)
    missing, different = _compare(ends, watch, expected.values(), pointed)
    there = (info.key for info in ends.listed(ends.destination))
    extra = (key for key in there if key not in kept and not pointed.covers(key) and not is_claim(key))
    return Verification(
        id=migration_id,
        objects=len(expected),
        unfinished=0 if undone else len(kept) - len(expected),
        missing=tuple(sorted(key for key in missing if not released.covers(key))),
        different=tuple(sorted(key for key in different if not released.covers(key))),
        extra=tuple(sorted(extra)),
    )


def _at_rest(catalog: Catalog, migration_id: str) -> Migration:
    """Return the migration; raise `MigrationHeld` where a process is at work on it."""
    with catalog.read() as transaction:
        migration = journal.migration_of(transaction, migration_id)
        at_work = journal.is_at_work(transaction, migration)
    if at_work:
        raise MigrationHeld(
            _(
                "A run or a rollback of migration %(value)s is at work. Verify it once that has "
                "ended: ecluse migrate verify %(word)s",
                value=migration_id,
                word=migration_id,
            )
        )
    return migration


def _compare(
    ends: Ends, watch: Watch, entries: Collection[Entry], pointed: Pointed
) -> tuple[list[str], list[str]]:
    """Read what is at the destination; return the keys that are missing, and those of another content."""
    missing, different = list[str](), list[str]()

    def read(entry: Entry) -> tuple[Entry, str | None]:
        try:
            if pointed.covers(entry.key) and is_signed_anew(ends, entry):
                return entry, entry.sha256
            return entry, digest_of(ends.destination, entry.key, watch)
        except ObjectNotFound:
            return entry, None
        finally:
            watch.passed(0, objects=1)

    def judge(digest_read: tuple[Entry, str | None]) -> None:
        entry, digest = digest_read
        if digest is None:
            missing.append(entry.key)
        elif digest != entry.sha256:
            different.append(entry.key)

    in_parallel(watch, entries, read, judge)
    return missing, different


def findings(verification: Verification) -> str:
    """Say in a sentence or two what a verification found, with the first names of each kind and the way out."""
    kinds = []
    if verification.missing:
        kinds.append(
            _(
                "%(count)s missing (%(values)s)",
                count=num(len(verification.missing), ","),
                values=names(verification.missing),
            )
        )
    if verification.different:
        kinds.append(
            _(
                "%(count)s different (%(values)s)",
                count=num(len(verification.different), ","),
                values=names(verification.different),
            )
        )
    if verification.extra:
        kinds.append(
            _(
                "%(count)s that nothing points at (%(values)s)",
                count=num(len(verification.extra), ","),
                values=names(verification.extra),
            )
        )
    if verification.unfinished:
        onward = _(
            "The migration is unfinished: %(count)s of %(total)s object(s) are done. Go on: "
            "ecluse migrate run %(value)s",
            count=num(verification.objects, ","),
            total=num(verification.objects + verification.unfinished, ","),
            value=verification.id,
        )
    elif verification.missing:
        onward = _("Copy again what is missing: ecluse migrate run %(value)s", value=verification.id)
    else:
        onward = _("Look into these before you rely on the destination.")
    if not kinds:
        return onward
    return _(
        "%(count)s object(s) were looked for at the destination. Found: %(findings)s. %(onward)s",
        count=num(verification.objects, ","),
        findings="; ".join(kinds),
        onward=onward,
    )
