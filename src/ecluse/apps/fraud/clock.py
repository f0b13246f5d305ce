"""Report progress during long work, even where the work cannot say how far it is, and measure what was worked."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from ecluse.apps.fraud.errors import TrainingTooSlow
from ecluse.sentences import _, num

Progress = Callable[[str, float, str], None]
"""(stage, share of the whole done in [0, 1], message); may raise to cancel.

Stages: "read", "features", "search", "calibrate", "test", "save".
"""

HEARTBEAT_S = 0.5
#: The threads' own clocks are read at most so often (s): fits ask after each round.
SAMPLED_EVERY_S = 0.05
#: A training is given up when it has taken so many times its budget on the wall clock, and at least so long (s).
MOST_WALL = 20.0
LEAST_WALL_S = 900.0
#: Below this share of the processor time it asks for, a training is slow because of what runs beside it.
BUSY_SHARE: Final = 0.75
T = TypeVar("T")


def with_heartbeat(work: Callable[[], T], tick: Callable[[], None]) -> T:
    """Return what `work` returns or raises, with `tick` called here every half second until then.

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


@dataclass(frozen=True)
class Effort:
    """What a stretch of time was to this process, in seconds.

    `wall` passed; `processor` is what its threads were given, together; `work` is what of `wall` counts: the time
    that this would have taken with nothing else to do on the machine. `share` is processor time given, of that
    asked for.
    """

    wall: float
    processor: float
    work: float
    share: float

    @property
    def is_busy(self) -> bool:
        """Tell whether other programs had the processor while this one could have used it."""
        return self.share < BUSY_SHARE

    def to_dict(self) -> dict[str, Any]:
        return {
            "wall_s": round(self.wall, 2),
            "work_s": round(self.work, 2),
            "processor_s": round(self.processor, 2),
            "processor_share": round(self.share, 3),
        }


@dataclass(frozen=True)
class Spent:
    """What a stopwatch has counted, in seconds, for another to go on from: `given` and `waited` are processor time."""

    wall: float
    work: float
    given: float
    waited: float


class Stopwatch:
    """Seconds of work: of the wall clock only the share that the processor was this process's when it was wanted.

    Linux keeps for each thread how long it ran and how long it stood ready and waited for a processor
    (`/proc/self/task/*/schedstat`, Documentation/scheduler/sched-stats.rst). Of each short stretch of the wall clock
    `ran / (ran + waited)` counts, and never more than the process ran, so that waiting for a disk is not work. Other
    jobs of this process take part in both sums and so hardly move their ratio. Elsewhere the waiting is not known,
    and no more counts than was run by each of the threads that `wanted` says are at work.
    """

    def __init__(self) -> None:
        self.wanted = 1
        self._lock = threading.Lock()
        self._work = self._given = self._waited = 0.0
        self._began = self._at = time.monotonic()
        self._threads = _scheduled()
        self._processor = time.process_time()

    def seconds(self, *, exact: bool = False) -> float:
        """Seconds of work so far, `exact` or as last measured, at most `SAMPLED_EVERY_S` ago."""
        with self._lock:
            if exact or time.monotonic() - self._at >= SAMPLED_EVERY_S:
                self._measure()
            return self._work

    def effort(self) -> Effort:
        """Return what all the time so far was."""
        with self._lock:
            self._measure()
            asked = self._given + self._waited
            share = self._given / asked if asked else 1.0
            return Effort(self._at - self._began, self._given, self._work, share)

    def spent(self) -> Spent:
        """Return what it has counted so far."""
        with self._lock:
            self._measure()
            return Spent(self._at - self._began, self._work, self._given, self._waited)

    def go_on_from(self, spent: Spent) -> None:
        """Count on from what another had counted, in place of what was counted here so far."""
        with self._lock:
            self._measure()
            self._began = self._at - spent.wall
            self._work, self._given, self._waited = spent.work, spent.given, spent.waited

    def _measure(self) -> None:
        now, threads, processor = time.monotonic(), _scheduled(), time.process_time()
        passed, given = now - self._at, processor - self._processor
        if threads is None or self._threads is None:
            # What was not given of all that its threads could have used: others had it, or they slept.
            waited = max(self.wanted * passed - given, 0.0)
            self._work += min(passed, given / self.wanted)
        else:
            # How long threads waited that have ended is not known; what they ran is in `given`.
            waited = _waited_since(self._threads, threads)
            self._work += min(passed * given / (given + waited), given) if given else 0.0
        self._given += given
        self._waited += waited
        self._at, self._threads, self._processor = now, threads, processor


def _scheduled() -> dict[str, float] | None:
    """Seconds that each thread of this process stood ready without a processor; None where nobody counts them."""
    if sys.platform != "linux":
        return None
    results, ran_any = {}, False
    try:
        for task in Path("/proc/self/task").iterdir():
            try:
                ran, waited, _rest = (task / "schedstat").read_text().split()
            except (ProcessLookupError, FileNotFoundError):
                continue  # it has ended meanwhile
            results[task.name] = int(waited) / 1e9
            ran_any |= int(ran) > 0
    # A kernel that keeps no such accounts has no file, and a container may hide it or write it otherwise: `_measure`
    # then goes by the processor time alone, which every machine knows.
    except (FileNotFoundError, ValueError, PermissionError):
        return None
    return results if ran_any else None


def _waited_since(before: dict[str, float], now: dict[str, float]) -> float:
    """Seconds that the threads of now waited since. A smaller number is that of another thread of the same name."""
    return sum(max(waited - before.get(name, 0.0), 0.0) for name, waited in now.items())


class Clock:
    """The work done of a budget, and a progress report at most twice a second.

    A training is given up, from whichever report comes next, once it has taken many times its budget on the wall
    clock: what a machine without a processor to spare would make of its data is not to be published.
    """

    def __init__(self, budget_s: float, progress: Progress) -> None:
        self.watch = Stopwatch()
        self.budget_s = budget_s
        self._progress = progress
        self._last = -np.inf
        self._stage = ""
        self._began = time.monotonic()

    def seconds(self) -> float:
        """Seconds of work so far, as `Stopwatch` counts them."""
        return self.watch.seconds(exact=True)

    def say(self, stage: str, fraction: float, message: str, *, always: bool = True) -> None:
        """Raise TrainingTooSlow once the training has taken too long."""
        now = time.monotonic()
        if now - self._began > max(MOST_WALL * self.budget_s, LEAST_WALL_S):
            raise self._too_slow()
        if always or stage != self._stage or now - self._last >= HEARTBEAT_S:
            self._last, self._stage = now, stage
            self._progress(stage, float(min(fraction, 1.0)), message)

    def tick(self, stage: str, fraction: float, message: str) -> Callable[[], None]:
        """Return a function that says this whenever the last word is old enough."""
        return lambda: self.say(stage, fraction, message, always=False)

    def _too_slow(self) -> TrainingTooSlow:
        spent = self.watch.effort()
        if spent.is_busy:
            return TrainingTooSlow(
                _(
                    "The training was given up after %(count)s s and publishes nothing. Other programs "
                    "had the processor: of the time it asked for it was given %(share)s, %(work)s s of "
                    "%(budget)s s of work. Train again when the machine has less to do.",
                    count=num(spent.wall, ".0f"),
                    share=num(spent.share, ".0%"),
                    work=num(spent.work, ".0f"),
                    budget=num(self.budget_s, "g"),
                )
            )
        return TrainingTooSlow(
            _(
                "The training was given up after %(count)s s and publishes nothing. So many rows and "
                "columns take longer than %(budget)s s. Leave columns out, train on fewer rows, or "
                "give it a larger budget.",
                count=num(spent.wall, ".0f"),
                budget=num(self.budget_s, "g"),
            )
        )
