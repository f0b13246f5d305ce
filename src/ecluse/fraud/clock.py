"""Report progress during long work, and measure the time it takes."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

Progress = Callable[[str, float, str], None]
"""(stage, share of the whole done in [0, 1], message); may raise to cancel.

Stages: "read", "features", "search", "calibrate", "test", "save".
"""

HEARTBEAT_S = 0.5


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
