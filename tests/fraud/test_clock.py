"""Long work is heard of twice a second, and can be left."""

from __future__ import annotations

import threading

import pytest

from ecluse.fraud.clock import with_heartbeat


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
