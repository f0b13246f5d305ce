"""Long work is heard of twice a second, and can be left; what counts of its time is the work."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from ecluse.apps.fraud import clock
from ecluse.apps.fraud.clock import Clock, Effort, Stopwatch, with_heartbeat
from ecluse.apps.fraud.errors import TrainingTooSlow


def test_work_that_takes_long_is_heard_of_in_the_calling_thread() -> None:
    told: list[threading.Thread] = []
    enough = threading.Event()

    def tick() -> None:
        told.append(threading.current_thread())
        if len(told) == 2:
            enough.set()

    assert with_heartbeat(lambda: enough.wait(60), tick)
    assert told == [threading.current_thread()] * 2


def test_a_tick_that_raises_leaves_the_work() -> None:
    class Cancelled(Exception):
        pass

    def tick() -> None:
        raise Cancelled

    never = threading.Event()
    with pytest.raises(Cancelled):
        with_heartbeat(lambda: never.wait(60), tick)
    never.set()


def test_the_failure_of_the_work_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        with_heartbeat(lambda: 1 / 0, lambda: None)


@pytest.fixture
def one_crowded_processor() -> Iterator[None]:
    """This thread and three busy loops on the same processor."""
    if sys.platform != "linux":
        pytest.skip("only Linux lets a thread choose its processor")
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
        os.sched_setaffinity(0, allowed)


def turn(processor_s: float) -> None:
    """Work until this thread was given so many seconds of a processor."""
    until = time.thread_time() + processor_s
    while time.thread_time() < until:
        pass


@pytest.mark.parametrize("counted", [True, False])
def test_beside_busy_loops_only_the_work_counts(
    counted: bool, one_crowded_processor: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not counted:  # as where the system does not say how long a thread waited
        monkeypatch.setattr(clock, "_scheduled", lambda: None)
    watch = Stopwatch()
    while watch.effort().wall < 0.8:
        turn(0.02)
        watch.seconds()
    spent = watch.effort()
    assert spent.work < 0.7 * spent.wall
    assert spent.is_busy
    # A clock of the wall would have called this work.
    assert spent.work <= 1.2 * spent.processor


@pytest.mark.parametrize("counted", [True, False])
def test_work_is_counted_whole_and_waiting_for_nothing_is_no_work(
    counted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not counted:
        monkeypatch.setattr(clock, "_scheduled", lambda: None)
    watch = Stopwatch()
    threading.Event().wait(0.3)
    idle = watch.seconds(exact=True)
    turn(0.3)
    assert watch.seconds(exact=True) - idle > 0.2
    assert idle < 0.2


def test_threads_that_came_and_went_between_two_looks_are_counted() -> None:
    watch = Stopwatch()
    for _ in range(20):
        with_heartbeat(lambda: turn(0.02), lambda: None)
    assert watch.seconds(exact=True) > 0.25


@pytest.mark.skipif(clock._scheduled() is None, reason="this system does not count how long threads wait")
def test_a_thread_that_ends_while_all_are_read_hides_no_other() -> None:
    over = threading.Event()

    def churn() -> None:
        while not over.is_set():
            passing = threading.Thread(target=over.is_set)
            passing.start()
            passing.join()

    churning = [threading.Thread(target=churn) for _ in range(3)]
    for thread in churning:
        thread.start()
    try:
        counted = [clock._scheduled() is not None for _ in range(500)]
    finally:
        over.set()
        for thread in churning:
            thread.join()
    assert all(counted)


@pytest.mark.parametrize(
    ("share", "cause"), [(0.1, "Other programs had the processor"), (1.0, "So many rows and columns")]
)
def test_a_training_that_takes_many_times_its_budget_is_given_up_with_its_cause(
    share: float, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = Clock(5.0, lambda *said: None)
    slow.say("search", 0.5, "LightGBM")
    monkeypatch.setattr(clock, "LEAST_WALL_S", 0.0)
    monkeypatch.setattr(clock, "MOST_WALL", 0.0)
    monkeypatch.setattr(slow.watch, "effort", lambda: Effort(100.0, 10.0, 4.0, share))
    with pytest.raises(TrainingTooSlow, match=f"after 100 s and publishes nothing.*{cause}"):
        slow.say("search", 0.5, "LightGBM", always=False)
