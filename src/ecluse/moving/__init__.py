"""Move a whole home to another database and other stores, and back: plan, run, verify, roll back.

A home is everything one installation keeps: the rows of its catalog, its objects, its documents, and the jobs that
people see. A move copies: the source stays as it is, closed to changes from the moment the move begins. At the
destination nobody is let in before all is there and compared, sessions and tokens last. Ids stay, and so do the
secrets of sessions, tokens and links, of which the rows hold digests.

The destination keeps the journal. A run that was killed goes on where it was, by the same command.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from ecluse import migration
from ecluse.catalog import Catalog, files, homes, journal, rows
from ecluse.catalog.database import HEAD
from ecluse.catalog.tables import HomeMove, new_id
from ecluse.documents import copying
from ecluse.errors import MoveRefused, MoveStopped
from ecluse.migration import Part
from ecluse.moving.routes import BothStores, Route, described, is_described, routes
from ecluse.runtime import Runtime
from ecluse.settings import Settings, local_folder
from ecluse.storage import LONG_PATIENCE

__all__ = [
    "Homes",
    "Outcome",
    "Plan",
    "Report",
    "Undone",
    "Verification",
    "described",
    "list_moves",
    "opened",
    "plan",
    "release",
    "rollback",
    "run",
    "verify",
]

#: Told how far it is, from 0 to 1, and what is being done.
Report = Callable[[float, str], None]
#: Jobs and rows that a message names.
NAMED: Final = 5
#: Seconds between two looks at the jobs that a run waits for.
LOOK_SECONDS: Final = 1.0
#: Rows that change when somebody only looks in; a home that has more changes than these was used.
_CHANGED_BY_LOOKING: Final = ("sessions", "api_tokens")
#: Of the work of a run, the part of each stage.
_SHARES: Final = {"rows": 0.2, "documents": 0.3, "objects": 0.85, "compare": 1.0}


@dataclass(frozen=True)
class Plan:
    """What a move would do. `problems` are what it is refused for; each says its way out."""

    source: dict[str, Any]
    destination: dict[str, Any]
    rows: dict[str, int]
    documents: int
    jobs: int
    objects: int
    size: int
    to_copy: int
    size_to_copy: int
    problems: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What a move brought. `left` rows keep an address of the source: what they point at was not there."""

    id: str
    rows: dict[str, int]
    documents: int
    jobs: int
    objects: int
    size: int
    left: tuple[str, ...]


@dataclass
class Verification:
    """What comparing both homes showed; every finding names its first cases."""

    id: str
    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    documents: dict[str, int] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    objects: int = 0
    findings: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.findings


@dataclass(frozen=True)
class Undone:
    """What a rollback removed at the destination; `kept` objects stay, because they changed there or are the last."""

    id: str
    rows: int
    documents: int
    jobs: int
    objects: int
    kept: tuple[str, ...]


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
        """Whether both keep their documents in the same database, where they stay."""
        return self.source.settings.documents.place == self.destination.settings.documents.place


@contextmanager
def opened(source: Settings, destination: Settings) -> Iterator[Homes]:
    """Both homes, for a move from one to the other. The tables of the destination are made where there are none.

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
    """The moves to and from this home, the newest first."""
    with catalog.read() as transaction:
        return homes.list_moves(transaction)


# Plan


def plan(both: Homes, *, wait: bool = False, report: Report = lambda *_: None) -> Plan:
    """Look through both homes and say what a run would do, and what it would be refused for. Nothing is changed.

    `wait`: it would wait for jobs, which are then in nobody's way.
    """
    problems, notes = list[str](), list[str]()
    _note_work(both, problems, wait=wait)
    counts = _looked_through(both, problems, report)
    problems += _in_the_way(both)
    _note_elsewhere(both, problems, notes)
    documents = 0 if both.documents_stay else _count_documents(both.source)
    if both.documents_stay:
        notes.append("Both homes keep documents in the same database; they stay there.")
    planned = [_planned(both, route, number, report) for number, route in enumerate(both.routes())]
    for one in planned:
        if one.conflicts:
            problems.append(
                f"{one.destination} has another content under {one.conflicting.objects} key(s) of this home: "
                f"{', '.join(one.conflicts[:NAMED])}. Remove these there, or choose another place."
            )
    return Plan(
        source=described(both.source.settings),
        destination=described(both.destination.settings),
        rows=counts,
        documents=documents,
        jobs=counts["jobs"],
        objects=sum(one.everything.objects for one in planned),
        size=sum(one.everything.size for one in planned),
        to_copy=sum(one.to_copy.objects for one in planned),
        size_to_copy=sum(one.to_copy.size for one in planned),
        problems=tuple(problems),
        notes=tuple(notes),
    )


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


def _note_work(both: Homes, problems: list[str], *, wait: bool) -> None:
    active = () if wait else both.source.jobs.active()
    if active:
        problems.append(_busy(active))
    with both.source.catalog.read() as transaction:
        held = [
            one for one in journal.unfinished_migrations(transaction) if journal.is_at_work(transaction, one)
        ]
    problems += [
        f"Migration {one.id} is at work. Wait for it, or stop it. See: ecluse migrate list" for one in held
    ]


def _busy(active: Any) -> str:
    titles = ", ".join(f"{job.title} ({job.status})" for job in active[:NAMED])
    more = f" and {len(active) - NAMED} more" if len(active) > NAMED else ""
    return (
        f"{len(active)} job(s) wait or run here: {titles}{more}. Let them end (a worker runs them: ecluse up), cancel "
        "them (ecluse jobs cancel ID), or let the move wait: ecluse move run --wait"
    )


def _looked_through(both: Homes, problems: list[str], report: Report) -> dict[str, int]:
    """Table → rows; what the destination's database could not keep becomes a problem."""
    source, dialect = both.source.catalog.engine, both.destination.catalog.engine.dialect.name
    counts: dict[str, int] = {}
    found = rows.tables()
    for number, table in enumerate(found):
        report(number / len(found), "looking through rows")
        counts[table.name] = 0
        for batch in rows.batches(source, table):
            counts[table.name] += len(batch)
            for row in batch:
                reason = rows.unfit(table, row, dialect)
                if reason and len(problems) < NAMED:
                    key = " ".join(map(str, rows.key_of(table, row)))
                    problems.append(
                        f"{table.name} {key}: {reason}, which {dialect} does not keep. Delete or make it again."
                    )
    return counts


def _in_the_way(both: Homes) -> list[str]:
    """What the destination has that is of no move from here."""
    there = both.destination
    found = [table.name for table in rows.tables() if not rows.is_empty(there.catalog.engine, table)]
    if not both.documents_stay and next(iter(there.documents.kinds()), None) is not None:
        found.append("documents")
    if not found:
        return []
    shown = f"{', '.join(found[:NAMED])}{', …' if len(found) > NAMED else ''}"
    return [
        f"The destination, {described(there.settings)['database']}, is not empty: it has {shown}. A home moves to an "
        "empty place: choose an empty database, or delete what is there."
    ]


def _note_elsewhere(both: Homes, problems: list[str], notes: list[str]) -> None:
    """Rows that point outside of the areas: into a folder they would be lost, in a store of the network they stay."""
    roots = [store.url.rstrip("/") for store in both.source.stores.areas().values()]
    with both.source.catalog.read() as transaction:
        outside = [
            one
            for one in files.files(transaction)
            if not any(one.url == root or one.url.startswith(f"{root}/") for root in roots)
        ]
    folders = [file for file in outside if local_folder(file.url) is not None]
    if folders:
        problems.append(
            f"{len(folders)} row(s), such as {folders[0].row}, point at {folders[0].url}, which is in no area of this "
            "home. Bring it into one: ecluse migrate plan file:///THAT/FOLDER data --catalog"
        )
    if len(outside) > len(folders):
        notes.append(
            f"{len(outside) - len(folders)} row(s) point at a store that is no area of this home; they keep that "
            "address."
        )


def _count_documents(home: Runtime) -> int:
    return sum(len(home.documents.keys(kind)) for kind in home.documents.kinds())


def _planned(both: Homes, route: Route, number: int, report: Report) -> migration.Plan:
    """What of a route's objects is to be copied, by the catalog of the source."""
    return migration.plan(
        both.source.catalog,
        both.stores,
        migration.Request(
            source=route.source.url,
            destination=route.destination.url,
            part=Part(f"plan-{number}", "plan", route.takes),
            dry_run=True,
        ),
        progress=lambda now: report(now.fraction, "comparing objects"),
    )


# Run


def run(both: Homes, *, wait: bool = False, report: Report = lambda *_: None) -> Outcome:
    """Bring everything to the destination, compare it there, and let people in. May be killed and called again.

    `wait`: for jobs that wait or run, until they have ended.

    Raises:
        MoveRefused: it cannot begin; nothing was changed.
        MoveStopped: it ended early; the message says why, and how to go on.
    """
    move = _begun(both, wait, report)
    if move.state != "moved":
        if _state_there(both, move.id) != "done":
            _bring(both, move, report)
        report(1.0, "everything arrived")
        with both.source.catalog.write() as transaction:
            homes.set_state(transaction, move.id, "moved", counts=_counts_there(both, move.id))
    counts = _counts_there(both, move.id)
    return Outcome(
        id=move.id,
        rows=counts["rows"],
        documents=counts["documents"],
        jobs=counts["jobs"],
        objects=counts["objects"],
        size=counts["bytes"],
        left=tuple(counts["left"]),
    )


def _begun(both: Homes, wait: bool, report: Report) -> HomeMove:
    """The move, known on both sides, with the source closed."""
    move = _standing(both)
    if move is None:
        problems = plan(both, wait=wait, report=lambda _, message: report(0.0, message)).problems
        if problems:
            raise MoveRefused(" ".join(problems))
        move = _close_source(both, wait, report)
    with both.destination.catalog.write() as transaction:
        if homes.find(transaction, move.id) is None:
            homes.close(transaction, _record(both, move.id, "in", "arriving"))
    return move


def _standing(both: Homes) -> HomeMove | None:
    """The move that has begun from this source to this destination.

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
    if there is None and (found := _in_the_way(both)):
        raise MoveRefused(found[0])
    if there is not None and there.state not in ("arriving", "done"):
        raise MoveRefused("This move is being rolled back. Go on with that: ecluse move rollback")
    if there is not None and there.head != HEAD:
        raise MoveRefused(
            f"This move was begun with tables of version {there.head}, and this Écluse has {HEAD}. Roll it back and "
            "begin it anew: ecluse move rollback"
        )
    return move


def _close_source(both: Homes, wait: bool, report: Report) -> HomeMove:
    """Close the source while no job waits or runs there."""
    while True:
        active = both.source.jobs.active()
        if active and not wait:
            raise MoveRefused(_busy(active))
        if active:
            report(0.0, f"waiting for {len(active)} job(s), first {active[0].title}")
            time.sleep(LOOK_SECONDS)
            continue
        move = _record(both, new_id(), "out", "moving")
        with both.source.catalog.write() as transaction:
            homes.close(transaction, move)
        if not both.source.jobs.active():  # nor was one queued by a process that had looked just before
            return move
        with both.source.catalog.write() as transaction:
            homes.set_state(transaction, move.id, "undone")


def _record(both: Homes, move_id: str, direction: str, state: homes.State) -> HomeMove:
    return HomeMove(
        id=move_id,
        direction=direction,
        state=state,
        source=described(both.source.settings),
        destination=described(both.destination.settings),
        head=HEAD,
    )


def _state_there(both: Homes, move_id: str) -> str | None:
    with both.destination.catalog.read() as transaction:
        there = homes.find(transaction, move_id)
        return None if there is None else there.state


def _counts_there(both: Homes, move_id: str) -> dict[str, Any]:
    with both.destination.catalog.read() as transaction:
        there = homes.find(transaction, move_id)
        return {} if there is None else there.counts


def _bring(both: Homes, move: HomeMove, report: Report) -> None:
    """Everything but sessions and tokens, then the comparison, then these."""
    everything = rows.tables()
    early = [table for table in everything if table.name not in rows.LAST]
    for number, table in enumerate(early):
        report(_SHARES["rows"] * number / len(early), "copying rows")
        _bring_rows(both, move.id, table)
    _bring_documents(both, report)
    objects, size = _bring_objects(both, move, report)
    left = _bring_addresses(both)
    found = Verification(move.id)
    _compare(both, found, early, report)
    if not found.passed:
        raise MoveStopped(
            f"What arrived is not what left: {'; '.join(found.findings[:NAMED])}. Nobody was let in there, and nothing "
            "is lost here. Go on: ecluse move run; or back: ecluse move rollback"
        )
    report(_SHARES["compare"], "letting people in")
    with both.destination.catalog.write() as transaction:
        rows.set_sequences(transaction.connection(), everything)
    for table in everything:
        if table.name in rows.LAST:
            _bring_rows(both, move.id, table)
            found.rows[table.name] = {"rows": rows.count(both.source.catalog.engine, table)}
    counts = {
        "rows": {name: told["rows"] for name, told in found.rows.items()},
        "digests": {name: told["digest"] for name, told in found.rows.items() if "digest" in told},
        "documents": found.documents.get("same", 0),
        "jobs": found.rows["jobs"]["rows"],
        "objects": objects,
        "bytes": size,
        "left": list(left),
    }
    with both.destination.catalog.write() as transaction:
        homes.hold(transaction, move.id, ("arriving",))
        homes.set_state(transaction, move.id, "done", counts=counts)


def _bring_rows(both: Homes, move_id: str, table: Any) -> None:
    """The rows of a table that have not arrived, in batches that are each noted with their transaction."""
    there = both.destination.catalog
    with there.read() as transaction:
        part = homes.parts(transaction, move_id).get(table.name)
    if part is not None and part.done:
        return
    last = None if part is None else part.last_key
    for batch in rows.batches(both.source.catalog.engine, table, last):
        after = list(rows.key_of(table, batch[-1]))
        with there.write() as transaction:
            homes.advance(transaction, move_id, table.name, last, after, len(batch))
            transaction.flush()
            rows.write(transaction.connection(), table, batch)
        last = after
    with there.write() as transaction:
        homes.complete(transaction, move_id, table.name)


def _bring_documents(both: Homes, report: Report) -> None:
    if both.documents_stay:
        return
    start, share = _SHARES["rows"], _SHARES["documents"] - _SHARES["rows"]
    copying.copy(
        both.source.documents,
        both.destination.documents,
        lambda done, of, _: report(start + share * done / max(of, 1), "copying documents"),
    )


def _bring_objects(both: Homes, move: HomeMove, report: Report) -> tuple[int, int]:
    """Copy and verify the objects of every route, and point the copied rows at them: how many, and their bytes."""
    there, stores = both.destination.catalog, both.stores
    ways = both.routes()
    objects = size = 0
    for number, route in enumerate(ways):
        start = _SHARES["documents"] + (_SHARES["objects"] - _SHARES["documents"]) * number / len(ways)
        part = _part(move, number, route)

        def told(now: migration.Progress, start: float = start) -> None:
            share = (_SHARES["objects"] - _SHARES["documents"]) / len(ways)
            report(start + share * now.fraction, f"{_DOING[now.stage]} objects")

        with there.read() as transaction:
            known = {one.id for one in journal.of_move(transaction, move.id)}
        if part.id not in known:
            migration.plan(
                there,
                stores,
                migration.Request(
                    source=route.source.url, destination=route.destination.url, switch_rows=True, part=part
                ),
                progress=told,
            )
        found = migration.summary(there, part.id)
        if found.everything.objects == 0 and not any(
            True for info in route.source.list() if route.takes(info.key)
        ):
            continue
        outcome = migration.run(there, stores, part.id, part=part, progress=told)
        objects += outcome.verified.objects
        size += outcome.verified.size
    return objects, size


_DOING: Final[dict[migration.Stage, str]] = {
    "compare": "comparing",
    "copy": "copying",
    "switch": "pointing rows at",
    "verify": "reading",
    "remove": "removing",
}


def _part(move: HomeMove, number: int, route: Route) -> Part:
    return Part(f"{move.id}-{number}", move.id, route.takes)


def _bring_addresses(both: Homes) -> tuple[str, ...]:
    """Rewrite what no migration points at; the rows that keep an address of the source."""
    ways = both.routes()
    with both.destination.catalog.write() as transaction:
        files.move_folders(transaction, lambda url: _moved(ways, url))
        return tuple(file.row for file in files.files(transaction) if _moved(ways, file.url) != file.url)


def _moved(ways: list[Route], url: str) -> str:
    return next((there for way in ways if (there := way.moved(url)) is not None), url)


# Verify


def verify(both: Homes, *, report: Report = lambda *_: None) -> Verification:
    """Compare both homes row by row, document by document, and read every object at the destination again.

    Raises:
        MoveRefused: no move from here has arrived there.
    """
    move = _arrived(both)
    found = Verification(move.id)
    _compare(both, found, rows.tables(), report)
    wanted = {
        way.destination.url_of(entry.key)
        for number, way in enumerate(both.routes())
        for entry in _journal(both, f"{move.id}-{number}")
    }
    for number, route in enumerate(both.routes()):
        part = _part(move, number, route)
        if not _has_part(both, part):
            continue
        seen = migration.verify(
            both.destination.catalog,
            both.stores,
            part.id,
            part=part,
            progress=lambda now: report(now.fraction, "reading objects"),
        )
        found.objects += seen.objects
        extra = [key for key in seen.extra if route.destination.url_of(key) not in wanted]
        for what, keys in (("missing", seen.missing), ("different", seen.different), ("extra", extra)):
            found.findings += [f"{what}: {route.destination.url_of(key)}" for key in keys]
        if seen.unfinished:
            found.findings.append(f"{seen.unfinished} object(s) have not arrived")
    return found


def _arrived(both: Homes) -> HomeMove:
    move = _standing(both)
    if move is None or _state_there(both, move.id) is None:
        raise MoveRefused("No move from here to that place has begun. Begin it: ecluse move run --to FILE")
    return move


def _has_part(both: Homes, part: Part) -> bool:
    with both.destination.catalog.read() as transaction:
        return part.id in {one.id for one in journal.of_move(transaction, part.move_id)}


def _journal(both: Homes, migration_id: str) -> list[journal.Entry]:
    with both.destination.catalog.read() as transaction:
        return journal.entries(transaction, migration_id)


def _compare(both: Homes, found: Verification, tables: list[Any], report: Report) -> None:
    """Rows, documents and the records of jobs of both homes beside each other."""
    ways = both.routes()

    def as_there(table: str, row: rows.Row) -> rows.Row:
        return files.as_moved(table, row, lambda url: _moved(ways, url))

    for number, table in enumerate(tables):
        report(_SHARES["objects"] + (1 - _SHARES["objects"]) * number / len(tables), "comparing rows")
        told = rows.compare(both.source.catalog.engine, both.destination.catalog.engine, table, as_there)
        found.rows[table.name] = {"rows": told.rows, "digest": told.digest}
        _take(found, told)
    if not both.documents_stay:
        compared = copying.compare(both.source.documents, both.destination.documents, lambda *_: None)
        found.documents = {str(state): number for state, number in compared.counts.items()}
        found.findings += [
            f"{state}: document {kind} {key}"
            for state, names in compared.named.items()
            for kind, key in names
        ]


def _take(found: Verification, told: rows.Difference) -> None:
    found.findings += told.named
    more = sum(told.counts.values()) - len(told.named)
    if more:
        found.findings.append(f"and {more} more of this table")


# Roll back


def rollback(both: Homes, *, report: Report = lambda *_: None) -> Undone:
    """Remove at the destination what the move brought, and open the source again. May be killed and called again.

    Raises:
        MoveRefused: no move stands, or the destination was used since: what was made there would be lost.
    """
    move = _standing_out(both.source.catalog)
    if not is_described(both.destination.settings, move.destination):
        raise MoveRefused(
            f"This home moves or moved to {move.destination['database']}, and not to the place that was named."
        )
    undone = Undone(move.id, 0, 0, 0, 0, ())
    if _state_there(both, move.id) not in (None, "undone"):
        _expect_unused(both, move, report)
        undone = _remove(both, move, report)
    with both.source.catalog.write() as transaction:
        homes.set_state(transaction, move.id, "undone")
    return undone


def release(catalog: Catalog) -> HomeMove:
    """Open a source again without asking its destination, where everything stays as it is: the move that ends.

    Raises:
        MoveRefused: no move stands here.
    """
    move = _standing_out(catalog)
    with catalog.write(closed=True) as transaction:
        homes.set_state(transaction, move.id, "released")
    return move


def _standing_out(catalog: Catalog) -> HomeMove:
    with catalog.read() as transaction:
        move = homes.open_move(transaction, "out")
    if move is None:
        raise MoveRefused("No move from here stands. See: ecluse move list")
    return move


def _expect_unused(both: Homes, move: HomeMove, report: Report) -> None:
    """Close the destination, and go on only if nothing was made or changed there since the move ended."""
    there = both.destination.catalog
    with there.write() as transaction:
        state = homes.hold(transaction, move.id, ("arriving", "done", "checking", "removing")).state
        if state in ("arriving", "removing"):
            homes.set_state(transaction, move.id, "removing")
            return
    with there.write() as transaction:
        counts = _counts_there(both, move.id)
        homes.close(transaction, homes.hold(transaction, move.id, ("done", "checking")))
        homes.set_state(transaction, move.id, "checking")
    found = Verification(move.id)
    _compare(both, found, [one for one in rows.tables() if one.name not in _CHANGED_BY_LOOKING], report)
    with there.write() as transaction:
        homes.hold(transaction, move.id, ("checking",))
        homes.set_state(transaction, move.id, "removing" if found.passed else "done", counts=counts)
    if not found.passed:
        raise MoveRefused(
            f"The destination was used since: {'; '.join(found.findings[:NAMED])}. Removing it would lose that. Move "
            "back from there instead (ecluse move run --from FILE --to NEW), or open this home beside it: "
            "ecluse move release"
        )


def _remove(both: Homes, move: HomeMove, report: Report) -> Undone:
    """Objects first, while the rows still say what they are; then documents, jobs and rows."""
    there, removed, kept = both.destination, 0, list[str]()
    for number, route in enumerate(both.routes()):
        part = _part(move, number, route)
        if _has_part(both, part):
            back = migration.rollback(
                there.catalog,
                both.stores,
                part.id,
                part=part,
                progress=lambda now: report(now.fraction / 2, "removing objects"),
            )
            removed += back.removed
            kept += [route.destination.url_of(key) for key in back.kept]
    report(0.6, "removing documents")
    documents = 0 if both.documents_stay else _remove_documents(both)
    report(0.8, "removing rows")
    tables = rows.tables()
    with there.catalog.write() as transaction:
        homes.hold(transaction, move.id, ("removing",))
        brought = homes.parts(transaction, move.id)
        count = sum(part.rows for part in brought.values())
        rows.remove_all(transaction.connection(), tables)
        homes.forget_parts(transaction, move.id)
        homes.set_state(transaction, move.id, "undone")
    return Undone(
        move.id, count, documents, brought["jobs"].rows if "jobs" in brought else 0, removed, tuple(kept)
    )


def _remove_documents(both: Homes) -> int:
    """Those that the source has too; the destination had none before."""
    removed = 0
    for kind in both.source.documents.kinds():
        for key in both.source.documents.keys(kind):
            both.destination.documents.delete(kind, key)
            removed += 1
    return removed
