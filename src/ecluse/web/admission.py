"""Let uploads into the store a few at a time. The others wait, each person in turn, and may ask how long.

One that waits is not read: its sender's system holds the bytes back. So what uploads take of memory, and how many
requests a slow store has to serve at once, is bounded by the number of turns, and none has to be refused.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from fastapi import Request
from starlette.types import Message, Receive

from ecluse.errors import Overloaded
from ecluse.sentences import _

#: Uploads that are handed to the store together. Each holds about 40 MB: the first chunk of 8 MiB, up to three more on
#: their way to the store, and what is gathered. The parts of four (12) are what one backend sends at a time.
AT_ONCE: Final = 4
#: Uploads that may wait for a turn; one that waits holds some 100 kB of what its sender has sent already.
MOST_WAITING: Final = 500
#: Seconds by which a sender may be late before its turn goes to the next one, and bytes a second that are on time.
LATE: Final = 2.0
ON_TIME: Final = 256_000
#: The header by which a sender names its upload, to ask about it.
UPLOAD_ID: Final = "upload-id"
LONGEST_ID: Final = 64


class Admission:
    """Who may hand an upload on, in one web process. Used from its event loop alone."""

    def __init__(self, at_once: int = AT_ONCE, most_waiting: int = MOST_WAITING, late: float = LATE) -> None:
        self._free = at_once
        self._most_waiting = most_waiting
        self.late = late
        #: Who waits, by person: the first of the person whose turn it is goes next.
        self._waiting: OrderedDict[str, deque[Arrival]] = OrderedDict()
        self._named: dict[tuple[str, str], Arrival] = {}

    @asynccontextmanager
    async def arriving(self, request: Request, user_id: str) -> AsyncIterator[Request]:
        """The request of an upload, whose body is read only while it is its turn.

        Raises:
            Overloaded: more wait already than may.
        """
        if self.someone_waits and sum(map(len, self._waiting.values())) >= self._most_waiting:
            raise Overloaded(
                _("More uploads wait than can be stored soon. Nothing was kept; try again later."), 60
            )
        arrival = Arrival(self, user_id, request.receive)
        name = user_id, request.headers.get(UPLOAD_ID, "")[:LONGEST_ID]
        if name[1]:
            self._named[name] = arrival
        try:
            yield Request(request.scope, arrival.receive)
        finally:
            if self._named.get(name) is arrival:
                del self._named[name]
            arrival.leave()

    def ahead_of(self, user_id: str, upload_id: str) -> int | None:
        """How many uploads come before this one; 0 where it is its turn, None where no such one is under way."""
        arrival = self._named.get((user_id, upload_id))
        if arrival is None:
            return None
        own = self._waiting.get(user_id)
        if own is None or arrival not in own:
            return 0
        before = own.index(arrival)
        count, first = (
            before,
            True,
        )  # of another person as many as of one's own, and one more where that one is first
        for other, theirs in self._waiting.items():
            if other == user_id:
                first = False
            else:
                count += min(len(theirs), before + first)
        return count + 1

    @property
    def someone_waits(self) -> bool:
        return bool(self._waiting)

    def ask(self, arrival: Arrival) -> asyncio.Future[None]:
        """Done when it is this one's turn."""
        turn = asyncio.get_running_loop().create_future()
        arrival.asked = turn
        self._waiting.setdefault(arrival.user_id, deque()).append(arrival)
        self._pass_on()
        return turn

    def give_back(self) -> None:
        self._free += 1
        self._pass_on()

    def forget(self, arrival: Arrival) -> None:
        """Let one go that no longer waits."""
        theirs = self._waiting.get(arrival.user_id)
        if theirs is not None and arrival in theirs:
            theirs.remove(arrival)
            if not theirs:
                del self._waiting[arrival.user_id]

    def _pass_on(self) -> None:
        while self._free and self._waiting:
            user_id, theirs = self._waiting.popitem(last=False)
            arrival = theirs.popleft()
            if theirs:
                self._waiting[user_id] = theirs  # behind all others
            self._free -= 1
            arrival.begin()


class Arrival:
    """One upload on its way in."""

    def __init__(self, admission: Admission, user_id: str, receive: Receive) -> None:
        self.user_id = user_id
        self.asked: asyncio.Future[None] | None = None
        self._admission = admission
        self._receive = receive
        self._has_turn = False
        self._late = 0.0

    async def receive(self) -> Message:
        """What comes next, once it is its turn. Of one whose sender is late the turn goes to another meanwhile."""
        began = time.monotonic()
        coming = asyncio.ensure_future(self._receive())
        try:
            while self._has_turn and not coming.done():
                patience = max(self._admission.late - self._late, 0.05)
                await asyncio.wait({coming}, timeout=patience)
                if not coming.done() and self._admission.someone_waits:
                    self._end_turn()
            message = await coming
        finally:
            coming.cancel()
        if message["type"] == "http.disconnect":
            return message
        size = len(message.get("body", b""))
        self._late = max(self._late + time.monotonic() - began - size / ON_TIME, 0.0)
        if self._has_turn and self._late > self._admission.late and self._admission.someone_waits:
            self._end_turn()
        if not self._has_turn:
            await self._admission.ask(self)
        return message

    def begin(self) -> None:
        self._has_turn, self._late = True, 0.0
        if self.asked is not None and not self.asked.done():
            self.asked.set_result(None)

    def leave(self) -> None:
        """It has ended, however it did."""
        self._admission.forget(self)
        if self._has_turn:
            self._end_turn()

    def _end_turn(self) -> None:
        self._has_turn = False
        self._admission.give_back()


def admission_of(request: Request) -> Admission:
    """The turns of this process."""
    admission = request.app.state.admission
    assert isinstance(admission, Admission)  # noqa: S101 (set where the app is made)
    return admission
