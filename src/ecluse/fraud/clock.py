"""Report progress during long work, even where the work cannot say how far it is, and measure its time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np

Progress = Callable[[str, float, str], None]
"""(stage, share of the whole done in [0, 1], message); may raise to cancel.

Stages: "read", "features", "search", "calibrate", "test", "save".
"""

HEARTBEAT_S = 0.5
T = TypeVar("T")


def with_heartbeat(work: Callable[[], T], tick: Callable[[], None]) -> T:
    """What `work` returns or raises, with `tick` called here every half second until then.

    For one long call into a library. When `tick` raises, this raises at once and leaves `work`, which must
    write nothing, to end unheard in its own thread.
    """
    result: list[T] = []
    failure: list[BaseException] = []

    def run() -> None:
        try:
            result.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that asked
            failure.append(error)

    thread = threading.Thread(target=run, name="heartbeat", daemon=True)
    thread.start()
    thread.join(HEARTBEAT_S)
    while thread.is_alive():
        tick()
        thread.join(HEARTBEAT_S)
    if failure:
        raise failure[0]
    return result[0]


class Clock:
    """The time used, and a progress report at most twice a second."""

    def __init__(self, started: float, budget_s: float, progress: Progress) -> None:
        self.started = started
        self.budget_s = budget_s
        self._progress = progress
        self._last = -np.inf
        self._stage = ""

    def seconds(self) -> float:
        return time.monotonic() - self.started

    def say(self, stage: str, fraction: float, message: str, *, always: bool = True) -> None:
        now = time.monotonic()
        if always or stage != self._stage or now - self._last >= HEARTBEAT_S:
            self._last, self._stage = now, stage
            self._progress(stage, float(min(fraction, 1.0)), message)

    def tick(self, stage: str, fraction: float, message: str) -> Callable[[], None]:
        """A function that says this whenever the last word is old enough."""
        return lambda: self.say(stage, fraction, message, always=False)
