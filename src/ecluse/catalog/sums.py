"""Keep what was added up over many rows for as long as the catalog stays as it is, so that a page does not add it up.

Sessions of `Catalog.look` keep sums for one another; in any other session `kept` adds up. PostgreSQL and SQLite say in
one look whether anything was committed since, by whichever process. Then the sum is taken anew: none is ever old.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Generic, TypeVar

from sqlalchemy.orm import Session as Transaction

from ecluse.catalog.changes import Changes
from ecluse.catalog.columns import now

T = TypeVar("T")
#: A sum over fewer rows costs no more than the look that would save it.
LONG: Final = 1_000
#: Sums of one process that are kept.
MOST: Final = 256
#: Seconds for which a sum is kept: a PostgreSQL server that takes the place of another one that failed goes on from
#: what had reached it, and gives numbers of states again.
KEPT_SECONDS: Final = 60.0
#: Which transactions have ended, and so what a question sees. The server numbers those of all its databases together:
#: a commit to another database makes a sum be taken anew, never be old. PostgreSQL before 13 knows it by this
#: name alone: https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-INFO-SNAPSHOT
_SNAPSHOT: Final = "SELECT CAST(txid_current_snapshot() AS text)"
_LOOK: Final = "ecluse_sums"


@dataclass(frozen=True)
class Sum(Generic[T]):
    """What was added up over so many `rows`; `until`: when it is another though nothing is written, None: never."""

    value: T
    rows: int
    until: datetime | None = None


@dataclass(frozen=True)
class _Entry:
    """A sum that was taken when the catalog was in a state or later; None: asked for once, nobody knows in which."""

    sum: Sum[Any]
    state: Hashable
    at: float

    def holds(self, state: Hashable) -> bool:
        """Say whether it is still the sum in this state, the one of now."""
        is_same = state is not None and self.state == state
        is_young = time.monotonic() - self.at < KEPT_SECONDS
        return is_same and is_young and (self.sum.until is None or self.sum.until > now())


class Sums:
    """The sums that one process keeps of one catalog; several threads may use it."""

    def __init__(self, changes: Changes) -> None:
        self._changes = changes
        self._lock = threading.Lock()
        self._entries: OrderedDict[Hashable, _Entry] = OrderedDict()

    def begin(self, session: Transaction) -> None:
        """Let a session use and keep sums, before its first statement: SQLite shows it one state from then on."""
        number = self._changes.number() if self._entries else None
        session.info[_LOOK] = (self, number)

    def of(
        self, transaction: Transaction, number: int | None, key: Hashable, add_up: Callable[[], Sum[T]]
    ) -> T:
        """Return what is kept if it holds; else add up, and keep that of a long list."""
        entry, state = self._entries.get(key), None
        if entry is not None:
            state = _state(transaction, number)
            if entry.holds(state):
                value: T = entry.sum.value
                return value
        added = add_up()
        self._note(key, _Entry(added, state, time.monotonic()))
        return added.value

    def _note(self, key: Hashable, entry: _Entry) -> None:
        with self._lock:
            self._entries.pop(key, None)
            if entry.sum.rows >= LONG:
                self._entries[key] = entry
            while len(self._entries) > MOST:
                self._entries.popitem(last=False)


def kept(transaction: Transaction, key: Hashable, add_up: Callable[[], Sum[T]]) -> T:
    """Return what `add_up` returns or returned, if nothing was committed since and it was asked for by the same `key`.

    The key names the sum and all that it depends on, whose it is first of all; of it nothing is changed afterwards.
    """
    look = transaction.info.get(_LOOK)
    if look is None:
        return add_up().value
    sums, number = look
    result: T = sums.of(transaction, number, key, add_up)
    return result


def _state(transaction: Transaction, number: int | None) -> Hashable:
    """Return the state that the catalog is in, before anything is added up in it; None where that cannot be told."""
    connection = transaction.connection()
    if connection.dialect.name == "postgresql":
        state: str | None = connection.exec_driver_sql(_SNAPSHOT).scalar()
        return state
    return number
