"""Roll a move back, or open its source again without its destination."""

from __future__ import annotations

from typing import Final

from ecluse import migration
from ecluse.catalog import Catalog, homes, rows
from ecluse.catalog.tables import HomeMove
from ecluse.errors import MoveRefused
from ecluse.moving.comparing import compare
from ecluse.moving.opening import Homes, counts_there, has_part, move_from, part_of, state_there
from ecluse.moving.results import NAMED, Report, Undone, Verification
from ecluse.moving.routes import is_described

#: Rows that change when somebody only looks in; a home that has more changes than these was used.
_CHANGED_BY_LOOKING: Final = ("sessions", "api_tokens")


def rollback(both: Homes, *, report: Report = lambda *_: None) -> Undone:
    """Remove at the destination what the move brought, and open the source again. May be killed and called again.

    Raises:
        MoveRefused: no move stands, or the destination was used since: what was made there would be lost.
    """
    move = move_from(both.source.catalog)
    if not is_described(both.destination.settings, move.destination):
        raise MoveRefused(
            f"This home moves or moved to {move.destination['database']}, and not to the place that was named."
        )
    undone = Undone(move.id, 0, 0, 0, 0, ())
    if state_there(both, move.id) not in (None, "undone"):
        _expect_unused(both, move, report)
        undone = _remove(both, move, report)
    with both.source.catalog.write() as transaction:
        homes.set_state(transaction, move.id, "undone")
    return undone


def release(catalog: Catalog) -> HomeMove:
    """Open a source again without asking its destination, where everything stays as it is; return the move that ends.

    Raises:
        MoveRefused: no move stands here.
    """
    move = move_from(catalog)
    with catalog.write(closed=True) as transaction:
        homes.set_state(transaction, move.id, "released")
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
        counts = counts_there(both, move.id)
        homes.close(transaction, homes.hold(transaction, move.id, ("done", "checking")))
        homes.set_state(transaction, move.id, "checking")
    result = Verification(move.id)
    compare(
        both,
        result,
        [table for table in rows.tables() if table.name not in _CHANGED_BY_LOOKING],
        report,
    )
    with there.write() as transaction:
        homes.hold(transaction, move.id, ("checking",))
        homes.set_state(transaction, move.id, "removing" if result.passed else "done", counts=counts)
    if not result.passed:
        raise MoveRefused(
            f"The destination was used since: {'; '.join(result.findings[:NAMED])}. Removing it would lose that. Move "
            "back from there instead (ecluse move run --from FILE --to NEW), or open this home beside it: "
            "ecluse move release"
        )


def _remove(both: Homes, move: HomeMove, report: Report) -> Undone:
    """Remove objects first, while the rows still say what they are; then documents, jobs and rows."""
    there, removed, kept = both.destination, 0, list[str]()
    for number, route in enumerate(both.routes()):
        part = part_of(move, number, route)
        if has_part(both, part):
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
    tables = [table for table in rows.tables() if table.name not in rows.SEEDED]
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
    """Remove the documents that the source has too; the destination had none before."""
    removed = 0
    for kind in both.source.documents.kinds():
        for key in both.source.documents.keys(kind):
            both.destination.documents.delete(kind, key)
            removed += 1
    return removed
