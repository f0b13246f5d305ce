"""Know whether this home may be changed: while it moves, and after it has, it is read here and changed elsewhere.

A home is everything one installation keeps: the rows of its catalog, its objects, its documents and the jobs people
see. `expect_open` stands at the beginning of every transaction that writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.tables import HomeMove, HomeMovePart, now
from ecluse.errors import HomeClosed, MoveStopped, NotFound
from ecluse.sentences import _

State = Literal["moving", "moved", "undone", "released", "arriving", "done", "checking", "removing"]
#: The home has not arrived whole, or is being removed again: nobody is let in.
INCOMPLETE: Final = ("arriving", "checking", "removing")
#: Nothing is changed here but by the move itself.
CLOSED: Final = ("moving", "moved", *INCOMPLETE)
#: The lock of PostgreSQL that whoever writes shares, and whoever closes the home has alone: when it is closed, no
#: transaction is left that did not know.
_CLOSING_LOCK: Final = 7_231_964_207

_CLOSED = (
    select(HomeMove.id, HomeMove.state, HomeMove.source, HomeMove.destination, HomeMove.finished_at)
    .where(HomeMove.state.in_(CLOSED))
    .order_by(HomeMove.created_at.desc())
    .limit(1)
)


def expect_open(transaction: Transaction, *, whole: bool = False) -> None:
    """Make sure that the home may be changed until this transaction ends; with `whole`, only that it is complete.

    Raises:
        HomeClosed: it moves, or has moved.
    """
    if not whole and transaction.get_bind().dialect.name == "postgresql":  # SQLite has one writer at a time
        transaction.execute(select(func.pg_advisory_xact_lock_shared(_CLOSING_LOCK)))
    closed = transaction.execute(_CLOSED).first()
    if closed is not None and (not whole or closed.state in INCOMPLETE):
        raise HomeClosed(
            _words(closed.id, closed.state, closed.source, closed.destination, closed.finished_at)
        )


def why_closed(transaction: Transaction) -> str | None:
    """Return why nothing can be changed here, in a sentence or two; None where it can."""
    closed = transaction.execute(_CLOSED).first()
    return (
        None
        if closed is None
        else _words(closed.id, closed.state, closed.source, closed.destination, closed.finished_at)
    )


def is_restore(source: Mapping[str, Any]) -> bool:
    """Return whether what comes here is a backup that is restored, and no other home."""
    return "place" in source


def close(transaction: Transaction, move: HomeMove) -> None:
    """Close this home, as a source or as a destination: once committed, no other transaction writes or is open."""
    if transaction.get_bind().dialect.name == "postgresql":
        transaction.execute(select(func.pg_advisory_xact_lock(_CLOSING_LOCK)))
    transaction.add(move)


def list_moves(transaction: Transaction) -> list[HomeMove]:
    """List the moves, the newest first."""
    return list(transaction.scalars(select(HomeMove).order_by(HomeMove.created_at.desc(), HomeMove.id)))


def open_move(transaction: Transaction, direction: Literal["out", "in"]) -> HomeMove | None:
    """Return the move out of this home, or into it, that stands: under way, or done and not undone."""
    standing = ("moving", "moved") if direction == "out" else (*INCOMPLETE, "done")
    query = select(HomeMove).where(HomeMove.direction == direction, HomeMove.state.in_(standing))
    return transaction.scalars(query.order_by(HomeMove.created_at.desc()).limit(1)).first()


def find(transaction: Transaction, move_id: str) -> HomeMove | None:
    return transaction.get(HomeMove, move_id)


def hold(transaction: Transaction, move_id: str, states: tuple[State, ...]) -> HomeMove:
    """Lock the move, which stays in one of these states until the transaction ends.

    Raises:
        MoveStopped: another process has brought it further, or back.
    """
    move = transaction.scalar(select(HomeMove).where(HomeMove.id == move_id).with_for_update())
    if move is None:
        raise NotFound(f"No move {move_id}. See: ecluse move list")
    if move.state not in states:
        raise MoveStopped(f"Move {move_id} is {move.state} by now. See: ecluse move list")
    return move


def set_state(
    transaction: Transaction, move_id: str, state: State, *, counts: Mapping[str, Any] | None = None
) -> None:
    """Record how a move stands; `finished_at` is when it ended."""
    ended = now() if state in ("moved", "done", "undone", "released") else None
    values: dict[str, Any] = {"state": state, "finished_at": ended}
    if counts is not None:
        values["counts"] = dict(counts)
    transaction.execute(update(HomeMove).where(HomeMove.id == move_id).values(values))


def parts(transaction: Transaction, move_id: str) -> dict[str, HomeMovePart]:
    """Return the journal of a move at its destination, by table."""
    parts = transaction.scalars(select(HomeMovePart).where(HomeMovePart.move_id == move_id))
    return {part.table_name: part for part in parts}


def advance(
    transaction: Transaction, move_id: str, table: str, before: list[Any] | None, after: list[Any], rows: int
) -> None:
    """Note in the transaction that brings these rows that they are there; `before` and `after` are keys.

    Raises:
        MoveStopped: another process brought some meanwhile.
    """
    hold(transaction, move_id, ("arriving",))
    part = transaction.get(HomeMovePart, (move_id, table))
    if part is None:
        part = HomeMovePart(move_id=move_id, table_name=table, rows=0, last_key=None, done=False)
        transaction.add(part)
    if part.last_key != before:
        raise MoveStopped("Another process is at work on this move. Wait for it, or stop it first.")
    part.rows += rows
    part.last_key = after


def complete(transaction: Transaction, move_id: str, table: str) -> None:
    """Note that all rows of a table have arrived."""
    hold(transaction, move_id, ("arriving",))
    part = transaction.get(HomeMovePart, (move_id, table))
    if part is None:
        part = HomeMovePart(move_id=move_id, table_name=table, rows=0, last_key=None)
        transaction.add(part)
    part.done = True


def forget_parts(transaction: Transaction, move_id: str) -> None:
    """Remove the journal of a move that was undone."""
    transaction.execute(delete(HomeMovePart).where(HomeMovePart.move_id == move_id))


def _words(
    move_id: str,
    state: str,
    source: Mapping[str, Any],
    destination: Mapping[str, Any],
    finished_at: Any,
) -> str:
    """Say why nothing is changed here; with the address, where the destination has one for people."""
    address = destination.get("address")
    if state == "arriving" and is_restore(source):
        return _(
            "A backup is being restored here and has not arrived whole. Wait, or go on with the same one: ecluse "
            "backup restore %(name)s --from %(place)s. Or begin anew with another one, in an empty database and empty "
            "stores.",
            name=move_id,
            place=source["place"],
        )
    if state == "moving" and address:
        return _(
            "Everything here is being moved to %(value)s. Until that has ended it can be read "
            "here and not changed. Nothing was recorded; try again later.",
            value=address,
        )
    if state == "moving":
        return _(
            "Everything here is being moved to another place. Until that has ended it can be read "
            "here and not changed. Nothing was recorded; try again later."
        )
    if state == "moved" and address:
        return _(
            "Everything here moved on %(day)s to %(value)s. It can be read here and is changed "
            "there. Where it is, and how it comes back: ecluse move list",
            day=format(finished_at, "%Y-%m-%d"),
            value=address,
        )
    if state == "moved":
        return _(
            "Everything here moved on %(day)s to another place. It can be read here and is "
            "changed there. Where it is, and how it comes back: ecluse move list",
            day=format(finished_at, "%Y-%m-%d"),
        )
    if state == "arriving":
        return _("Everything is being moved here and has not arrived whole. Wait, or go on: ecluse move run")
    return _("A move to this place is being undone. Go on with it: ecluse move rollback")
