"""Move objects from one store to another, and the rows that point at them: plan, run, verify, roll back.

A migration copies and never moves: the source stays as it is. Each object is hashed while it is copied,
compared with the digest that a row or a manifest has for it, and read again at the destination. What became
of it stands in the journal, a table of the catalog, so that a run that was killed goes on where it was. Rows
switch in one transaction, once everything they point at is at the destination; until then, and after a
rollback, they point at the source.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from statistics import median
from typing import Final

from ecluse.catalog import Catalog, audit, files, journal
from ecluse.catalog.files import Switch
from ecluse.catalog.journal import SETTLED, Amount, Entry
from ecluse.catalog.tables import File, Migration, MigrationRow, new_id
from ecluse.errors import (
    DigestMismatch,
    EcluseError,
    InvalidInput,
    JobCancelled,
    ManifestInvalid,
    MigrationConflict,
    MigrationHeld,
    MigrationStopped,
    ObjectNotFound,
    SettingsError,
)
from ecluse.migration.copying import Copier, Progress, Stage, Watch, digest_of, in_parallel
from ecluse.migration.hold import Hold
from ecluse.migration.overlap import lies_in, share_a_part
from ecluse.migration.survey import Ends, folder_url, names, survey
from ecluse.registry import CLAIM, MANIFEST, SIGNATURE, Manifest, is_version, manifest_bytes
from ecluse.sentences import _, num
from ecluse.settings import AREAS, local_folder
from ecluse.storage import ObjectStore, Stores, checked_key, is_within, join_key

__all__ = [
    "Estimate",
    "Group",
    "Outcome",
    "Part",
    "Plan",
    "Progress",
    "Report",
    "RolledBack",
    "Stage",
    "Summary",
    "Verification",
    "check_places",
    "estimate",
    "estimate_rest",
    "find",
    "findings",
    "list_migrations",
    "plan",
    "rollback",
    "run",
    "summary",
    "verify",
]

#: While objects arrive at the source or change there, a run looks again, this often at most.
PASSES: Final = 3
#: How many names of a kind a plan or a summary lists.
LISTED: Final = 50
_LARGEST: Final = 5
#: States of an object that this migration may have written, if it ever began to copy it.
_MAY_BE_WRITTEN: Final = ("verified", "copying", "planned", "damaged", "gone")
_WRITTEN_AT_ONCE: Final = 1000
#: An upload is cut into parts of this size, each a request.
_PART: Final = 8 * 1024 * 1024
#: Bytes and objects a second that an estimate assumes before a migration was measured here.
_BYTES_A_SECOND: Final = 40e6
_OBJECTS_A_SECOND: Final = 50.0

#: A migration of less than this says how long an object takes, not how quick the way is.
_TELLING_BYTES: Final = 50_000_000

Report = Callable[[Progress], None]


@dataclass(frozen=True)
class Group:
    """Objects that belong together, or one: their name, number and bytes."""

    name: str
    objects: int
    size: int


@dataclass(frozen=True)
class Part:
    """One of the migrations of a move of the whole home: of its objects, those whose keys it `takes`.

    The record of the move says who did it, so that the copied log of who did what stays as it is.
    """

    id: str
    move_id: str
    takes: Callable[[str], bool]


@dataclass(frozen=True)
class Plan:
    """What a migration would do. `id` is None for a dry run, which records nothing.

    `conflicts` are keys under which the destination holds another content. What is damaged at the source shows
    when it is copied.
    """

    id: str | None
    source: str
    destination: str
    prefix: str
    switches_rows: bool
    rows: int
    everything: Amount
    to_copy: Amount
    same: Amount
    conflicting: Amount
    conflicts: tuple[str, ...]
    groups: tuple[Group, ...]
    largest: tuple[Group, ...]


@dataclass(frozen=True)
class Outcome:
    """What a finished run did: objects copied by it, rows it switched, and what it left.

    `rows_left` point at objects that are not all at the destination; `gone` were deleted at the source
    meanwhile; `copied_again` objects were begun anew because a run ended while they were on their way.
    """

    id: str
    copied: Amount
    verified: Amount
    rows_switched: int
    rows_left: tuple[str, ...]
    gone: int
    copied_again: int


@dataclass(frozen=True)
class Verification:
    """What reading everything again showed, by key; `extra` is at the destination and no one knows why.

    `objects` were read; `unfinished` are not done yet, and were not.
    """

    id: str
    objects: int
    unfinished: int
    missing: tuple[str, ...]
    different: tuple[str, ...]
    extra: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not (self.missing or self.different or self.extra or self.unfinished)


@dataclass(frozen=True)
class RolledBack:
    """What a rollback did. `rows_kept` and `kept` name what stays as it is, because it changed since."""

    id: str
    rows_back: int
    rows_kept: tuple[str, ...]
    removed: int
    kept: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """How a migration stands: objects and bytes by state, and the first names of what needs a person."""

    migration: Migration
    active: bool
    amounts: dict[str, Amount]
    everything: Amount
    settled: Amount
    conflicts: tuple[str, ...]
    damaged: tuple[str, ...]
    gone: tuple[str, ...]
    copied_again: int


@dataclass(frozen=True)
class Estimate:
    """What a migration takes. `measured`: the rate is that of earlier ones here, else a careful guess."""

    objects: int
    size: int
    puts: int
    gets: int
    seconds: float
    measured: bool


# Look


def find(catalog: Catalog, migration_id: str) -> Migration:
    """One migration.

    Raises:
        NotFound: there is none of this id.
    """
    with catalog.read() as transaction:
        return journal.migration_of(transaction, migration_id)


def list_migrations(catalog: Catalog, *, limit: int = 50) -> list[Migration]:
    """The newest first."""
    with catalog.read() as transaction:
        return journal.list_migrations(transaction, limit=limit)


def summary(catalog: Catalog, migration_id: str) -> Summary:
    """How a migration stands now; quick, for a page that is asked for again and again."""
    with catalog.read() as transaction:
        migration = journal.migration_of(transaction, migration_id)
        amounts = journal.amounts(transaction, migration_id)

        def named(state: str) -> tuple[str, ...]:
            found = journal.entries(transaction, migration_id, (state,), limit=LISTED)
            return tuple(entry.key for entry in found)

        return Summary(
            migration=migration,
            active=journal.is_at_work(transaction, migration),
            amounts=amounts,
            everything=_together(amounts.values()),
            settled=_together(amounts.get(state, Amount()) for state in SETTLED),
            conflicts=named("conflict"),
            damaged=named("damaged"),
            gone=named("gone"),
            copied_again=journal.copied_again(transaction, migration_id),
        )


# Plan


def check_places(stores: Stores, source: str, destination: str, prefix: str = "") -> None:
    """Refuse what cannot be planned at a glance from afar, before anything is listed or written down.

    Who is not at a terminal of the server reaches no folder of it but those of the areas.

    Raises:
        InvalidInput: an address cannot be used, carries a key, is another folder, or one lies within the other.
    """
    ends = _chosen_ends(stores, source, destination, prefix)
    for store in (ends.source, ends.destination):
        if local_folder(store.url) is not None and not any(
            lies_in(store.url, area.url) for area in stores.areas().values()
        ):
            raise InvalidInput(
                _(
                    "%(store)s is no folder of an area. Any other folder of the server is for its "
                    "terminal: ecluse migrate plan",
                    store=store.url,
                )
            )


def plan(
    catalog: Catalog,
    stores: Stores,
    *,
    source: str,
    destination: str,
    prefix: str = "",
    switch_rows: bool = False,
    user_id: str | None = None,
    job_id: str | None = None,
    part: Part | None = None,
    dry_run: bool = False,
    progress: Report = lambda _: None,
) -> Plan:
    """List the source and compare it with the destination; record the migration unless `dry_run`.

    `source` and `destination` are addresses of stores, or names of areas. Nothing is written to either. The
    migration of a job, `job_id`, has its id. `part`: it is one of a move of the whole home.

    Raises:
        InvalidInput: an address cannot be used, or one lies within the other.
        StoreUnavailable: a store does not answer.
    """
    ends = _chosen_ends(stores, source, destination, prefix)
    if part is not None:
        ends = replace(ends, takes=part.takes)
    entries = survey(catalog, ends, {}, Watch(progress, lambda: False))
    if not entries and part is None:
        raise InvalidInput(
            _(
                "Nothing lies at %(store)s. Check the address, and that its disk is mounted.",
                store=folder_url(ends.source, ends.prefix),
            )
        )
    migration_id = None
    if not dry_run:
        migration = Migration(
            id=part.id if part else job_id or new_id(),
            move_id=part.move_id if part else None,
            user_id=user_id,
            job_id=job_id,
            source=ends.source.url,
            destination=ends.destination.url,
            prefix=ends.prefix,
            switches_rows=switch_rows,
        )
        with catalog.write() as transaction:
            migration_id = journal.add_migration(transaction, migration).id
            for some in _batches(entries):
                journal.add_entries(transaction, migration_id, some)
            if part is None:
                audit.record(
                    transaction, user_id, "migration.plan", f"{ends.source.url} to {ends.destination.url}"
                )
    rows = len(ends.files(catalog, ends.source))
    return _described(ends, entries, migration_id, switch_rows, rows)


def estimate(catalog: Catalog, plan: Plan) -> Estimate:
    """Requests and time that the run of a plan takes."""
    return _estimate(catalog, plan.to_copy, plan.same)


def estimate_rest(catalog: Catalog, found: Summary) -> Estimate:
    """Requests and time that it takes to copy what is not at the destination yet."""
    open_ = (found.amounts.get(state, Amount()) for state in ("planned", "copying"))
    return _estimate(catalog, _together(open_), found.amounts.get("same", Amount()))


def _estimate(catalog: Catalog, to_copy: Amount, same: Amount) -> Estimate:
    size, objects = to_copy.size, to_copy.objects
    parts = math.ceil(size / _PART)
    rates = _measured_rates(catalog)
    seconds = size / _BYTES_A_SECOND + objects / _OBJECTS_A_SECOND
    return Estimate(
        objects=objects,
        size=size,
        puts=objects + parts,
        gets=2 * objects + same.objects,
        seconds=size / median(rates) if rates else seconds,
        measured=bool(rates),
    )


# Run


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
    ends = _ends(catalog, stores, migration, part)
    watch = Watch(progress, should_stop)
    with _held(catalog, migration_id, "running", "done", "stopped") as hold:
        copied = _copy(catalog, ends, hold, watch)
        _check_undamaged(catalog, migration_id, ends)
        switched, left = _switch(catalog, ends, hold, watch, migration)
        found = summary(catalog, migration_id)
    return Outcome(
        id=migration_id,
        copied=copied,
        verified=found.settled,
        rows_switched=switched,
        rows_left=left,
        gone=found.amounts.get("gone", Amount()).objects,
        copied_again=found.copied_again,
    )


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
    ends, watch = _ends(catalog, stores, migration, part), Watch(progress, should_stop)
    entries = _journal(catalog, migration_id)
    wanted = {e.key: e for e in entries.values() if e.state not in ("gone", "removed")}
    expected = {key: entry for key, entry in wanted.items() if entry.state in SETTLED}
    undone = migration.state in ("rolling_back", "rolled_back")  # and does not go on
    watch.begin("verify", len(expected), sum(entry.size for entry in expected.values()))
    missing, different = list[str](), list[str]()

    pointed = _Pointed(ends, ends.files(catalog, ends.destination))
    released = _released(catalog, ends, migration_id)

    def read(entry: Entry) -> tuple[Entry, str | None]:
        try:
            if pointed.covers(entry.key) and _is_signed_anew(ends, entry):
                return entry, entry.sha256
            return entry, digest_of(ends.destination, entry.key, watch)
        except ObjectNotFound:
            return entry, None
        finally:
            watch.passed(0, objects=1)

    def judge(found: tuple[Entry, str | None]) -> None:
        entry, digest = found
        if digest is None:
            missing.append(entry.key)
        elif digest != entry.sha256:
            different.append(entry.key)

    in_parallel(watch, expected.values(), read, judge)
    there = (info.key for info in ends.listed(ends.destination))
    extra = (key for key in there if key not in wanted and not pointed.covers(key) and not _is_claim(key))
    return Verification(
        id=migration_id,
        objects=len(expected),
        unfinished=0 if undone else len(wanted) - len(expected),
        missing=tuple(sorted(key for key in missing if not released.covers(key))),
        different=tuple(sorted(key for key in different if not released.covers(key))),
        extra=tuple(sorted(extra)),
    )


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
    ends, watch = _ends(catalog, stores, migration, part), Watch(progress, should_stop)
    with _held(catalog, migration_id, "rolling_back", "rolled_back", "rolling_back") as hold:
        back, rows_kept, intact = _switch_back(catalog, ends, hold, watch, audited=migration.move_id is None)
        removed, kept = _remove(catalog, ends, hold, watch, intact)
    return RolledBack(migration_id, back, rows_kept, removed, kept)


def findings(found: Verification) -> str:
    """What a verification found, in a sentence or two, the first names beside what they are; with the way out."""
    told = []
    if found.missing:
        told.append(
            _(
                "%(count)s missing (%(values)s)",
                count=num(len(found.missing), ","),
                values=names(found.missing),
            )
        )
    if found.different:
        told.append(
            _(
                "%(count)s different (%(values)s)",
                count=num(len(found.different), ","),
                values=names(found.different),
            )
        )
    if found.extra:
        told.append(
            _(
                "%(count)s that nothing points at (%(values)s)",
                count=num(len(found.extra), ","),
                values=names(found.extra),
            )
        )
    if found.unfinished:
        onward = _(
            "The migration is unfinished: %(count)s of %(total)s object(s) are done. Go on: "
            "ecluse migrate run %(value)s",
            count=num(found.objects, ","),
            total=num(found.objects + found.unfinished, ","),
            value=found.id,
        )
    elif found.missing:
        onward = _("Copy again what is missing: ecluse migrate run %(value)s", value=found.id)
    else:
        onward = _("Look into these before you rely on the destination.")
    if not told:
        return onward
    return _(
        "%(count)s object(s) were looked for at the destination. Found: %(findings)s. %(onward)s",
        count=num(found.objects, ","),
        findings="; ".join(told),
        onward=onward,
    )


# Addresses


def _opened(stores: Stores, place: str) -> ObjectStore:
    """The store that a person named by an area or by its full address."""
    for area in AREAS:
        if place == area:
            return stores.area(area)
    scheme, divider, rest = place.partition("://")
    is_folder = local_folder(place) is not None
    if not divider:
        areas = ", ".join(AREAS)
        raise InvalidInput(
            _(
                "%(value)s is no store; use an address such as s3://bucket/prefix or file:///folder, "
                "or one of %(values)s.",
                value=repr(place),
                values=areas,
            )
        )
    if any(mark in rest for mark in "?#") or ("@" in rest and not is_folder):
        raise InvalidInput(
            _(
                "An address of a store carries no keys and no query. Put keys into the settings of "
                "its provider."
            )
        )
    try:
        return stores.folder(f"{scheme.lower()}://{rest.rstrip('/') or rest[:1]}")
    except SettingsError as error:
        raise InvalidInput(str(error)) from error


def _chosen_ends(stores: Stores, source: str, destination: str, prefix: str) -> Ends:
    """The places that a person named, apart from each other."""
    cleaned = prefix.strip("/")
    ends = Ends(
        _opened(stores, source), _opened(stores, destination), checked_key(cleaned) if cleaned else ""
    )
    _check_apart(ends)
    return ends


def _ends(catalog: Catalog, stores: Stores, migration: Migration, part: Part | None) -> Ends:
    """The ends of a recorded migration. Until a copy was begun a missing destination is new; later it is away."""
    if migration.move_id is not None and part is None:
        raise InvalidInput(
            _(
                "Migration %(value)s is a part of a move of the whole home, and goes on or back with "
                "it: ecluse move list",
                value=migration.id,
            )
        )
    amounts = summary(catalog, migration.id).amounts
    if not any(amounts.get(state, Amount()).objects for state in ("copying", *SETTLED)):
        stores.make_folder(migration.destination)
    ends = Ends(stores.folder(migration.source), stores.folder(migration.destination), migration.prefix)
    return ends if part is None else replace(ends, takes=part.takes)


def _check_apart(ends: Ends) -> None:
    """`InvalidInput` where the source and the destination share a part."""
    if share_a_part(folder_url(ends.source, ends.prefix), folder_url(ends.destination, ends.prefix)):
        raise InvalidInput(
            _(
                "%(store)s and %(name)s share a part. Choose a destination outside the source.",
                store=ends.source.url,
                name=ends.destination.url,
            )
        )


# Plans


def _described(
    ends: Ends, entries: Sequence[Entry], migration_id: str | None, switches_rows: bool, rows: int
) -> Plan:
    by_state: dict[str, list[Entry]] = {}
    sizes, counts = Counter[str](), Counter[str]()
    for entry in entries:
        by_state.setdefault(entry.state, []).append(entry)
        group = entry.key.partition("/")[0]
        sizes[group] += entry.size
        counts[group] += 1

    def amount(*states: str) -> Amount:
        chosen = [entry for state in states for entry in by_state.get(state, ())]
        return Amount(len(chosen), sum(entry.size for entry in chosen))

    largest = sorted(entries, key=lambda entry: (-entry.size, entry.key))[:_LARGEST]
    conflicts = sorted(entry.key for entry in by_state.get("conflict", ()))
    return Plan(
        id=migration_id,
        source=ends.source.url,
        destination=ends.destination.url,
        prefix=ends.prefix,
        switches_rows=switches_rows,
        rows=rows,
        everything=amount(*by_state),
        to_copy=amount("planned"),
        same=amount(*SETTLED),
        conflicting=amount("conflict"),
        conflicts=tuple(conflicts[:LISTED]),
        groups=tuple(Group(name, counts[name], size) for name, size in sizes.most_common()),
        largest=tuple(Group(entry.key, 1, entry.size) for entry in largest),
    )


def _measured_rates(catalog: Catalog) -> list[float]:
    """Bytes a second of the last migrations that ran through."""
    rates = []
    for migration in list_migrations(catalog, limit=20):
        if migration.state == "done" and migration.seconds_at_work > 0:
            size = summary(catalog, migration.id).amounts.get("verified", Amount()).size
            if size >= _TELLING_BYTES:
                rates.append(size / migration.seconds_at_work)
    return rates[:5]


# Runs


@contextmanager
def _held(catalog: Catalog, migration_id: str, at_work: str, done: str, stopped: str) -> Iterator[Hold]:
    """Hold a migration while the block runs, and record how it ended."""
    hold = Hold(catalog, migration_id).take(at_work)
    verb = "run" if at_work == "running" else "rollback"
    of_a_move = find(catalog, migration_id).move_id is not None
    on = (
        _("Go on: ecluse move %(word)s", word=verb)
        if of_a_move
        else _("Go on: ecluse migrate %(word)s %(value)s", word=verb, value=migration_id)
    )
    try:
        yield hold
    except (MigrationHeld, MigrationConflict, JobCancelled) as error:
        hold.release(stopped, str(error))
        raise
    except EcluseError as error:
        message = _(
            "Migration %(value)s stopped: %(error)s What is done is kept. %(onward)s",
            value=migration_id,
            error=error,
            onward=on,
        )
        hold.release(stopped, message)
        raise MigrationStopped(message) from error
    except Exception:
        hold.release(stopped, _("A fault of ours stopped this. %(onward)s", onward=on))
        raise
    except BaseException:
        hold.release(stopped, _("It was interrupted. %(onward)s", onward=on))
        raise
    else:
        hold.release(done, None)


def _journal(catalog: Catalog, migration_id: str) -> dict[str, Entry]:
    with catalog.read() as transaction:
        return {entry.key: entry for entry in journal.entries(transaction, migration_id)}


def _copy(catalog: Catalog, ends: Ends, hold: Hold, watch: Watch) -> Amount:
    """Copy until the source has nothing more, or keeps changing; what was copied."""
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
        copied = _together((copied, Amount(*done)))
    return copied


def _look_again(catalog: Catalog, ends: Ends, hold: Hold, watch: Watch, *, first: bool) -> None:
    """Bring the journal up to date with what lies at both ends."""
    known = _journal(catalog, hold.migration_id)
    released = _released(catalog, ends, hold.migration_id)
    pointed = _Pointed(ends, ends.files(catalog, ends.destination))

    def is_released(key: str) -> bool:
        own = key.rpartition("/")[2] == SIGNATURE and pointed.covers(key) and ends.destination.exists(key)
        return own or released.covers(key)

    for some in _batches(survey(catalog, ends, known, watch, again=first, is_released=is_released)):
        with hold.write() as transaction:
            journal.add_entries(transaction, hold.migration_id, [e for e in some if e.key not in known])
            journal.set_entries(transaction, hold.migration_id, [e for e in some if e.key in known])


def _check_conflicts(found: Summary, ends: Ends, copied: Amount) -> None:
    count = found.amounts.get("conflict", Amount()).objects
    if count:
        so_far = _("Nothing was copied.") if not copied.objects else _("What was copied is kept.")
        raise MigrationConflict(
            _(
                "%(count)s object(s) cannot be put to %(store)s, because another content, or a name "
                "that cannot be kept, is in the way: %(values)s. %(done_so_far)s Remove or rename "
                "these there, or plan with another destination; then: ecluse migrate run %(value)s",
                count=num(count, ","),
                store=ends.destination.url,
                values=names(found.conflicts),
                done_so_far=so_far,
                value=found.migration.id,
            )
        )


def _check_undamaged(catalog: Catalog, migration_id: str, ends: Ends) -> None:
    found = summary(catalog, migration_id)
    count = found.amounts.get("damaged", Amount()).objects
    if count:
        raise DigestMismatch(
            _(
                "%(count)s object(s) at %(store)s are damaged, not what was recorded of them: "
                "%(values)s. Make or upload them again, or delete what they belong to.",
                count=num(count, ","),
                store=ends.source.url,
                values=names(found.damaged),
            )
        )


def _switch(
    catalog: Catalog, ends: Ends, hold: Hold, watch: Watch, migration: Migration
) -> tuple[int, tuple[str, ...]]:
    """Point rows at the destination, if all they need was verified there: how many, and those that stay."""
    if not migration.switches_rows:
        return 0, ()
    pointing = [file for file in ends.files(catalog, ends.source) if file.form != "folder"]
    owned = {file.url for file in pointing if file.owned}
    watch.begin("switch", len(pointing), 0)
    with catalog.read() as transaction:
        settled = journal.entries(transaction, hold.migration_id, SETTLED)
    there = _Intact(ends.destination, {entry.key: entry.sha256 for entry in settled})
    switches, left = list[Switch](), list[str]()

    def prepare(file: File) -> tuple[File, str | None]:
        key = ends.source.key_of(file.url)
        if key is None or not _keeps_name(file, ends.destination.url_of(key)):
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


# Rollbacks


def _switch_back(
    catalog: Catalog, ends: Ends, hold: Hold, watch: Watch, *, audited: bool
) -> tuple[int, tuple[str, ...], dict[str, str | None]]:
    """Point rows at the source again where that is intact: how many, those that stay, and what was read there."""
    with catalog.read() as transaction:
        rows = files.switched(transaction, hold.migration_id)
        now_at = {_key_of(row): files.find(transaction, _key_of(row)) for row in rows}
    known = _journal(catalog, hold.migration_id)
    read = _read_again(ends, watch, rows, known)
    intact = _Intact(ends.source, read)
    switches, kept = list[tuple[MigrationRow, str]](), list[str]()
    for row in rows:
        key, file = ends.source.key_of(row.url), now_at[_key_of(row)]
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
    ends: Ends, watch: Watch, rows: Sequence[MigrationRow], known: Mapping[str, Entry]
) -> dict[str, str | None]:
    """The digests of what the rows need at the source, of those objects that are as the journal has them."""
    roots = _Covered(key for row in rows if (key := ends.source.key_of(row.url)) is not None)
    wanted = [e for e in known.values() if e.sha256 and e.state in SETTLED and roots.covers(e.key)]
    watch.begin("verify", len(wanted), sum(entry.size for entry in wanted))
    intact: dict[str, str | None] = {}

    def read(entry: Entry) -> tuple[Entry, bool]:
        try:
            return entry, digest_of(ends.source, entry.key, watch) == entry.sha256
        except ObjectNotFound:
            return entry, False
        finally:
            watch.passed(0, objects=1)

    def take(found: tuple[Entry, bool]) -> None:
        entry, same = found
        if same:
            intact[entry.key] = entry.sha256

    in_parallel(watch, wanted, read, take)
    return intact


def _remove(
    catalog: Catalog, ends: Ends, hold: Hold, watch: Watch, intact: Mapping[str, str | None]
) -> tuple[int, tuple[str, ...]]:
    """Delete what the migration wrote and the source has too: how many objects, and those that stay."""
    with catalog.read() as transaction:
        found = journal.entries(transaction, hold.migration_id, _MAY_BE_WRITTEN)
    written = [entry for entry in found if entry.times_copied]
    pointed = _Pointed(ends, ends.files(catalog, ends.destination))
    watch.begin("remove", len(written), 0)
    removed, kept = list[str](), list[str]()

    def remove(some: list[Entry]) -> list[tuple[Entry, bool]]:
        ended = []
        for entry in some:
            free = not pointed.covers(entry.key) and _is_spare(ends, entry, watch, intact)
            if free:
                ends.destination.delete(entry.key)
            ended.append((entry, free))
            watch.passed(0, objects=1)
        return ended

    def take(ended: list[tuple[Entry, bool]]) -> None:
        gone = [replace(entry, state="removed") for entry, free in ended if free]
        with hold.write() as transaction:
            journal.set_entries(transaction, hold.migration_id, gone)
        removed.extend(entry.key for entry in gone)
        kept.extend(entry.key for entry, free in ended if not free)

    in_parallel(watch, _batches(written, 20), remove, take)
    return len(removed), tuple(sorted(kept))


def _is_spare(ends: Ends, entry: Entry, watch: Watch, intact: Mapping[str, str | None]) -> bool:
    """Whether the destination holds what this migration wrote there and the source has as well, or nothing any more."""
    try:
        there = ends.destination.head(entry.key)
        known = entry.sha256 if entry.state in SETTLED else None
        content = known or digest_of(ends.destination, entry.key, watch, counted=False)
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
    return not known or digest_of(ends.destination, entry.key, watch, counted=False) == known


# What rows need


class _Intact:
    """Objects of a store by key, known to be what their digests say."""

    def __init__(self, store: ObjectStore, digests: Mapping[str, str | None]) -> None:
        self._store = store
        self._digests = digests

    def holds(self, key: str, sha256: str | None, *, is_version: bool) -> bool:
        """Whether all of a file is among them: an object, or a version with every file of its manifest."""
        if not is_version:
            return self._has(key, sha256)
        manifest = join_key(key, MANIFEST)
        return self._has(manifest, sha256) and self._has_files(key, manifest)

    def _has(self, key: str, sha256: str | None) -> bool:
        return self._digests.get(key) is not None and sha256 in (None, self._digests[key])

    def _has_files(self, folder: str, manifest: str) -> bool:
        try:
            data = manifest_bytes(self._store, manifest)
            files = Manifest.from_json(data).files
        except (ObjectNotFound, ManifestInvalid):
            return False
        if hashlib.sha256(data).hexdigest() != self._digests[manifest]:
            return False
        return all(self._has(join_key(folder, file.path), file.sha256) for file in files)


def _is_signed_anew(ends: Ends, entry: Entry) -> bool:
    """Whether a signature was written at the destination since the migration brought one there."""
    if entry.key.rpartition("/")[2] != SIGNATURE:
        return False
    e_tag = ends.destination.head(entry.key).e_tag
    return None not in (e_tag, entry.e_tag) and e_tag != entry.e_tag


def _is_claim(key: str) -> bool:
    """Whether it is what keeps the name of a version, even of one that was deleted."""
    version, _rest, name = key.rpartition("/")
    return name == CLAIM and is_version(version.rpartition("/")[2])


class _Covered:
    """Keys of objects and folders; a key is covered if it is one of them or lies in one."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = set(keys)

    def covers(self, key: str) -> bool:
        while key:
            if key in self._keys:
                return True
            key = key.rpartition("/")[0]
        return False


class _Pointed(_Covered):
    """What rows point at, in the destination; all of it where a row points at its root or at a folder that holds it."""

    def __init__(self, ends: Ends, pointing: Sequence[File]) -> None:
        root = ends.destination.url.rstrip("/")
        self._has_all = any(file.url == root or is_within(root, file.url) for file in pointing)
        keys = (ends.destination.key_of(file.url) for file in pointing)
        super().__init__(key for key in keys if key is not None)

    def covers(self, key: str) -> bool:
        return self._has_all or super().covers(key)


def _released(catalog: Catalog, ends: Ends, migration_id: str) -> _Covered:
    """What belonged to rows that were switched, and are gone or point elsewhere since."""
    owned = {file.url for file in ends.files(catalog, ends.destination) if file.owned}
    with catalog.read() as transaction:
        released = []
        for row in files.switched(transaction, migration_id):
            key, file = ends.source.key_of(row.url), files.find(transaction, _key_of(row))
            if key is None or (file is not None and file.url == ends.destination.url_of(key)):
                continue
            if ends.destination.url_of(key) in owned:
                continue  # another row has it: a publication has become a version
            released.append(key)
    return _Covered(released)


def _keeps_name(file: File, url: str) -> bool:
    """Whether a version is called there as its manifest has it: a folder of its model, then its own."""
    return not file.is_version or url.split("/")[-2:] == file.url.split("/")[-2:]


def _key_of(row: MigrationRow) -> files.Key:
    return row.table_name, row.row_id, row.name


def _together(amounts: Iterable[Amount]) -> Amount:
    listed = list(amounts)
    return Amount(sum(one.objects for one in listed), sum(one.size for one in listed))


def _batches(entries: Sequence[Entry], size: int = _WRITTEN_AT_ONCE) -> Iterator[list[Entry]]:
    for start in range(0, len(entries), size):
        yield list(entries[start : start + size])
