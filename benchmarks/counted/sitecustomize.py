"""Count the transactions of SQLite in every Python process that starts with this folder on PYTHONPATH.

Each process keeps two numbers, all transactions and those that wrote, in a file of its own under COUNTED_TRANSACTIONS.
"""

import os
import sqlite3
import struct
import threading
from pathlib import Path

_WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE", "CREATE", "DROP", "ALTER")
_NO_WORK = ("COMMIT", "END", "ROLLBACK", "PRAGMA", "SAVEPOINT", "RELEASE", "--")


class _Counter:
    def __init__(self, file: Path) -> None:
        self._file = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        self._lock = threading.Lock()
        self._numbers = [0, 0]

    def add(self, which: int) -> None:
        with self._lock:
            self._numbers[which] += 1
            os.pwrite(self._file, struct.pack("QQ", *self._numbers), 0)


def _watch(connection: sqlite3.Connection, counter: _Counter) -> None:
    written = False

    def statement(text: str) -> None:
        """A transaction begins with BEGIN, or is one statement by itself; it counts as writing at its first write."""
        nonlocal written
        word = text.lstrip().upper()
        if word.startswith(_NO_WORK):
            return
        begins = word.startswith("BEGIN")
        if begins or not connection.in_transaction:
            counter.add(0)
            written = False
        if word.startswith(_WRITES) and not written:
            counter.add(1)
            written = True

    connection.set_trace_callback(statement)


def _count() -> None:
    folder = os.environ.get("COUNTED_TRANSACTIONS")
    if not folder:
        return
    connect, counters = sqlite3.connect, dict[int, _Counter]()

    def counted(*arguments, **options):  # type: ignore[no-untyped-def]
        connection = connect(*arguments, **options)
        pid = os.getpid()  # a fork counts for itself
        if pid not in counters:
            counters[pid] = _Counter(Path(folder) / str(pid))
        _watch(connection, counters[pid])
        return connection

    sqlite3.connect = sqlite3.dbapi2.connect = counted


_count()
