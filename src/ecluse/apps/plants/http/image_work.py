"""Work on images beside the event loop: a bounded number at once, a bounded number that wait, bounded bytes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Final, TypeVar

from fastapi import Depends, Request

from ecluse.errors import Overloaded
from ecluse.sentences import _

#: Images that are decoded or looked at together: one of 50 million pixels takes 150 MB while it is.
MOST_AT_ONCE: Final = 4
#: Requests that may wait for their turn.
MOST_WAITING: Final = 32
#: Bytes that the requests of a process may hold in memory together.
HELD_BYTES: Final = 400_000_000
T = TypeVar("T")


class ImageWork:
    """What one web process does with images. Its methods are called from the event loop alone."""

    def __init__(self, *, at_once: int | None = None, most_waiting: int = MOST_WAITING) -> None:
        self.room = Room()
        self._at_once = at_once or min(MOST_AT_ONCE, os.cpu_count() or 1)
        self._most_inside = self._at_once + most_waiting
        self._inside = 0
        self._threads = ThreadPoolExecutor(self._at_once, thread_name_prefix="images")

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Yield a place among those that are worked on or wait.

        Raises:
            Overloaded: all places are taken.
        """
        if self._inside >= self._most_inside:
            raise Overloaded(
                _("More images wait than can be looked at soon. Nothing was kept; try again in 2 seconds.")
            )
        self._inside += 1
        try:
            yield
        finally:
            self._inside -= 1

    async def run(self, work: Callable[[], T]) -> T:
        """Return what `work` gives, from a thread that is there for images."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


class Room:
    """Count the bytes that requests of this process hold, so that many at once do not fill the memory.

    Used from the event loop alone.
    """

    def __init__(self, most: int = HELD_BYTES) -> None:
        self._most = most
        self.used = 0

    @contextmanager
    def holding(self) -> Iterator[Holding]:
        """Yield what one request takes, given back when it ends."""
        holding = Holding(self)
        try:
            yield holding
        finally:
            self.used -= holding.size

    def has(self, size: int) -> bool:
        return self.used + size <= self._most


@dataclass
class Holding:
    """What one request holds of a room."""

    room: Room
    size: int = 0

    def take(self, size: int) -> None:
        """Raise `Overloaded` where there is no room for so many bytes more."""
        if not self.room.has(size):
            raise Overloaded(
                _("Too many images arrive at once. Nothing was kept; try again in a few seconds."), 5
            )
        self.room.used += size
        self.size += size


def image_work(request: Request) -> ImageWork:
    """Return the work on images of this process."""
    work = request.app.state.image_work
    assert isinstance(work, ImageWork)  # noqa: S101 (set where the app is made)
    return work


WorkDep = Annotated[ImageWork, Depends(image_work)]
