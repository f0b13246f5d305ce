"""Say what happens in this process to whoever counts it; nobody does unless the process serves its figures.

Jobs, stores and the cache say here what they did. `ecluse.vitals` listens in a web process, and in a worker that has
an address for its figures. In a command nobody listens, and saying costs a call. What is said is bounded: kinds, verbs
and codes, never an id, a name or a path.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any, Final, Literal, Protocol

logger = logging.getLogger(__name__)
Ending = Literal["done", "failed", "cancelled", "given_up"]
CacheResult = Literal["hit", "miss", "damaged"]
_CODE: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
#: The reason of what failed by an error that has no code of ours.
FAULT: Final = "fault"


class Listener(Protocol):
    """Who counts. Each method is called from any thread."""

    def job_waited(self, kind: str, seconds: float) -> None:
        """Hear that a job was claimed for the first time, so long after it was queued."""

    def job_ran(self, kind: str, seconds: float) -> None:
        """Hear that a job came to its end, after so long in the worker that had it last."""

    def job_ended(self, kind: str, ending: Ending, reason: str) -> None:
        """Hear that the end of a job is recorded; `reason` is the code of an error, or empty."""

    def job_taken_over(self, kind: str) -> None:
        """Hear that a job was taken from a worker that died."""

    def store_answered(self, scheme: str, verb: str, seconds: float, reason: str) -> None:
        """Hear that a store did what was asked, or (`reason`) did not."""

    def cache_answered(self, result: CacheResult, size: int) -> None:
        """Hear that so many bytes came from the cache, or had to be fetched."""


class _Nobody:
    def job_waited(self, kind: str, seconds: float) -> None: ...
    def job_ran(self, kind: str, seconds: float) -> None: ...
    def job_ended(self, kind: str, ending: Ending, reason: str) -> None: ...
    def job_taken_over(self, kind: str) -> None: ...
    def store_answered(self, scheme: str, verb: str, seconds: float, reason: str) -> None: ...
    def cache_answered(self, result: CacheResult, size: int) -> None: ...


_listener: Listener = _Nobody()


def listener() -> Listener:
    """Return who counts in this process."""
    return _listener


def listen(to_all: Listener) -> None:
    """Let this listener hear what happens in this process from now on."""
    global _listener
    _listener = to_all


def reason_of(error: BaseException) -> str:
    """Return the code of an error of ours, as its class has it; `fault` for any other. Never its text."""
    code = getattr(type(error), "code", None)
    return code if isinstance(code, str) and _CODE.fullmatch(code) else FAULT


#: Under this name a transaction keeps what is to be said once it is committed.
_LATER: Final = "ecluse_said_once_committed"


def once_committed(noted: dict[Any, Any], say: Callable[[], None]) -> None:
    """Keep what is true only if a transaction is committed; `noted` is its `info`."""
    noted.setdefault(_LATER, []).append(say)


def committed(noted: dict[Any, Any]) -> None:
    """Say what was kept for the end of a transaction, which is committed now."""
    for say in noted.pop(_LATER, ()):
        try:
            say()
        except Exception:  # what is counted wrong must not undo, for who waits, what was committed
            logger.exception("What was committed is not counted")
