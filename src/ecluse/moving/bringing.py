"""Run a move: close the source, bring everything to the destination, compare it, and let people in."""

from __future__ import annotations

import time
from typing import Any, Final

from ecluse import migration
from ecluse.catalog import files, homes, journal, rows
from ecluse.catalog.tables import HomeMove, new_id
from ecluse.documents import copying
from ecluse.dying import die_at
from ecluse.errors import MoveRefused, MoveStopped
from ecluse.moving.comparing import compare, moved_url
from ecluse.moving.opening import Homes, begun_move, counts_there, new_record, part_of, state_there
from ecluse.moving.planning import describe_jobs, plan
from ecluse.moving.results import NAMED, SHARES, Outcome, Report, Verification

#: Seconds between two looks at the jobs that a run waits for.
LOOK_SECONDS: Final = 1.0
_DOING: Final[dict[migration.Stage, str]] = {
    "compare": "comparing",
    "copy": "copying",
    "switch": "pointing rows at",
    "verify": "reading",
    "remove": "removing",
}


def run(both: Homes, *, wait: bool = False, report: Report = lambda *_: None) -> Outcome:
    """Bring everything to the destination, compare it there, and let people in. May be killed and called again.

    `wait`: for jobs that wait or run, until they have ended.

    Raises:
        MoveRefused: it cannot begin; nothing was changed.
        MoveStopped: it ended early; the message says why, and how to go on.
    """
    move = _begun(both, wait, report)
    if move.state != "moved":
        if state_there(both, move.id) != "done":
            _bring(both, move, report)
        die_at("move.arrived")
        report(1.0, "everything arrived")
        with both.source.catalog.write() as transaction:
            homes.set_state(transaction, move.id, "moved", counts=counts_there(both, move.id))
    counts = counts_there(both, move.id)
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
    """Return the move, known on both sides, with the source closed."""
    move = begun_move(both)
    if move is None:
        problems = plan(both, wait=wait, report=lambda _, message: report(0.0, message)).problems
        if problems:
            raise MoveRefused(" ".join(problems))
        move = _close_source(both, wait, report)
    with both.destination.catalog.write() as transaction:
        if homes.find(transaction, move.id) is None:
            homes.close(transaction, new_record(both, move.id, "in", "arriving"))
    return move


def _close_source(both: Homes, wait: bool, report: Report) -> HomeMove:
    """Close the source while no job waits or runs there."""
    while True:
        active = both.source.jobs.active()
        if active and not wait:
            raise MoveRefused(describe_jobs(active))
        if active:
            report(0.0, f"waiting for {len(active)} job(s), first {active[0].title}")
            time.sleep(LOOK_SECONDS)
            continue
        move = new_record(both, new_id(), "out", "moving")
        with both.source.catalog.write() as transaction:
            homes.close(transaction, move)
        if not both.source.jobs.active():  # nor was one queued by a process that had looked just before
            return move
        with both.source.catalog.write() as transaction:
            homes.set_state(transaction, move.id, "undone")


def _bring(both: Homes, move: HomeMove, report: Report) -> None:
    """Bring everything but sessions and tokens, compare it, and bring these."""
    everything = rows.tables()
    early = [table for table in everything if table.name not in rows.LAST]
    for number, table in enumerate(early):
        report(SHARES["rows"] * number / len(early), "copying rows")
        _bring_rows(both, move.id, table)
    _bring_documents(both, report)
    die_at("move.documents")
    objects, size = _bring_objects(both, move, report)
    left = _bring_addresses(both)
    die_at("move.compare")
    seen = Verification(move.id)
    compare(both, seen, early, report)
    if not seen.passed:
        raise MoveStopped(
            f"What arrived is not what left: {'; '.join(seen.findings[:NAMED])}. Nobody was let in there, and nothing "
            "is lost here. Go on: ecluse move run; or back: ecluse move rollback"
        )
    die_at("move.compared")
    report(SHARES["compare"], "letting people in")
    with both.destination.catalog.write() as transaction:
        rows.set_sequences(transaction.connection(), everything)
    for table in everything:
        if table.name in rows.LAST:
            _bring_rows(both, move.id, table)
            seen.rows[table.name] = {"rows": rows.count(both.source.catalog.engine, table)}
    counts = {
        "rows": {name: facts["rows"] for name, facts in seen.rows.items()},
        "digests": {name: facts["digest"] for name, facts in seen.rows.items() if "digest" in facts},
        "documents": seen.documents.get("same", 0),
        "jobs": seen.rows["jobs"]["rows"],
        "objects": objects,
        "bytes": size,
        "left": list(left),
    }
    with both.destination.catalog.write() as transaction:
        homes.hold(transaction, move.id, ("arriving",))
        homes.set_state(transaction, move.id, "done", counts=counts)


def _bring_rows(both: Homes, move_id: str, table: Any) -> None:
    """Copy the rows of a table that have not arrived, in batches that are each noted with their transaction."""
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
            if last is None and table.name in rows.SEEDED:
                rows.remove_all(transaction.connection(), [table])
            rows.write(transaction.connection(), table, batch)
        die_at(f"move.rows.{table.name}")
        last = after
    with there.write() as transaction:
        homes.complete(transaction, move_id, table.name)


def _bring_documents(both: Homes, report: Report) -> None:
    if both.documents_stay:
        return
    start, share = SHARES["rows"], SHARES["documents"] - SHARES["rows"]
    copying.copy(
        both.source.documents,
        both.destination.documents,
        lambda done, of, _: report(start + share * done / max(of, 1), "copying documents"),
    )


def _bring_objects(both: Homes, move: HomeMove, report: Report) -> tuple[int, int]:
    """Copy and verify the objects of every route, and point the copied rows there; return how many, and their bytes."""
    there, stores = both.destination.catalog, both.stores
    ways = both.routes()
    objects = size = 0
    for number, route in enumerate(ways):
        start = SHARES["documents"] + (SHARES["objects"] - SHARES["documents"]) * number / len(ways)
        part = part_of(move, number, route)

        def report_progress(now: migration.Progress, start: float = start) -> None:
            share = (SHARES["objects"] - SHARES["documents"]) / len(ways)
            report(start + share * now.fraction, f"{_DOING[now.stage]} objects")

        with there.read() as transaction:
            begun = {row.id for row in journal.of_move(transaction, move.id)}
        if part.id not in begun:
            migration.plan(
                there,
                stores,
                migration.Request(
                    source=route.source.url, destination=route.destination.url, switch_rows=True, part=part
                ),
                progress=report_progress,
            )
        state = migration.summary(there, part.id)
        if state.everything.objects == 0 and not any(
            True for info in route.source.list() if route.takes(info.key)
        ):
            continue
        outcome = migration.run(there, stores, part.id, part=part, progress=report_progress)
        objects += outcome.verified.objects
        size += outcome.verified.size
    return objects, size


def _bring_addresses(both: Homes) -> tuple[str, ...]:
    """Rewrite what no migration points at; return the rows that keep an address of the source."""
    ways = both.routes()
    with both.destination.catalog.write() as transaction:
        files.move_folders(transaction, lambda url: moved_url(ways, url))
        return tuple(file.row for file in files.files(transaction) if moved_url(ways, file.url) != file.url)
