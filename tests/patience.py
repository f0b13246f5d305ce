"""Wait for what has to come, with a patience that is counted in time the machine could have worked on it.

A second beside eight busy loops on two cores counts a quarter or less: a test that waits then says that something never
comes, and not that the machine has much to do.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


class Patience:
    """Lasts for `seconds` of a machine with nothing else to do; ask again and again."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._at = time.monotonic()

    def lasts(self) -> bool:
        now = time.monotonic()
        self._left -= (now - self._at) * _share()
        self._at = now
        return self._left > 0


def until(come: Callable[[], T], what: str, seconds: float = 60) -> T:
    """What `come` returns once that is true; fails with `what` when the patience is over."""
    patience = Patience(seconds)
    while not (found := come()):
        assert patience.lasts(), f"in {seconds:g} s of work there was never {what}"
        time.sleep(0.05)
    return found


def _share() -> float:
    """Of a processor, what one more that wants it gets beside all that run now; 1 where the system does not say."""
    try:
        running = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0])
    except OSError:
        return 1.0
    return min(1.0, (os.cpu_count() or 1) / max(running, 1))
