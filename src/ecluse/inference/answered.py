"""Add up how many rows the models of each owner answered in this process, and keep it in the catalog now and then.

What was not kept yet is kept with the next answer after a minute, when somebody reads the figures in this process, and
when it ends. A process that is killed loses what it had not kept.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from typing import Final

from ecluse.catalog import Catalog, daily
from ecluse.errors import EcluseError

#: Seconds between two times of keeping: each lets processes ask the catalog again for what they know of it.
KEPT_EVERY: Final = 60.0
logger = logging.getLogger(__name__)


class Answered:
    """Rows that were answered, by owner and day, since they were last kept. For any thread."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._lock = threading.Lock()
        self._rows: Counter[tuple[str, str]] = Counter()
        self._kept_at = time.monotonic()

    def note(self, owner_id: str, rows: int) -> None:
        """Count rows that a model of this owner answered; the event loop does not wait for what is kept then."""
        with self._lock:
            self._rows[owner_id, daily.today()] += rows
            is_due = time.monotonic() - self._kept_at > KEPT_EVERY
            if is_due:
                self._kept_at = time.monotonic()
        if is_due:
            threading.Thread(target=self.keep, name="answered", daemon=True).start()

    def keep(self) -> None:
        """Add what was counted to the days of the owners; of a catalog that is away, it is kept the next time."""
        with self._lock:
            rows, self._rows = self._rows, Counter()
            self._kept_at = time.monotonic()
        if not rows:
            return
        try:
            with self._catalog.write() as transaction:
                daily.add_predictions(transaction, rows)
        except EcluseError as error:
            logger.warning("Answers of models are added up later: %s", error)
            with self._lock:
                self._rows.update(rows)
