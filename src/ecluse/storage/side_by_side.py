"""Do the same to several things at once; the first that fails, or an interruption, stops the others."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Final, TypeVar

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE: Final = 8


def side_by_side(
    work: Callable[[T, Callable[[int], None]], R],
    items: Iterable[T],
    progress: Callable[[int], None] | None = None,
) -> list[R]:
    """Call `work(item, progress)` for each item, 8 at a time, and return the results in the order of the items.

    `work` is to call what it is given with the bytes done: it raises there once the rest is stopped.

    Raises:
        Exception: whatever the first that failed raised.
    """
    stop = threading.Event()

    def count_bytes(count: int) -> None:
        if stop.is_set():
            raise _Stopped
        if progress is not None:
            progress(count)

    def run(item: T) -> R:
        if stop.is_set():
            raise _Stopped
        return work(item, count_bytes)

    listed = list(items)
    with ThreadPoolExecutor(min(AT_ONCE, len(listed)) or 1, thread_name_prefix="side-by-side") as pool:
        running = [pool.submit(run, item) for item in listed]
        try:
            wait(running, return_when=FIRST_EXCEPTION)
        finally:  # after an interruption too, or the pool would wait for all that was asked of it
            stop.set()
    errors = [error for future in running if (error := future.exception()) is not None]
    for error in errors:
        if not isinstance(error, _Stopped):
            raise error
    return [future.result() for future in running]


class _Stopped(Exception):
    """Another of the things done at once has failed, so this one ends."""
