"""Let uploads into the store a few at a time. The others wait in a queue, take turns by person, and may ask how long.

An upload that waits is not read: its sender's system holds the bytes back. So the memory that uploads take, and the
requests that a slow store serves at once, are bounded by the number of turns without refusing an upload.
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
    """The queue of uploads of one web process. Used from its event loop alone."""

    def __init__(self, at_once: int = AT_ONCE, most_waiting: int = MOST_WAITING, late: float = LATE) -> None:
        self._free = at_once
        self._most_waiting = most_waiting
        self.late = late
        #: The uploads that wait, by person, in the order of the people's turns.
        self._waiting: OrderedDict[str, deque[Arrival]] = OrderedDict()
        self._named: dict[tuple[str, str], Arrival] = {}

    @asynccontextmanager
    async def arriving(self, request: Request, user_id: str) -> AsyncIterator[Request]:
        """Yield the request of an upload; its body is read only while it is its turn.

        Raises:
            Overloaded: the queue is full.
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
        """Count the uploads that go before this one: 0 while it is its turn, None if there is no such upload."""
        arrival = self._named.get((user_id, upload_id))
        if arrival is None:
            return None
        own = self._waiting.get(user_id)
        if own is None or arrival not in own:
            return 0
        before = own.index(arrival)
        # People take turns. Before this upload each other person sends as many as wait before it of one's own, and one
        # more where that person is next before its owner.
        count, is_earlier = before, True
        for other, theirs in self._waiting.items():
            if other == user_id:
                is_earlier = False
            else:
                count += min(len(theirs), before + is_earlier)
        return count + 1

    @property
    def someone_waits(self) -> bool:
        return bool(self._waiting)

    def ask(self, arrival: Arrival) -> asyncio.Future[None]:
        """Return a future that is done when it is the turn of this upload."""
        turn = asyncio.get_running_loop().create_future()
        arrival.asked = turn
        self._waiting.setdefault(arrival.user_id, deque()).append(arrival)
        self._pass_on()
        return turn

    def give_back(self) -> None:
        self._free += 1
        self._pass_on()

    def forget(self, arrival: Arrival) -> None:
        """Take an upload out of the queue, where it still is in it."""
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
    """One upload that waits or is being received."""

    def __init__(self, admission: Admission, user_id: str, receive: Receive) -> None:
        self.user_id = user_id
        self.asked: asyncio.Future[None] | None = None
        self._admission = admission
        self._receive = receive
        self._has_turn = False
        self._late = 0.0

    async def receive(self) -> Message:
        """Receive the next message once it is its turn; a sender who is late loses the turn to the next upload."""
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
        """Give the place back, however the work has ended."""
        self._admission.forget(self)
        if self._has_turn:
            self._end_turn()

    def _end_turn(self) -> None:
        self._has_turn = False
        self._admission.give_back()


def admission_of(request: Request) -> Admission:
    """Return the queue of uploads of this process."""
    admission = request.app.state.admission
    assert isinstance(admission, Admission)  # noqa: S101 (set where the app is made)
    return admission
