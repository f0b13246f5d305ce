"""Hold a migration for this process, so that no other works on it, and say how it stands when letting go."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Self

from ecluse.catalog import Catalog, Transaction, journal
from ecluse.catalog.database import keep_fence
from ecluse.errors import CatalogUnavailable, JobTaken, MigrationHeld
from ecluse.migration.overlap import meet
from ecluse.processes import Process
from ecluse.sentences import _

BEAT_SECONDS: Final = 5.0
logger = logging.getLogger(__name__)


class Hold:
    """A migration that this process is at work on. It says so every `BEAT_SECONDS` until it is released."""

    def __init__(self, catalog: Catalog, migration_id: str) -> None:
        self.migration_id = migration_id
        self._catalog = catalog
        process = Process.current()
        self._holder = _(
            "process %(value)s on %(name)s (%(word)s)",
            value=process.pid,
            name=process.host,
            word=f"{process.label} {uuid.uuid4().hex[:8]}",
        )
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._counted = time.monotonic()
        self._beating = threading.Thread(target=keep_fence(self._beat), daemon=True)

    def take(self, state: str) -> Self:
        """Begin to hold it.

        Raises:
            MigrationHeld: another process is at work on it, or on a migration that shares a place with it.
            InvalidInput: it is to run, but was rolled back.
        """
        with self._catalog.write() as transaction:
            journal.expect_alone(transaction, self.migration_id, meet)
            journal.take(transaction, self.migration_id, self._holder, state)
        self._counted = time.monotonic()
        self._beating.start()
        return self

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """Yield a transaction of whoever holds the migration.

        Raises:
            MigrationHeld: another process took it over, because this one was silent for long.
        """
        with self._catalog.write() as transaction:
            journal.beat(transaction, self.migration_id, self._holder, self._seconds())
            yield transaction

    def release(self, state: str, error: str | None) -> None:
        """Let go. Where the catalog is away, the next to come finds out by the silence."""
        self._ended.set()
        self._beating.join()
        try:
            with self._catalog.write() as transaction:
                journal.release(transaction, self.migration_id, self._holder, state, error)
        except CatalogUnavailable as unavailable:
            logger.warning("The end of migration %s was not recorded: %s", self.migration_id, unavailable)

    def _seconds(self) -> float:
        """Return the seconds since this was last asked."""
        with self._lock:
            before, self._counted = self._counted, time.monotonic()
            return self._counted - before

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_SECONDS):
            try:
                with self.write():
                    pass
            except CatalogUnavailable as error:
                logger.warning("The next beat of migration %s tries again: %s", self.migration_id, error)
            except (MigrationHeld, JobTaken):
                return  # the next write says so to those who can act on it
            except Exception:  # a beat that fails for whatever reason is no reason to fall silent
                logger.exception("A beat of migration %s failed", self.migration_id)
