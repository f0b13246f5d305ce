"""Read from the journal how migrations stand."""

from __future__ import annotations

from collections.abc import Iterable

from ecluse.catalog import Catalog, journal
from ecluse.catalog.journal import SETTLED, Amount
from ecluse.catalog.tables import Migration
from ecluse.migration.results import LISTED, Summary


def find(catalog: Catalog, migration_id: str) -> Migration:
    """Return one migration.

    Raises:
        NotFound: there is none of this id.
    """
    with catalog.read() as transaction:
        return journal.migration_of(transaction, migration_id)


def list_migrations(catalog: Catalog, *, limit: int = 50) -> list[Migration]:
    """Return the migrations, the newest first."""
    with catalog.read() as transaction:
        return journal.list_migrations(transaction, limit=limit)


def summary(catalog: Catalog, migration_id: str) -> Summary:
    """Return how a migration stands now; quick, for a page that is asked for again and again."""
    with catalog.read() as transaction:
        migration = journal.migration_of(transaction, migration_id)
        amounts = journal.amounts(transaction, migration_id)

        def named(state: str) -> tuple[str, ...]:
            first = journal.entries(transaction, migration_id, (state,), limit=LISTED)
            return tuple(entry.key for entry in first)

        return Summary(
            migration=migration,
            active=journal.is_at_work(transaction, migration),
            amounts=amounts,
            everything=total_of(amounts.values()),
            settled=total_of(amounts.get(state, Amount()) for state in SETTLED),
            conflicts=named("conflict"),
            damaged=named("damaged"),
            gone=named("gone"),
            copied_again=journal.copied_again(transaction, migration_id),
        )


def total_of(amounts: Iterable[Amount]) -> Amount:
    """Return the sum of some amounts."""
    listed = list(amounts)
    return Amount(sum(amount.objects for amount in listed), sum(amount.size for amount in listed))
