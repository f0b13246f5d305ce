"""Ask a model about the rows of several requests at once, a batch at a time, with a bounded queue.

A request that comes while nothing is asked is asked at once. Those that come meanwhile are the next batch; before it
begins it may wait for those of the last one to come back, at most `LONGEST_WAIT` and at most a quarter of the time
that a batch takes.

A few rows for a model that answers in less than `SHORT` are answered on the event loop itself: to hand them to a
thread and back takes longer. Requests that came in one turn of the loop are one batch then, and none waits.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from ecluse.errors import InvalidInput, ModelRefused, Overloaded
from ecluse.inference.metrics import KindMetrics, Result
from ecluse.inference.ordinary import Rows, framed
from ecluse.sentences import _

#: Rows of several requests that are asked about at once; a request of more is asked by itself.
MOST_ROWS: Final = 2_048
#: Requests that may wait for one version, and for all those of a process together.
MOST_WAITING: Final = 256
MOST_WAITING_IN_ALL: Final = 1_024
#: Seconds that a batch waits for more at most, and as a share of the time that a batch takes.
LONGEST_WAIT: Final = 0.002
WAIT_SHARE: Final = 0.25
#: Rows that are answered on the event loop at once, and the seconds of processor that may take: as long as no page
#: would notice. Once it took as long as `LONG`, the loop is not tried again.
FEW_ROWS: Final = 64
SHORT: Final = 0.003
LONG: Final = 0.05
#: The share of the newest batch in the time that one takes.
_NEWEST: Final = 0.2
Answer = Callable[[pl.DataFrame], pl.DataFrame]


@dataclass
class _Request:
    rows: Rows
    answer: Future[pl.DataFrame] | asyncio.Future[pl.DataFrame | None] = field(default_factory=Future)
    began: float = field(default_factory=time.perf_counter)

    def begin(self) -> bool:
        """Return whether someone still waits for the answer; it cannot be called off from here on."""
        if isinstance(self.answer, Future):
            return self.answer.set_running_or_notify_cancel()
        return not self.answer.done()

    def give(self, answer: pl.DataFrame | None) -> None:
        self.answer.set_result(answer)  # type: ignore[arg-type]  # None is given to an asyncio.Future alone


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


def _nothing() -> None:
    """Prepare nothing."""


class Batcher:
    """The queue of one loaded version.

    `joins`: whether rows of several requests may be asked about together. `waits`: whether an answer may take long
    whatever the rows, so that the event loop never gives it. `prepare`: what a thread does before it asks.
    """

    def __init__(
        self,
        answer: Answer,
        threads: Executor,
        metrics: KindMetrics,
        *,
        joins: bool,
        room: Room,
        waits: bool = True,
        prepare: Callable[[], None] = _nothing,
    ) -> None:
        self.joins = joins
        self._answer = answer
        self._prepare = prepare
        self._threads = threads
        self._metrics = metrics
        self._room = room
        self._lock = threading.Lock()
        self._waiting: deque[_Request] = deque()
        self._is_asking = False
        self._seconds = 0.0
        self._last = 1
        self._turn: list[_Request] = []
        self._is_short = not waits
        self._processor_seconds = math.inf  # of a few rows
        self._ending: Callable[[], None] | None = None

    async def ask(self, rows: Rows) -> pl.DataFrame:
        """Return what the model answers to rows, from the event loop.

        Raises:
            Overloaded: as many requests wait as may.
            InvalidInput, ModelRefused: it does not answer these rows.
        """
        if self._is_short and self._processor_seconds <= SHORT and rows.height <= FEW_ROWS:
            answer = await self._ask_in_turn(rows)
            if answer is not None:
                return answer
        return await asyncio.wrap_future(self.submit(rows))

    def _ask_in_turn(self, rows: Rows) -> asyncio.Future[pl.DataFrame | None]:
        """Answer rows with what else comes in this turn of the event loop; None where a thread is asking already."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[pl.DataFrame | None] = loop.create_future()
        if not self._turn:
            loop.call_soon(self._end_turn)
        self._turn.append(_Request(rows, answer))
        return answer

    def _end_turn(self) -> None:
        turn, self._turn = self._turn, []
        for batch in self._batches([request for request in turn if request.begin()]):
            with self._lock:
                is_free, self._is_asking = not self._is_asking, True
            if is_free:
                self._ask(batch)
                self._go_on()
                continue
            for request in batch:
                request.give(None)

    def _batches(self, requests: Sequence[_Request]) -> Iterator[list[_Request]]:
        """Split what came in one turn into batches of few rows each."""
        batch: list[_Request] = []
        rows = 0
        for request in requests:
            if batch and (not self.joins or rows + request.rows.height > FEW_ROWS):
                yield batch
                batch, rows = [], 0
            batch.append(request)
            rows += request.rows.height
        if batch:
            yield batch

    def _go_on(self) -> None:
        """Let what waits by now be asked by the threads."""
        with self._lock:
            self._is_asking = bool(self._waiting)
            ending = None if self._waiting else self._ending
        if self._is_asking:
            self._threads.submit(self._ask_next, False)
        elif ending is not None:
            ending()

    def submit(self, rows: Rows) -> Future[pl.DataFrame]:
        """Put rows in the queue; the result is what the model answers to them.

        Raises:
            Overloaded: as many requests wait as may.
        """
        answer: Future[pl.DataFrame] = Future()
        with self._lock:
            if len(self._waiting) >= self._room.most_of_one or not self._room.take():
                self._metrics.count_refusal()
                raise self._overloaded()
            self._waiting.append(_Request(rows, answer))
            begins, self._is_asking = not self._is_asking, True
        if begins:
            self._threads.submit(self._ask_next, False)
        return answer

    def end(self, ending: Callable[[], None]) -> None:
        """Call `ending` once all that was put in the queue is answered."""
        with self._lock:
            self._ending = ending
            is_over = not self._is_asking
        if is_over:
            ending()

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

    def _ask_next(self, is_busy: bool) -> None:
        """Ask about one batch; the next one is another turn of the threads, so that every version has its own."""
        if is_busy and self.joins:
            self._wait_for_more()
        with self._lock:
            batch = self._take_batch()
            self._is_asking = bool(batch)
            ending = None if batch else self._ending
        if batch:
            self._ask(batch)
            self._threads.submit(self._ask_next, True)
        elif ending is not None:
            ending()

    def _wait_for_more(self) -> None:
        with self._lock:
            is_enough = not self._waiting or len(self._waiting) >= self._last
        if not is_enough:
            time.sleep(min(LONGEST_WAIT, WAIT_SHARE * self._seconds))

    def _take_batch(self) -> list[_Request]:
        batch: list[_Request] = []
        rows = 0
        while self._waiting:
            height = self._waiting[0].rows.height
            if batch and (not self.joins or rows + height > MOST_ROWS):
                break
            request = self._waiting.popleft()
            self._room.give_back()
            if request.begin():
                batch.append(request)
                rows += height
        return batch

    def _ask(self, batch: list[_Request]) -> None:
        self._prepare()
        began, processor = time.perf_counter(), time.thread_time()
        try:
            rows = framed([request.rows for request in batch])
            answers = self._answer(rows)
        except BaseException as error:  # noqa: BLE001 (raised again where the answer is awaited)
            if len(batch) == 1:
                self._fail(batch[0], error)
            else:  # the rows of one request are not the fault of another
                for request in batch:
                    self._ask([request])
            return
        seconds = time.perf_counter() - began
        self._seconds += (seconds - self._seconds) * (_NEWEST if self._seconds else 1.0)
        self._last = len(batch)
        if rows.height <= FEW_ROWS:
            self._note_processor(time.thread_time() - processor)
        self._metrics.count_batch(rows.height)
        at = 0
        for request in batch:
            height = request.rows.height
            self._count(request, "answered", height)
            request.give(answers if len(batch) == 1 else answers.slice(at, height))
            at += height

    def _note_processor(self, seconds: float) -> None:
        """Note the time of processor that a few rows took, by which the loop answers or does not."""
        if math.isinf(self._processor_seconds):
            self._processor_seconds = seconds
        else:
            self._processor_seconds += (seconds - self._processor_seconds) * _NEWEST
        self._is_short = self._is_short and seconds < LONG

    def _fail(self, request: _Request, error: BaseException) -> None:
        is_refused = isinstance(error, InvalidInput | ModelRefused)
        self._count(request, "refused" if is_refused else "failed", 0)
        request.answer.set_exception(error)

    def _count(self, request: _Request, result: Result, rows: int) -> None:
        self._metrics.count_request(result, rows, time.perf_counter() - request.began)
