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

    `work` is to call what it is given with the bytes done: it raises there once the rest is stopped. `progress` is
    called by one thread at a time, so it may add up.

    Raises:
        Exception: whatever the first that failed raised.
    """
    stop, counting = threading.Event(), threading.Lock()

    def count_bytes(count: int) -> None:
        if stop.is_set():
            raise _Stopped
        if progress is not None:
            with counting:
                progress(count)

    listed = list(items)
    places = iter(range(len(listed)))  # each is given to one thread: a range goes on in one step
    results: dict[int, R] = {}
    errors: dict[int, BaseException] = {}

    def run() -> None:
        for place in places:
            if stop.is_set():
                return
            try:
                results[place] = work(listed[place], count_bytes)
            except BaseException as error:
                errors[place] = error
                stop.set()
                raise

    with ThreadPoolExecutor(min(AT_ONCE, len(listed)) or 1, thread_name_prefix="side-by-side") as pool:
        running = [pool.submit(run) for _ in range(min(AT_ONCE, len(listed)))]
        try:
            wait(running, return_when=FIRST_EXCEPTION)
        finally:  # after an interruption too, or the pool would wait for all that is left
            stop.set()
    for place in sorted(errors):
        if not isinstance(errors[place], _Stopped):
            raise errors[place]
    return [results[place] for place in range(len(listed))]


class _Stopped(Exception):
    """Another of the things done at once has failed, so this one ends."""
