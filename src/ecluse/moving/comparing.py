"""Compare both homes: rows, documents and objects."""

from __future__ import annotations

from typing import Any

from ecluse import migration
from ecluse.catalog import files, journal, rows
from ecluse.catalog.tables import HomeMove
from ecluse.documents import copying
from ecluse.errors import MoveRefused
from ecluse.moving.opening import Homes, begun_move, has_part, part_of, state_there
from ecluse.moving.results import SHARES, Report, Verification
from ecluse.moving.routes import Route


def verify(both: Homes, *, report: Report = lambda *_: None) -> Verification:
    """Compare both homes row by row, document by document, and read every object at the destination again.

    Raises:
        MoveRefused: no move from here has arrived there.
    """
    move = _arrived(both)
    result = Verification(move.id)
    compare(both, result, rows.tables(), report)
    kept = {
        way.destination.url_of(entry.key)
        for number, way in enumerate(both.routes())
        for entry in _journal(both, f"{move.id}-{number}")
    }
    for number, route in enumerate(both.routes()):
        part = part_of(move, number, route)
        if not has_part(both, part):
            continue
        part_verified = migration.verify(
            both.destination.catalog,
            both.stores,
            part.id,
            part=part,
            progress=lambda now: report(now.fraction, "reading objects"),
        )
        result.objects += part_verified.objects
        extra = [key for key in part_verified.extra if route.destination.url_of(key) not in kept]
        for what, keys in (
            ("missing", part_verified.missing),
            ("different", part_verified.different),
            ("extra", extra),
        ):
            result.findings += [f"{what}: {route.destination.url_of(key)}" for key in keys]
        if part_verified.unfinished:
            result.findings.append(f"{part_verified.unfinished} object(s) have not arrived")
    return result


def _arrived(both: Homes) -> HomeMove:
    move = begun_move(both)
    if move is None or state_there(both, move.id) is None:
        raise MoveRefused("No move from here to that place has begun. Begin it: ecluse move run --to FILE")
    return move


def _journal(both: Homes, migration_id: str) -> list[journal.Entry]:
    with both.destination.catalog.read() as transaction:
        return journal.entries(transaction, migration_id)


def compare(both: Homes, verification: Verification, tables: list[Any], report: Report) -> None:
    """Compare rows, documents and the records of jobs of both homes."""
    ways = both.routes()

    def as_there(table: str, row: rows.Row) -> rows.Row:
        return files.as_moved(table, row, lambda url: moved_url(ways, url))

    for number, table in enumerate(tables):
        report(SHARES["objects"] + (1 - SHARES["objects"]) * number / len(tables), "comparing rows")
        difference = rows.compare(
            both.source.catalog.engine, both.destination.catalog.engine, table, as_there
        )
        verification.rows[table.name] = {"rows": difference.rows, "digest": difference.digest}
        _take(verification, difference)
    if not both.documents_stay:
        compared = copying.compare(both.source.documents, both.destination.documents, lambda *_: None)
        verification.documents = {str(state): number for state, number in compared.counts.items()}
        verification.findings += [
            f"{state}: document {kind} {key}"
            for state, names in compared.named.items()
            for kind, key in names
        ]


def _take(verification: Verification, difference: rows.Difference) -> None:
    verification.findings += difference.named
    more = sum(difference.counts.values()) - len(difference.named)
    if more:
        verification.findings.append(f"and {more} more of this table")


def moved_url(ways: list[Route], url: str) -> str:
    return next((there for way in ways if (there := way.moved(url)) is not None), url)
