"""Know again which version a program asks for, as long as the catalog has not changed: no table is read for it."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from starlette.concurrency import run_in_threadpool

from ecluse.accounts import SignedIn
from ecluse.catalog.tables import ModelVersion, now
from ecluse.inference import Served
from ecluse.runtime import Runtime

#: Seconds after which the catalog is asked again, so that the last use of a token is noted.
KEPT_SECONDS: Final = 20.0
#: Pairs of a token and a reference that are kept.
MOST: Final = 4_096
#: Seconds for which the others go on with what is kept, while the first of them asks the catalog again.
_RENEWING: Final = 5.0
Looked = tuple[SignedIn, Served]


_Key = tuple[bytes, str]


@dataclass
class _Entry:
    row: ModelVersion
    state: int
    until: float
    expires_at: datetime | None


class Lately:
    """What the catalog said of tokens and references in the state that it is in now; for one event loop.

    A catalog that cannot tell its states apart (`catalog.changes`) is asked every time.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._changes = runtime.catalog.changes
        self._entries: OrderedDict[_Key, _Entry] = OrderedDict()
        self._under_way: dict[tuple[int, _Key], asyncio.Future[Looked]] = {}

    def state(self) -> int | None:
        """Return the state of the catalog; what is read from it afterwards may be noted under that."""
        return self._changes.number()

    def find(self, state: int | None, token: str | None, reference: str) -> ModelVersion | None:
        """Return the version that the sender of a token means; None where that has to be looked up."""
        if state is None or token is None:
            return None
        entry = self._entries.get(_key(token, reference))
        if entry is None or entry.state != state:
            return None
        if entry.until < (moment := time.monotonic()):
            entry.until = moment + _RENEWING
            return None
        if entry.expires_at is not None and entry.expires_at <= now():
            return None
        return entry.row

    async def once(
        self, state: int | None, token: str | None, reference: str, look_up: Callable[[], Looked]
    ) -> Looked:
        """Return what `look_up` returns, called in a thread: once for all who ask the same in the same state."""
        if state is None or token is None:
            return await run_in_threadpool(look_up)
        key = (state, _key(token, reference))
        looked = self._under_way.get(key)
        if looked is None:
            looked = self._under_way[key] = asyncio.ensure_future(run_in_threadpool(look_up))
            looked.add_done_callback(lambda _: self._under_way.pop(key))
        return await asyncio.shield(looked)  # who goes away takes it from nobody else

    def note(
        self,
        state: int | None,
        token: str | None,
        reference: str,
        sender: SignedIn,
        row: ModelVersion,
    ) -> None:
        """Keep what the catalog said, which was in this state before it was asked."""
        if state is None or token is None or sender.token is None:
            return
        entry = _Entry(row, state, time.monotonic() + KEPT_SECONDS, sender.token.expires_at)
        self._entries[_key(token, reference)] = entry
        while len(self._entries) > MOST:
            self._entries.popitem(last=False)


def _key(token: str, reference: str) -> _Key:
    """Return what an entry is kept by; the secret itself is not.

    A sender without a token is known by a cookie: of these nothing is kept, and no look-up is shared.
    """
    return hashlib.sha256(token.encode()).digest(), reference
