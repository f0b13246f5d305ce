"""Note when sessions and tokens were last used, where that is possible at once."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from ecluse.catalog import Catalog, Transaction
from ecluse.catalog.tables import now
from ecluse.errors import CatalogDamaged, CatalogUnavailable, HomeClosed

#: The last use of a session or token is recorded at most this often, not with every request.
LAST_USE_EVERY: Final = timedelta(minutes=1)
logger = logging.getLogger(__name__)


class LastUses:
    """When sessions and tokens were last used: written now and then, where that is possible at once.

    Who asks is known without it. So nothing that keeps the catalog from being written keeps anyone from reading: not a
    full disk, not one who writes at the moment, not a home that has moved.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._tried_at: dict[str, float] = {}
        self._said: str | None = None

    def note(self, row_id: str, last: datetime | None, touch: Callable[[Transaction, str], None]) -> None:
        """Write that a row is used, unless that was written, or tried, less than a minute ago.

        Raises:
            CatalogDamaged: that is said whoever asks, and for whatever.
        """
        if last is not None and now() - last < LAST_USE_EVERY:
            return
        moment = time.monotonic()
        if moment - self._tried_at.get(row_id, -math.inf) < LAST_USE_EVERY.total_seconds():
            return
        self._tried_at = {
            id_: tried_at
            for id_, tried_at in self._tried_at.items()
            if moment - tried_at < LAST_USE_EVERY.total_seconds()
        } | {row_id: moment}
        try:
            with self._catalog.write(patient=False) as transaction:
                touch(transaction, row_id)
        except CatalogDamaged:
            raise
        except HomeClosed:
            return
        except CatalogUnavailable as error:
            self._say(str(error))
        else:
            self._said = None

    def _say(self, reason: str) -> None:
        """Once for each reason, until it is written again."""
        if reason != self._said:
            self._said = reason
            logger.warning("When sessions and tokens were last used is not written for now: %s", reason)
