"""Plan a migration: list the source, compare it with the destination, and record what is to be copied."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from ecluse.catalog import Catalog, audit, journal
from ecluse.catalog.journal import SETTLED, Amount, Entry
from ecluse.catalog.tables import Migration, new_id
from ecluse.errors import (
    InvalidInput,
)
from ecluse.migration.copying import Watch
from ecluse.migration.ends import Ends, chosen_ends, folder_url
from ecluse.migration.results import LISTED, Group, Part, Plan, Report
from ecluse.migration.survey import survey
from ecluse.sentences import _
from ecluse.storage import Stores

_LARGEST: Final = 5
_WRITTEN_AT_ONCE: Final = 1000


@dataclass(frozen=True)
class Request:
    """What to migrate, and for whom.

    `source` and `destination` are addresses of stores, or names of areas. The migration of a job, `job_id`, has its
    id. `part`: it is one of a move of the whole home. A `dry_run` is planned and not recorded.
    """

    source: str
    destination: str
    prefix: str = ""
    switch_rows: bool = False
    user_id: str | None = None
    job_id: str | None = None
    part: Part | None = None
    dry_run: bool = False


def plan(catalog: Catalog, stores: Stores, request: Request, *, progress: Report = lambda _: None) -> Plan:
    """List the source, compare it with the destination, and record the migration. Nothing is written to either.

    Raises:
        InvalidInput: an address cannot be used, or one lies within the other.
        StoreUnavailable: a store does not answer.
    """
    ends = chosen_ends(stores, request.source, request.destination, request.prefix)
    if request.part is not None:
        ends = replace(ends, takes=request.part.takes)
    entries = survey(catalog, ends, {}, Watch(progress, lambda: False))
    if not entries and request.part is None:
        raise InvalidInput(
            _(
                "Nothing lies at %(store)s. Check the address, and that its disk is mounted.",
                store=folder_url(ends.source, ends.prefix),
            )
        )
    migration_id = None if request.dry_run else _record(catalog, ends, request, entries)
    rows = len(ends.files(catalog, ends.source))
    return _described(ends, entries, migration_id, request.switch_rows, rows)


def _record(catalog: Catalog, ends: Ends, request: Request, entries: Sequence[Entry]) -> str:
    """Write the migration and what it is about into the journal; return its id."""
    part = request.part
    migration = Migration(
        id=part.id if part else request.job_id or new_id(),
        move_id=part.move_id if part else None,
        user_id=request.user_id,
        job_id=request.job_id,
        source=ends.source.url,
        destination=ends.destination.url,
        prefix=ends.prefix,
        switches_rows=request.switch_rows,
    )
    with catalog.write() as transaction:
        migration_id = journal.add_migration(transaction, migration).id
        for batch in batches(entries):
            journal.add_entries(transaction, migration_id, batch)
        if part is None:
            audit.record(
                transaction, request.user_id, "migration.plan", f"{ends.source.url} to {ends.destination.url}"
            )
    return migration_id


def _described(
    ends: Ends, entries: Sequence[Entry], migration_id: str | None, switches_rows: bool, rows: int
) -> Plan:
    """Return what the entries amount to."""
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


def batches(entries: Sequence[Entry], size: int = _WRITTEN_AT_ONCE) -> Iterator[list[Entry]]:
    """Yield the entries, so many at a time."""
    for start in range(0, len(entries), size):
        yield list(entries[start : start + size])
