"""Ask what may hang, in a thread of its own: who waits does so no longer than it may."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Generic, TypeVar

from ecluse.errors import EcluseError

T = TypeVar("T")
logger = logging.getLogger(__name__)


def in_thread(name: str, ask: Callable[[], T]) -> Future[T]:
    """Begin to ask; what is answered, or raised, is in the future. No process waits for this thread to end."""
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(ask())
        except BaseException as error:  # noqa: BLE001 (it is raised again where the answer is looked at)
            answer.set_exception(error)

    threading.Thread(target=run, name=name, daemon=True).start()
    return answer


@dataclass(frozen=True)
class Answer(Generic[T]):
    """What was answered, in how many seconds; None where nothing was in time, or an error."""

    value: T | None
    seconds: float


class Question(Generic[T]):
    """Something that many ask for and that is asked for at most once every so many seconds, never twice at once."""

    def __init__(self, name: str, ask: Callable[[], T], *, every: float) -> None:
        self._name = name
        self._ask = ask
        self._every = every
        self._lock = threading.Lock()
        self._asked: Future[T] | None = None
        self._begun = float("-inf")
        self._last: Answer[T] | None = None
        self._is_said = False

    def answer(self, within: float) -> Answer[T]:
        """Return the answer of a moment ago, or ask and wait for so long."""
        with self._lock:
            if self._last is not None and time.monotonic() - self._begun < self._every:
                return self._last
            if self._asked is None:
                self._begun = time.monotonic()
                self._asked = in_thread(self._name, self._ask)
            asked, begun = self._asked, self._begun
        wait([asked], timeout=max(begun + within - time.monotonic(), 0.0))
        if not asked.done():
            return Answer(None, time.monotonic() - begun)
        with self._lock:
            if self._asked is asked:
                self._asked, self._last = None, self._read(asked, time.monotonic() - begun)
            return self._last or Answer(None, 0.0)

    def _read(self, asked: Future[T], seconds: float) -> Answer[T]:
        error = asked.exception()
        if error is None:
            self._is_said = False
            return Answer(asked.result(), seconds)
        if not self._is_said:  # once, not with every look
            self._is_said = True
            if isinstance(error, EcluseError):
                logger.warning("Not counted for now: %s: %s", self._name, error)
            else:
                logger.error("Counting failed: %s", self._name, exc_info=error)
        return Answer(None, seconds)
