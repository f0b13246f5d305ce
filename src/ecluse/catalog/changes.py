"""See whether the catalog has changed, without asking it a question."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from sqlalchemy import Engine

#: Milliseconds that a look waits for whoever holds the file for itself.
_PATIENCE: Final = 0


class Changes:
    """Tell states of the catalog apart by a number that SQLite keeps with its file.

    https://www.sqlite.org/pragma.html#pragma_data_version: it differs once any other connection, of this process or
    another, has committed. PostgreSQL has nothing like it, nor has a catalog in memory.
    """

    def __init__(self, engine: Engine) -> None:
        is_file = engine.dialect.name == "sqlite" and engine.url.database not in (None, "", ":memory:")
        self._file = Path(str(engine.url.database)) if is_file else None
        self._connection: sqlite3.Connection | None = None

    def number(self) -> int | None:
        """Return the number of the state that the catalog is in; None where that cannot be told now."""
        if self._file is None:
            return None
        try:
            if self._connection is None:
                self._connection = sqlite3.connect(
                    f"{self._file.resolve().as_uri()}?mode=ro", uri=True, timeout=_PATIENCE, isolation_level=None,
                    check_same_thread=False,
                )  # fmt: skip
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
