"""Run transfers side by side; the first that fails, or an interruption, stops the others at their next chunk."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Final, TypeVar

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE: Final = 8


def transfer_all(
    transfer: Callable[[T, Callable[[int], None]], R],
    items: Sequence[T],
    progress: Callable[[int], None] | None = None,
) -> list[R]:
    """Call `transfer(item, progress)` for each item, several at a time, and return the results in order.

    Raises:
        Exception: whatever the first transfer that failed raised.
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
        return transfer(item, count_bytes)

    with ThreadPoolExecutor(min(AT_ONCE, len(items)) or 1, thread_name_prefix="transfer") as pool:
        running = [pool.submit(run, item) for item in items]
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
    """Another transfer failed, so this one ends."""
