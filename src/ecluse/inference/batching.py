"""Ask a model about the rows of several requests at once, a batch at a time, with a bounded queue.

A request that comes while nothing is asked is asked at once. Those that come meanwhile are the next batch; before it
begins it may wait for those of the last one to come back, at most `LONGEST_WAIT` and at most a quarter of the time
that a batch takes.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from ecluse.errors import InvalidInput, ModelRefused, Overloaded
from ecluse.inference.metrics import InferenceMetrics
from ecluse.sentences import _

#: Rows of several requests that are asked about at once; a request of more is asked by itself.
MOST_ROWS: Final = 2_048
#: Requests that may wait for one version, and for all those of a process together.
MOST_WAITING: Final = 256
MOST_WAITING_IN_ALL: Final = 1_024
#: Seconds that a batch waits for more at most, and as a share of the time that a batch takes.
LONGEST_WAIT: Final = 0.002
WAIT_SHARE: Final = 0.25
#: The share of the newest batch in the time that one takes.
_NEWEST: Final = 0.2
Answer = Callable[[pl.DataFrame], pl.DataFrame]


@dataclass
class _Request:
    rows: pl.DataFrame
    answer: Future[pl.DataFrame] = field(default_factory=Future)
    began: float = field(default_factory=time.perf_counter)


class Room:
    """Count the requests that wait in one process, for any of its versions."""

    def __init__(self, most: int = MOST_WAITING_IN_ALL) -> None:
        self._most = most
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


class Batcher:
    """The queue of one loaded version. `joins`: whether rows of several requests may be asked about together."""

    def __init__(
        self,
        answer: Answer,
        threads: Executor,
        metrics: InferenceMetrics,
        *,
        kind: str,
        joins: bool,
        room: Room,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self.joins = joins
        self._answer = answer
        self._threads = threads
        self._metrics = metrics
        self._kind = kind
        self._room = room
        self._most_waiting = most_waiting
        self._lock = threading.Lock()
        self._waiting: deque[_Request] = deque()
        self._is_asking = False
        self._seconds = 0.0
        self._last = 1
        self._ending: Callable[[], None] | None = None

    def submit(self, rows: pl.DataFrame) -> Future[pl.DataFrame]:
        """Put rows in the queue; the result is what the model answers to them.

        Raises:
            Overloaded: as many requests wait as may.
        """
        with self._lock:
            if len(self._waiting) >= self._most_waiting or not self._room.take():
                self._metrics.requests.labels(self._kind, "overloaded").inc()
                raise self._overloaded()
            request = _Request(rows)
            self._waiting.append(request)
            begins, self._is_asking = not self._is_asking, True
        if begins:
            self._threads.submit(self._ask_next, False)
        return request.answer

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
            if request.answer.set_running_or_notify_cancel():
                batch.append(request)
                rows += height
        return batch

    def _ask(self, batch: list[_Request]) -> None:
        began = time.perf_counter()
        try:
            rows = batch[0].rows if len(batch) == 1 else pl.concat([request.rows for request in batch])
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
        self._metrics.batch_rows.labels(self._kind).observe(rows.height)
        at = 0
        for request in batch:
            height = request.rows.height
            self._count(request, "answered", height)
            request.answer.set_result(answers if len(batch) == 1 else answers.slice(at, height))
            at += height

    def _fail(self, request: _Request, error: BaseException) -> None:
        is_refused = isinstance(error, InvalidInput | ModelRefused)
        self._count(request, "refused" if is_refused else "failed", 0)
        request.answer.set_exception(error)

    def _count(self, request: _Request, result: str, rows: int) -> None:
        self._metrics.requests.labels(self._kind, result).inc()
        self._metrics.rows.labels(self._kind).inc(rows)
        self._metrics.seconds.labels(self._kind).observe(time.perf_counter() - request.began)
