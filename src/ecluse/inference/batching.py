"""Ask a model about the rows of several requests at once, a batch at a time, with a bounded queue.

A request that comes while nothing is asked is asked at once, with those that come in the same turn of the event loop.
Those that come meanwhile are the next batch. The event loop never computes an answer: a process of the version's own
does, or a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from ecluse.errors import InvalidInput, ModelRefused, ModelStopped, Overloaded
from ecluse.inference.metrics import KindMetrics, Result
from ecluse.inference.ordinary import Rows, framed
from ecluse.later import Later
from ecluse.sentences import _

if TYPE_CHECKING:
    import polars as pl
else:
    pl = Later("polars")

#: Rows of several requests that are asked about at once; a request of more is asked by itself.
MOST_ROWS: Final = 2_048
#: Requests that may wait for one version, and for all those of a process together.
MOST_WAITING: Final = 256
MOST_WAITING_IN_ALL: Final = 1_024
#: The share of the newest batch in the time that one takes.
_NEWEST: Final = 0.2
Ask: TypeAlias = "Callable[[Sequence[Rows]], Awaitable[pl.DataFrame]]"


@dataclass
class _Request:
    rows: Rows
    loop: asyncio.AbstractEventLoop
    answer: asyncio.Future[pl.DataFrame]
    began: float = field(default_factory=time.perf_counter)

    def settle(self, answer: pl.DataFrame | BaseException) -> None:
        """Give the answer, or the error, to whoever waits for it."""
        if self.loop is asyncio.get_running_loop():
            self._settle(answer)
            return
        with contextlib.suppress(RuntimeError):  # its loop is closed, and nobody waits there
            self.loop.call_soon_threadsafe(self._settle, answer)

    def _settle(self, answer: pl.DataFrame | BaseException) -> None:
        if self.answer.done():  # it was called off
            return
        if isinstance(answer, BaseException):
            self.answer.set_exception(answer)
        else:
            self.answer.set_result(answer)


class Room:
    """Count the requests that wait in one process, for any of its versions; `most_of_one` is the most for one."""

    def __init__(self, most: int = MOST_WAITING_IN_ALL, *, most_of_one: int = MOST_WAITING) -> None:
        self._most = most
        self.most_of_one = most_of_one
        self._lock = threading.Lock()
        self.used = 0

    def take(self) -> bool:
        with self._lock:
            if self.used >= self._most:
                return False
            self.used += 1
            return True

    def give_back(self) -> None:
        with self._lock:
            self.used -= 1


def asked_by_threads(
    answer: Callable[[pl.DataFrame], pl.DataFrame], threads: Executor, prepare: Callable[[], None]
) -> Ask:
    """Return a way to ask what answers in this process: from a thread. `prepare`: what that does before it asks."""

    async def ask(parts: Sequence[Rows]) -> pl.DataFrame:
        def work() -> pl.DataFrame:
            prepare()
            return answer(framed(parts))

        return await asyncio.get_running_loop().run_in_executor(threads, work)

    return ask


class Batcher:
    """The queue of one loaded version. `joins`: whether rows of several requests may be asked about together.

    It is used from event loops; there may be several, in threads of their own.
    """

    def __init__(self, ask: Ask, metrics: KindMetrics, *, joins: bool, room: Room) -> None:
        self.joins = joins
        self._ask_model = ask
        self._metrics = metrics
        self._room = room
        self._lock = threading.Lock()
        self._waiting: deque[_Request] = deque()
        self._is_asking = False
        self._task: asyncio.Task[None] | None = None
        self._seconds = 0.0
        self._last = 1
        self._ending: Callable[[], None] | None = None

    async def ask(self, rows: Rows) -> pl.DataFrame:
        """Return what the model answers to rows, once their turn comes.

        Raises:
            Overloaded: as many requests wait as may.
            InvalidInput, ModelRefused: it does not answer these rows.
            ModelStopped: its process is over.
        """
        loop = asyncio.get_running_loop()
        request = _Request(rows, loop, loop.create_future())
        with self._lock:
            if len(self._waiting) >= self._room.most_of_one or not self._room.take():
                self._metrics.count_refusal()
                raise self._overloaded()
            self._waiting.append(request)
            begins, self._is_asking = not self._is_asking, True
        if begins:
            self._task = loop.create_task(
                self._ask_all()
            )  # who comes in this turn of the loop is in its first batch
        return await request.answer

    def end(self, ending: Callable[[], None]) -> None:
        """Call `ending` once all that was put in the queue is answered."""
        with self._lock:
            self._ending = ending
            is_over = not self._is_asking
        if is_over:
            ending()

    async def _ask_all(self) -> None:
        """Ask about one batch after the other, until nothing waits."""
        try:
            while batch := self._take_batch():
                await self._ask(batch)
        except asyncio.CancelledError:  # the loop is closed: who waits in it is called off, too
            self._call_off()
            raise

    def _call_off(self) -> None:
        with self._lock:
            called_off, self._is_asking = list(self._waiting), False
            self._waiting.clear()
        for request in called_off:
            self._room.give_back()
            request.settle(asyncio.CancelledError())

    def _overloaded(self) -> Overloaded:
        batches = math.ceil(len(self._waiting) / self._last) if self.joins else len(self._waiting)
        seconds = min(60, max(1, math.ceil(batches * self._seconds)))
        return Overloaded(
            _(
                "More requests wait for this model than it can answer soon. Nothing was kept; try again in %(count)s "
                "seconds.",
                count=seconds,
            ),
            seconds,
        )

    def _take_batch(self) -> list[_Request]:
        """Return what is asked next; nothing where nothing waits, and then it is over."""
        batch: list[_Request] = []
        rows = 0
        with self._lock:
            while self._waiting:
                height = self._waiting[0].rows.height
                if batch and (not self.joins or rows + height > MOST_ROWS):
                    break
                request = self._waiting.popleft()
                self._room.give_back()
                if not request.answer.done():  # it was called off
                    batch.append(request)
                    rows += height
            self._is_asking = bool(batch)
            ending = None if batch else self._ending
        if ending is not None:
            ending()
        return batch

    async def _ask(self, batch: list[_Request]) -> None:
        began = time.perf_counter()
        try:
            answers = await self._ask_model([request.rows for request in batch])
        except Exception as error:  # noqa: BLE001 (raised again where the answer is awaited)
            if len(batch) == 1 or isinstance(error, ModelStopped):
                for request in batch:
                    self._fail(request, error)
            else:  # the rows of one request are not the fault of another
                for request in batch:
                    await self._ask([request])
            return
        seconds = time.perf_counter() - began
        self._seconds += (seconds - self._seconds) * (_NEWEST if self._seconds else 1.0)
        self._last = len(batch)
        self._metrics.count_batch(answers.height)
        at = 0
        for request in batch:
            height = request.rows.height
            self._count(request, "answered", height)
            request.settle(answers if len(batch) == 1 else answers.slice(at, height))
            at += height

    def _fail(self, request: _Request, error: Exception) -> None:
        is_refused = isinstance(error, InvalidInput | ModelRefused)
        self._count(request, "refused" if is_refused else "failed", 0)
        request.settle(error)

    def _count(self, request: _Request, result: Result, rows: int) -> None:
        self._metrics.count_request(result, rows, time.perf_counter() - request.began)
