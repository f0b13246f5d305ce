"""See whether the catalog has changed, without asking it a question."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

#: Milliseconds that a look waits for whoever holds the file for itself.
_PATIENCE: Final = 0


class Changes:
    """Tell states of the catalog apart by a number that SQLite keeps with its file.

    https://www.sqlite.org/pragma.html#pragma_data_version: it differs once any other connection, of this process or
    another, has committed. Of PostgreSQL `sums` asks within its session; a catalog in memory cannot tell. Several
    threads may ask.
    """

    def __init__(self, engine: Engine) -> None:
        is_file = engine.dialect.name == "sqlite" and engine.url.database not in (None, "", ":memory:")
        self._file = Path(str(engine.url.database)) if is_file else None
        self._connection: sqlite3.Connection | None = None
        self._lock = threading.Lock()  # numbers of two connections do not compare

    def number(self) -> int | None:
        """Return the number of the state that the catalog is in; None where that cannot be told now."""
        if self._file is None:
            return None
        try:
            with self._lock:
                if self._connection is None:
                    self._connection = _opened(self._file)
                (number,) = self._connection.execute("PRAGMA data_version").fetchone()
        except (
            sqlite3.Error
        ):  # as where another holds the file: whoever asks the catalog itself says what is wrong
            return None
        return int(number)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _opened(file: Path) -> sqlite3.Connection:
    return sqlite3.connect(
        f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=_PATIENCE, isolation_level=None,
        check_same_thread=False,
    )  # fmt: skip
