"""Things done at once: in order, each once, and all stopped by the first that fails."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from ecluse.storage.side_by_side import AT_ONCE, side_by_side
from tests.support.wait import slow_for


def test_results_come_in_the_order_of_the_items_and_each_is_done_once() -> None:
    seen: list[int] = []

    def work(item: int, progress: Callable[[int], None]) -> int:
        seen.append(item)
        progress(item)
        return -item

    sizes: list[int] = []
    assert side_by_side(work, range(1000), sizes.append) == [-item for item in range(1000)]
    assert sorted(seen) == sorted(sizes) == list(range(1000))
    assert side_by_side(work, []) == []


def test_several_are_at_work_at_once() -> None:
    together = threading.Barrier(AT_ONCE, timeout=60)
    assert len(side_by_side(lambda _item, _progress: together.wait(), range(AT_ONCE))) == AT_ONCE


def test_the_first_that_fails_stops_those_at_work_and_those_to_come() -> None:
    begun: list[int] = []
    all_begun, failed = threading.Barrier(AT_ONCE, timeout=60), threading.Event()

    def work(item: int, progress: Callable[[int], None]) -> None:
        begun.append(item)
        all_begun.wait()
        if item == 3:
            failed.set()
            raise LookupError(item)
        failed.wait(60)
        while True:
            progress(1)

    with pytest.raises(LookupError, match="3"):
        side_by_side(work, range(100))
    assert sorted(begun) == list(range(AT_ONCE))


def test_progress_is_counted_by_one_thread_at_a_time() -> None:
    busy, met = threading.Lock(), list[int]()
    gate = threading.Barrier(AT_ONCE)

    def count(number: int) -> None:
        if not busy.acquire(blocking=False):
            met.append(number)
            return
        slow_for(0.01)
        busy.release()

    def work(item: int, progress: Callable[[int], None]) -> None:
        gate.wait()
        progress(item)

    side_by_side(work, range(AT_ONCE), count)
    assert met == []
