"""Open the home that moves and the place it moves to, and read what is recorded of moves on both sides."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ecluse.catalog import Catalog, homes, journal, rows
from ecluse.catalog.database import HEAD
from ecluse.catalog.tables import HomeMove
from ecluse.errors import MoveRefused
from ecluse.migration import Part
from ecluse.moving.results import NAMED
from ecluse.moving.routes import BothStores, Route, described, is_described, routes
from ecluse.runtime import Runtime
from ecluse.settings import Settings
from ecluse.storage import LONG_PATIENCE


@dataclass(frozen=True)
class Homes:
    """A home that moves and the place it moves to, both open."""

    source: Runtime
    destination: Runtime

    @property
    def stores(self) -> BothStores:
        return BothStores(self.source, self.destination)

    def routes(self) -> list[Route]:
        return routes(self.source, self.destination)

    @property
    def documents_stay(self) -> bool:
        """Return whether both keep their documents in the same database, where they stay."""
        return self.source.settings.documents.place == self.destination.settings.documents.place


@contextmanager
def opened(source: Settings, destination: Settings) -> Iterator[Homes]:
    """Open both homes, for a move from one to the other, and make the tables of the destination where there are none.

    Raises:
        MoveRefused: both are one, or the destination has tables of another version.
    """
    if source.database_url == destination.database_url:
        raise MoveRefused(
            f"Source and destination have the same database, {described(source)['database']}. A move needs another; "
            "objects alone go with: ecluse migrate"
        )
    _check_version(destination)
    with (
        Runtime.open(source, patience=LONG_PATIENCE, moves=True) as ours,
        Runtime.open(destination, patience=LONG_PATIENCE, moves=True) as theirs,
    ):
        theirs.documents.create()
        yield Homes(ours, theirs)


def list_moves(catalog: Catalog) -> list[HomeMove]:
    """Return the moves to and from this home, the newest first."""
    with catalog.read() as transaction:
        return homes.list_moves(transaction)


def _check_version(destination: Settings) -> None:
    catalog = Catalog(destination.database_url, moves=True)
    try:
        with_tables = catalog.engine.dialect.name != "sqlite" or _is_file(catalog)
        version = catalog.version() if with_tables else None
    finally:
        catalog.close()
    if version not in (None, HEAD):
        raise MoveRefused(
            f"The destination has tables of version {version}, this Écluse those of {HEAD}. Choose an empty database, "
            "or start the Écluse installed here with the destination once: ecluse doctor"
        )


def _is_file(catalog: Catalog) -> bool:
    from pathlib import Path

    name = catalog.engine.url.database
    return bool(name) and Path(str(name)).exists()


def begun_move(both: Homes) -> HomeMove | None:
    """Return the move that has begun from this source to this destination.

    Raises:
        MoveRefused: the source moves or has moved elsewhere, or another home has come or comes to the destination.
    """
    with both.source.catalog.read() as transaction:
        move = homes.open_move(transaction, "out")
        arriving = homes.open_move(transaction, "in")
    if arriving is not None and arriving.state != "done":
        raise MoveRefused(
            f"A home is being moved to {described(both.source.settings)['database']} and has not arrived whole. "
            "Finish that move, or roll it back."
        )
    if move is None:
        return None
    if not is_described(both.destination.settings, move.destination):
        verb = "moved" if move.state == "moved" else "is being moved"
        raise MoveRefused(
            f"This home {verb} to {move.destination['database']}, and not to the place that was named. Go on with that "
            "place, or roll that move back: ecluse move rollback"
        )
    with both.destination.catalog.read() as transaction:
        there = homes.find(transaction, move.id)
    if there is None and (obstacles := find_obstacles(both)):
        raise MoveRefused(obstacles[0])
    if there is not None and there.state not in ("arriving", "done"):
        raise MoveRefused("This move is being rolled back. Go on with that: ecluse move rollback")
    if there is not None and there.head != HEAD:
        raise MoveRefused(
            f"This move was begun with tables of version {there.head}, and this Écluse has {HEAD}. Roll it back and "
            "begin it anew: ecluse move rollback"
        )
    return move


def move_from(catalog: Catalog) -> HomeMove:
    with catalog.read() as transaction:
        move = homes.open_move(transaction, "out")
    if move is None:
        raise MoveRefused("No move from here stands. See: ecluse move list")
    return move


def new_record(both: Homes, move_id: str, direction: str, state: homes.State) -> HomeMove:
    return HomeMove(
        id=move_id,
        direction=direction,
        state=state,
        source=described(both.source.settings),
        destination=described(both.destination.settings),
        head=HEAD,
    )


def state_there(both: Homes, move_id: str) -> str | None:
    with both.destination.catalog.read() as transaction:
        there = homes.find(transaction, move_id)
        return None if there is None else there.state


def counts_there(both: Homes, move_id: str) -> dict[str, Any]:
    with both.destination.catalog.read() as transaction:
        there = homes.find(transaction, move_id)
        return {} if there is None else there.counts


def find_obstacles(both: Homes) -> list[str]:
    """Say what the destination has that is of no move from here; nothing where it is empty."""
    return obstacles_at(both.destination, documents_stay=both.documents_stay)


def obstacles_at(there: Runtime, *, documents_stay: bool = False) -> list[str]:
    """Say what a place has, to which a home is to come; nothing where it is empty."""
    occupied = [
        table.name
        for table in rows.tables()
        if table.name not in rows.SEEDED and not rows.is_empty(there.catalog.engine, table)
    ]
    if not documents_stay and next(iter(there.documents.kinds()), None) is not None:
        occupied.append("documents")
    if not occupied:
        return []
    shown = f"{', '.join(occupied[:NAMED])}{', …' if len(occupied) > NAMED else ''}"
    return [
        f"The destination, {described(there.settings)['database']}, is not empty: it has {shown}. A home comes to "
        "an empty place: choose an empty database, or delete what is there."
    ]


def has_part(both: Homes, part: Part) -> bool:
    with both.destination.catalog.read() as transaction:
        return part.id in {row.id for row in journal.of_move(transaction, part.move_id)}


def part_of(move: HomeMove, number: int, route: Route) -> Part:
    return Part(f"{move.id}-{number}", move.id, route.takes)
