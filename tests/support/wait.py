"""Wait for a condition, and give up after work and not after time.

A second counts as much as the machine could have worked in it: beside eight busy loops on two cores a quarter or less,
and at most one second for a single look, however long the machine was paused. A test that gives up then says that
something never comes, and not that the machine is busy.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

#: The most that one look counts (s): what takes longer is a pause of the machine, or of the condition itself.
LONGEST_STEP = 1.0
#: Between two looks (s).
PAUSE = 0.02


class Patience:
    """Lasts for `seconds` of a machine with nothing else to do; ask again and again."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._at = time.monotonic()

    def lasts(self) -> bool:
        now = time.monotonic()
        self._left -= min(now - self._at, LONGEST_STEP) * _share()
        self._at = now
        return self._left > 0


def wait_until(condition: Callable[[], T | None], what: str | Callable[[], str], seconds: float = 60) -> T:
    """Return what `condition` returns once that is true.

    Raises AssertionError, which names `what`, after `seconds` of work without it.
    """
    patience = Patience(seconds)
    while not (value := condition()):
        assert patience.lasts(), _never(what, seconds)
        time.sleep(PAUSE)
    return value


async def wait_in_loop(
    condition: Callable[[], T | None], what: str | Callable[[], str], seconds: float = 60
) -> T:
    """Do as `wait_until`, and let the event loop work meanwhile."""
    patience = Patience(seconds)
    while not (value := condition()):
        assert patience.lasts(), _never(what, seconds)
        await asyncio.sleep(PAUSE)
    return value


def seconds_of(work: Callable[[], object]) -> float:
    """Return how long this takes now: to draw a moment within it, never to assert it."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


def slow_for(seconds: float) -> None:
    """Take this long, where slowness is the subject."""
    time.sleep(seconds)


async def slow_in_loop(seconds: float) -> None:
    """Take this long in an event loop, which works meanwhile."""
    await asyncio.sleep(seconds)


async def next_round() -> None:
    """Let the event loop run what is ready."""
    await asyncio.sleep(0)


def _never(what: str | Callable[[], str], seconds: float) -> str:
    return f"in {seconds:g} s of work there was never {what() if callable(what) else what}"


def _share() -> float:
    """Return what one more process that wants a core gets of it beside those that run now: 1 where nothing says it."""
    try:
        running = int(Path("/proc/loadavg").read_text().split()[3].partition("/")[0])
    except OSError:
        return 1.0
    return min(1.0, _cores() / max(running, 1))


def _cores() -> float:
    """Return how many cores this process may use: of the machine, by its affinity, by the quota of its group."""
    usable = getattr(os, "sched_getaffinity", None)
    cores = float(len(usable(0)) if usable else os.cpu_count() or 1)
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else min(cores, int(quota) / int(period))
