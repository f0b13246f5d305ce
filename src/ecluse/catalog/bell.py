"""Wait until a job may have been queued, without asking the database again and again."""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from types import TracebackType
from typing import Any, Final, Self

from sqlalchemy import Engine

from ecluse.catalog.changes import Changes
from ecluse.catalog.jobs import CHANNEL

#: Seconds between two looks at the number that SQLite changes with its file; it costs one read of shared memory.
GLANCE: Final = 0.25
#: Seconds after which a bell that cannot be heard is tried again.
AGAIN: Final = 10.0


class Bell:
    """Of PostgreSQL a connection that listens, of SQLite one that sees the file change; and `ring` from this process.

    It wakes too often rather than too seldom, and never later than it was asked to. Where the database cannot tell,
    it wakes once a second.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._reading, self._writing = os.pipe()
        os.set_blocking(self._reading, False)
        os.set_blocking(self._writing, False)
        self._heard: Any = None
        self._changes = Changes(engine)
        self._seen: int | None = None
        self._deaf_until = float("-inf")
        self._is_closed = False
        self._lock = threading.Lock()

    def ring(self) -> None:
        """Wake who waits, from any thread; nobody once it is closed."""
        with self._lock, contextlib.suppress(BlockingIOError):  # as where it has been rung often enough
            if not self._is_closed:
                os.write(self._writing, b"!")

    def wait(self, seconds: float) -> None:
        """Return when it rings, and after so many seconds in any case."""
        if self._engine.dialect.name == "postgresql":
            self._wait_for_notice(seconds)
        else:
            self._wait_for_change(seconds)
        try:
            os.read(self._reading, 1024)
        except BlockingIOError:  # nobody rang: the seconds are over
            return

    def close(self) -> None:
        if self._heard is not None:
            self._heard.close()
            self._heard = None
        self._changes.close()
        with self._lock:  # so that no ring goes to a file that has got the number since
            if self._is_closed:
                return
            self._is_closed = True
            os.close(self._reading)
            os.close(self._writing)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _wait_for_notice(self, seconds: float) -> None:
        connection = self._listening()
        if connection is None:
            select.select([self._reading], [], [], min(seconds, 1.0))
            return
        ready, _, _ = select.select([self._reading, connection.fileno()], [], [], seconds)
        if connection.fileno() in ready:
            try:
                connection.execute("SELECT 1")  # reads what has come
            except Exception as error:  # noqa: BLE001 (the driver's own; it is connected anew)
                self._lose(error)

    def _listening(self) -> Any:
        if self._heard is None and time.monotonic() >= self._deaf_until:
            try:
                pooled = self._engine.raw_connection()
                connection: Any = pooled.driver_connection
                pooled.detach()
                connection.autocommit = True
                self._heard = connection
                connection.add_notify_handler(lambda _: None)  # else what was heard is kept for ever
                connection.execute(f"LISTEN {CHANNEL}")
            except Exception as error:  # noqa: BLE001 (the driver's own, or its pool's)
                self._lose(error)
        return self._heard

    def _lose(self, error: Exception) -> None:
        """Poll for a while: whether the database answers is for those to say who ask it for something."""
        if self._heard is not None:
            self._heard.close()
        self._heard, self._deaf_until = None, time.monotonic() + AGAIN

    def _wait_for_change(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select([self._reading], [], [], min(left, GLANCE))
            if ready or self._has_changed():
                return

    def _has_changed(self) -> bool:
        number = self._changes.number()
        changed = number is None or number != self._seen
        self._seen = number
        return changed
